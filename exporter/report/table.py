"""What a person sees of a result, on stderr."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.models.inspection import Inspection
from exporter.parity.check import ParityReport, Reference
from exporter.parity.verdict import OutputVerdict, Verdict

_STYLES: Final = {Verdict.PASSED: "bold green", Verdict.FAILED: "bold red", Verdict.NOT_INFORMATIVE: "bold yellow"}


def console(stream: IO[str]) -> Console:
    """A console on that stream, with colour on a terminal only, and at least 100 columns where it is not one."""
    made = Console(file=stream, highlight=False)
    return made if made.is_terminal else Console(file=stream, highlight=False, width=max(made.width, 120))


def print_verification(out: Console, report: ParityReport, reference: Reference) -> None:
    """The verdict on every output of one artifact, with the tolerance and where it comes from."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{report.artifact}  in  {report.runtime}", title_justify="left", title_style="bold"
    )
    table.add_column("output")
    for heading in ("max abs", "mean abs", "max / spread", "tolerance", "cosine", "top-1 agrees"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for name, verdict in report.outputs.items():
        table.add_row(name, *_figures(verdict), Text(str(verdict.verdict), style=_STYLES[verdict.verdict]))
    out.print(table)
    for name, verdict in report.outputs.items():
        if verdict.reason:
            out.print(f"  {name}: {verdict.reason}", markup=False, soft_wrap=True)
    for source in {v.tolerance.source for v in report.outputs.values() if v.tolerance}:
        out.print(f"  tolerance = {source}", style="dim", markup=False, soft_wrap=True)
    out.print(f"  against {reference.source}, on {reference.described}", style="dim", markup=False, soft_wrap=True)


def print_inspection(out: Console, found: Inspection) -> None:
    """What a model is made of."""
    out.print(f"{found.name}", style="bold", markup=False)
    for label, value in (
        ("inputs", ", ".join(found.inputs)),
        ("outputs", ", ".join(found.outputs)),
        ("layers", str(found.layers)),
        ("parameters", f"{found.total:,} ({found.trainable:,} trainable)"),
        ("multiply-adds", _multiply_adds(found.multiply_adds) + (f": {found.unknown}" if found.unknown else "")),
        ("CBAM blocks", str(len(found.blocks))),
    ):
        out.print(f"  {label:<14} {value}", markup=False, soft_wrap=True)
    if not found.blocks:
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("block", "dialect", "height x width", "channels"):
        table.add_column(heading, justify="right" if heading == "channels" else "left")
    for block in found.blocks:
        dialect = block.dialect + (f" but for {', '.join(block.differs)}" if block.differs else "")
        size = " x ".join("?" if side is None else str(side) for side in (block.height, block.width))
        table.add_row(block.name, dialect, size, str(block.channels))
    out.print(table)


def print_models(out: Console, names: Mapping[str, str], rows: Sequence[Inspection]) -> None:
    """The table of models, with sizes where they were counted."""
    sizes = {row.name: row for row in rows}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    if rows:
        for heading in ("input", "trainable", "with statistics", "multiply-adds"):
            table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, text in names.items():
        row = sizes.get(name)
        counts = []
        if row:
            counts = [row.inputs[0].split(" ")[1].removeprefix("?x"), f"{row.trainable:,}", f"{row.total:,}"]
            counts.append(_multiply_adds(row.multiply_adds))
        table.add_row(name, *counts, text)
    out.print(table)


def _multiply_adds(count: int | None) -> str:
    if count is None:
        return "not known"
    return f"{count / 1e9:.4f} G" if count >= 1e8 else f"{count / 1e6:.3f} M"


def _figures(verdict: OutputVerdict) -> list[str]:
    metrics, tolerance = verdict.metrics, verdict.tolerance
    if metrics is None:
        return ["-"] * 6
    return [
        _number(metrics.max_abs),
        _number(metrics.mean_abs),
        _number(metrics.relative),
        _number(tolerance.relative if tolerance else None),
        "-" if metrics.cosine is None else f"{metrics.cosine:.8f}",
        "-" if metrics.agreement is None else f"{100 * metrics.agreement:.2f}%",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.2e}"
