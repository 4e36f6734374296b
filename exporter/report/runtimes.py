"""What a person sees of the runtimes."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.runtimes.status import RuntimeStatus


def print_runtimes(out: Console, found: Sequence[RuntimeStatus]) -> None:
    """One row a runtime, then what is missing, each with the command that installs it."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("runtime", "version", "runs"):
        table.add_column(heading, no_wrap=heading == "runtime")
    for each in found:
        version = Text(each.version, style="green") if each.version else Text("not here", style="dim")
        table.add_row(Text(each.row.name), version, Text(runs(each)))
    out.print(table)
    missing: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if each.reason:
            missing.setdefault((each.reason, each.install), []).append(each.row.name)
    for (reason, install), names in missing.items():
        hint = "" if install in reason else f"; {install}"
        out.print(Text(f"  {', '.join(names)}: {reason}{hint}"), soft_wrap=True)


def runs(each: RuntimeStatus) -> str:
    """Formats, with the precisions of each: `tflite fp32 int8, fixed batch`."""
    parts = [f"{name} {' '.join(precisions)}" for name, precisions in each.row.runs.items()]
    return "; ".join(parts) + ("" if each.row.open_batch else ", fixed batch")
