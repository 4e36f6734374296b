"""What a person sees of a result, on stderr."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.models.inspection import Inspection
from exporter.parity.check import ParityReport, Reference
from exporter.parity.verdict import OutputVerdict, Verdict

_STYLES: Final = {Verdict.PASSED: "bold green", Verdict.FAILED: "bold red", Verdict.NOT_INFORMATIVE: "bold yellow"}


FIGURES: Final = ("max abs", "mean abs", "max / spread", "tolerance", "cosine", "top-1 agrees")
WIDE: Final = 104
"""Columns of a terminal from which the table of figures fits, with an output's name of usual length."""
_LINES: Final = 4
"""Lines of the text of one function."""
_NAMED: Final = 3
"""Names told of many things that are alike."""


def console(stream: IO[str]) -> Console:
    """A console on that stream, with colour on a terminal only, and at least 100 columns where it is not one."""
    made = Console(file=stream, highlight=False)
    return made if made.is_terminal else Console(file=stream, highlight=False, width=max(made.width, 120))


def print_verification(out: Console, report: ParityReport, reference: Reference) -> None:
    """The verdict on every output of one artifact, with the tolerance and where it comes from."""
    out.print(Text(f"{report.artifact}  in  {report.runtime}", style="bold"), soft_wrap=True)
    if out.width >= WIDE:
        _print_table(out, report)
    else:
        _print_lines(out, report)
    for name, verdict in report.outputs.items():
        if verdict.reason:
            out.print(Text(f"  {name}: {verdict.reason}"), soft_wrap=True)
    sources: dict[str, list[str]] = {}
    for name, verdict in report.outputs.items():
        if verdict.tolerance:
            sources.setdefault(verdict.tolerance.source, []).append(name)
    for source, names in sources.items():
        of = f" of {', '.join(names)}" if len(sources) > 1 else ""
        out.print(Text(f"  tolerance{of} = {source}", style="dim"), soft_wrap=True)
    out.print(Text(f"  against {reference.source}, on {reference.described}", style="dim"), soft_wrap=True)


def _print_table(out: Console, report: ParityReport) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("output")
    for heading in FIGURES:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name, verdict in report.outputs.items():
        table.add_row(Text(name), *_figures(verdict), Text(str(verdict.verdict), style=_STYLES[verdict.verdict]))
    out.print(table)


def _print_lines(out: Console, report: ParityReport) -> None:
    """The same for a narrow terminal: a table would have to cut the figures' exponents off."""
    for name, verdict in report.outputs.items():
        out.print(Text.assemble(f"  {name}  ", (str(verdict.verdict), _STYLES[verdict.verdict])), soft_wrap=True)
        for heading, figure in zip(FIGURES, _figures(verdict), strict=True):
            out.print(Text(f"    {heading:<14}{figure:>12}"), soft_wrap=True)


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
        *([("Lambda layers", str(len(found.lambdas)))] if found.lambdas else []),
    ):
        out.print(f"  {label:<14} {value}", markup=False, soft_wrap=True)
    print_replaced(out, found.lambdas, (), found.notes)
    if found.blocks:
        out.print(_block_table(out, found))
    reasons: dict[str, list[str]] = {}
    for each in found.lookalikes:
        reasons.setdefault(each.reason, []).append(each.name)
    for reason, names in reasons.items():
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        out.print(Text(f"  not CBAM: {shown}: {reason}", style="dim"), soft_wrap=True)


def _block_table(out: Console, found: Inspection) -> Table:
    """The blocks; what each costs and where it stands too, where there is room."""
    kinds = {block.kind for block in found.blocks} != {"cbam"}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("block")
    if kinds:
        table.add_column("kind")
    table.add_column("dialect")
    table.add_column("height x width")
    numbers = ("channels", "parameters", "multiply-adds") if out.width >= WIDE else ("channels",)
    for heading in numbers:
        table.add_column(heading, justify="right")
    if out.width >= WIDE:
        table.add_column("place")
    for block in found.blocks:
        dialect = block.dialect + (f" but for {', '.join(block.differs)}" if block.differs else "")
        size = " x ".join("?" if side is None else str(side) for side in (block.height, block.width))
        cost = (str(block.channels), f"{block.parameters:,}", "?" if block.macs is None else f"{block.macs:,}")
        row: list[Any] = [Text(block.name), *([block.kind] if kinds else []), dialect, size, *cost[: len(numbers)]]
        table.add_row(*row, *([block.placement] if out.width >= WIDE else []))
    return table


def print_replaced(
    out: Console, replaced: Iterable[Any], refused: Iterable[Any] = (), notes: Iterable[str] = ()
) -> None:
    """Every layer that was replaced, as Python, with what it became; every one that was not, with the reason."""
    assumed: dict[str, list[str]] = {}
    for each in replaced:
        out.print(Text(f"  {each.layer}", style="bold"), soft_wrap=True)
        _print_code(out, "was", each.source)
        for line in each.became.splitlines():
            _print_code(out, "became", line)
        for assumption in each.assumptions:
            assumed.setdefault(assumption, []).append(each.layer)
    for each in refused:
        out.print(Text.assemble("  ", (each.layer, "bold red"), "  not replaced"), soft_wrap=True)
        if each.source:
            _print_code(out, "is", each.source)
        _print_code(out, "because", each.reason, lines=2 * _LINES)
    for assumption, layers in assumed.items():
        out.print(Text(f"  assumed: {assumption} (in {', '.join(layers)})", style="dim"), soft_wrap=True)
    for note in notes:
        out.print(Text(f"  {note}", style="dim"), soft_wrap=True)


def _print_code(out: Console, head: str, text: str, lines: int = _LINES) -> None:
    """A line of Python or a reason, wrapped under its head and cut where it is long."""
    indent = f"    {head:<8}"
    parts = textwrap.wrap(text, max(out.width - len(indent), 40), break_on_hyphens=False) or [""]
    if len(parts) > lines:
        parts = [*parts[:lines], f"... ({len(text):,} characters; --json has all)"]
    for index, part in enumerate(parts):
        out.print(Text((" " * len(indent) if index else indent) + part), soft_wrap=True)


def print_models(out: Console, names: Mapping[str, str], rows: Sequence[Inspection]) -> None:
    """The table of models, with sizes where they were counted."""
    sizes = {row.name: row for row in rows}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    if rows:
        for heading in ("input", "trainable", "with statistics", "multiply-adds"):
            table.add_column(heading, justify="right", no_wrap=True)
    described = not rows  # beside figures there is no room for words
    if described:
        table.add_column("what it is")
    for name, text in names.items():
        row = sizes.get(name)
        counts = []
        if row:
            counts = [row.inputs[0].split(" ")[1].removeprefix("?x"), f"{row.trainable:,}", f"{row.total:,}"]
            counts.append(_multiply_adds(row.multiply_adds))
        table.add_row(Text(name), *counts, *([text] if described else []))
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
