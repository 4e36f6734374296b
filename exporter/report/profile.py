"""What a person sees of an artifact along the layers of its model: where it leaves it, each tensor, the gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.parity.attention import GateLine
from exporter.parity.locate import Finding, Profile, Row

_STYLES: Final = {Finding.AGREES: "green", Finding.LEAVES: "bold red", Finding.HANDS_ON: "yellow"}
_BAR: Final = 14  # cells, two a power of ten: from 1e-7 of the deviation to 1


def print_divergence(out: Console, profile: Profile) -> None:
    """Where the artifact first leaves the model, in two lines."""
    found = profile.divergence
    out.print(Text(f"{profile.artifact}  in  {profile.runtime}, along the layers", style="bold"), soft_wrap=True)
    if found is None:
        out.print(Text(f"  {profile.note}"), soft_wrap=True)
        return
    block = f" of block {found.block}" if found.block and not found.layer.startswith(found.block) else ""
    out.print(Text.assemble("  leaves the model at ", (found.layer, "bold red"), block), soft_wrap=True)
    parts = [f"off by {found.error:.2g} of the tensor's deviation"] if found.tensor else []
    if found.layers != (found.layer,):
        parts.append(f"one operation of {' + '.join(found.layers)}")
    parts += [found.reason] if found.reason else []
    out.print(Text(f"  {'; '.join(parts)}"), soft_wrap=True)
    if found.tensor:
        out.print(Text(f"  tensor {found.tensor}", style="dim"), soft_wrap=True)


def print_profile(out: Console, profile: Profile) -> None:
    """Every tensor that was recognised, in the file's order, with its error and what of it arithmetic explains."""
    print_divergence(out, profile)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("layer")
    for heading in ("own error", "allowed", "in all"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("own error, 1e-7 to 1", no_wrap=True)
    table.add_column("")
    for row in profile.rows:
        finding = Text(str(row.finding), style=_STYLES[row.finding])
        figures = (_figure(row.error), _figure(row.allowed), _figure(row.total))
        table.add_row(Text(_layers(row)), *figures, Text(_bar(row.error), style=_STYLES[row.finding]), finding)
    out.print(table)
    out.print(Text("  errors in units of each tensor's own deviation", style="dim"))
    clipped = [row for row in profile.rows if row.clipped > 0]
    for row in clipped:
        out.print(Text(f"  {row.layer}: {row.clipped:.2%} at the ends of its range", style="dim"), soft_wrap=True)
    if profile.unmatched:
        out.print(Text(f"  not recognised: {', '.join(profile.unmatched)}", style="dim"), soft_wrap=True)
    print_gates(out, profile.gates)


def print_gates(out: Console, gates: Sequence[GateLine]) -> None:
    """One line a gate: how far from the model's, how much of it saturated and dead, and of the model's."""
    if not gates:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("gate", "error", "saturated (model)", "dead (model)"):
        table.add_column(heading, justify="left" if heading == "gate" else "right", no_wrap=heading != "gate")
    for line in gates:
        here = line.tensor is not None
        table.add_row(
            Text(f"{line.block} {line.gate}"),
            _figure(line.error) if here else "not in the file",
            f"{line.saturated:.1%} ({line.model_saturated:.1%})" if here else f"({line.model_saturated:.1%})",
            f"{line.dead:.1%} ({line.model_dead:.1%})" if here else f"({line.model_dead:.1%})",
        )
    out.print(table)


def _layers(row: Row) -> str:
    return " + ".join(row.layers)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"


def _bar(error: float | None) -> str:
    if error is None or error <= 1e-7:
        return ""
    tenths = min(1.0, error) / 1e-7
    length = 0
    while tenths >= 10**0.5 and length < _BAR:
        tenths, length = tenths / 10**0.5, length + 1
    return "#" * length
