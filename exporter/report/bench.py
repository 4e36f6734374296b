"""What a person sees of a benchmark, and its JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.bench.profile import BlockProfile
from exporter.bench.result import BenchReport, Comparison, Measured, Role, Timing
from exporter.bench.statistics import Difference, Estimate
from exporter.parity.result import SCHEMA

_STYLES: Final = {Difference.FASTER: "bold green", Difference.SLOWER: "bold red"}
_SLOWEST: Final = 4
"""Operations of a block that are named in a table; --json has all."""

_MIB: Final = 2**20
_WORDS: Final = 24
"""Columns of a terminal that a cell of words needs."""


def bench_json(report: BenchReport) -> dict[str, Any]:
    """The result of bench: `machine`, `artifacts` with their `timings`, `structure` and `agreement`, `comparisons`."""
    return {
        "schema": SCHEMA,
        "machine": {**dataclasses.asdict(report.machine), "other_cores": report.other_cores},
        "versions": dict(report.versions),
        "seconds": report.seconds,
        "launches": report.launches,
        "artifacts": [_artifact_json(each) for each in report.measured],
        "comparisons": [
            {
                "artifact": each.label,
                "against": each.against,
                "threads": each.threads,
                "ratio": each.wall.median,
                **_interval(each.wall),
                "cpu_ratio": each.cpu.median,
                "difference": str(each.difference),
            }
            for each in report.comparisons
        ],
        "warnings": list(report.warnings),
        "notes": list(report.notes),
    }


def _artifact_json(measured: Measured) -> dict[str, Any]:
    candidate, structure = measured.candidate, measured.structure
    return {
        "name": candidate.label,
        "model": candidate.model,
        "role": str(candidate.role),
        "made_by": candidate.made_by,
        "runtime": measured.runtime,
        "format": candidate.artifact.format,
        "precision": str(candidate.artifact.precision),
        "sha256": candidate.artifact.sha256,
        "bytes": candidate.artifact.size,
        "timings": [_timing_json(each) for each in measured.timings],
        "structure": {
            "operations": dict(structure.operations),
            "partitions": structure.partitions,
            "undelegated": [{"operation": op, "name": name} for op, name in structure.undelegated],
            "reorders": structure.reorders,
        },
        "blocks": None
        if structure.blocks is None
        else [
            {
                "name": block.name,
                "kind": block.kind,
                "channels": block.channels,
                "height": block.height,
                "width": block.width,
                "microseconds": block.whole,
                "fused_microseconds": block.fused,
                "operations": [
                    {
                        "operation": each.op,
                        "name": each.name,
                        "shape": list(each.shape),
                        "microseconds": each.microseconds,
                        "delegated": each.delegated,
                    }
                    for each in block.operations
                ],
            }
            for block in structure.blocks
        ],
        "agreement": None if measured.agreement is None else dataclasses.asdict(measured.agreement),
    }


def _timing_json(timing: Timing) -> dict[str, Any]:
    return {
        "threads": timing.threads,
        "median_ms": timing.wall.median,
        **_interval(timing.wall),
        "quartiles_ms": list(timing.quartiles),
        "cpu_ms": timing.cpu.median,
        "rounds": timing.rounds,
        "inferences": timing.inferences,
        "peak_bytes": timing.peak_bytes,
        "model_bytes": timing.model_bytes,
    }


def _interval(estimate: Estimate) -> dict[str, Any]:
    return {"low": estimate.low, "high": estimate.high, "confidence": estimate.confidence}


def print_bench(out: Console, report: BenchReport) -> None:
    """For each model and format what the artifacts are, their times, and what may be said of each pair."""
    groups: dict[tuple[str, str], list[Measured]] = {}
    for each in report.measured:
        name = "given artifacts" if each.candidate.role is Role.GIVEN else each.candidate.model
        groups.setdefault((name, each.candidate.artifact.format), []).append(each)
    for (name, kind), members in groups.items():
        out.print()
        precisions = ", ".join(dict.fromkeys(str(each.candidate.artifact.precision) for each in members))
        out.print(Text(f"{name}  {kind} {precisions}  in {members[0].runtime}", style="bold"), soft_wrap=True)
        _print_structure(out, members)
        for timings in zip(*(each.timings for each in members), strict=True):
            _print_times(out, members, timings)
        _print_comparisons(out, report, members)
        for each in members:
            if each.candidate.role in (Role.OURS, Role.GIVEN):
                _print_blocks(out, each)
    _print_across(out, report, list(groups.values()))
    _print_conditions(out, report)


def _print_structure(out: Console, members: Sequence[Measured]) -> None:
    litert = members[0].structure.partitions is not None
    headings = ("artifact", "bytes", "operations", *(("partitions", "undelegated") if litert else ("reorders",)))
    rows = []
    for each in members:
        structure = each.structure
        counts = (structure.partitions, len(structure.undelegated)) if litert else (structure.reorders,)
        rows.append(
            (
                _shown(each),
                f"{each.candidate.artifact.size:,}",
                str(structure.count),
                *map(str, counts),
                _apart(each),
            )
        )
    _print_rows(out, (*headings, "max abs from model"), rows)
    for each in members:
        left: dict[str, int] = {}
        for op, _ in each.structure.undelegated:
            left[op] = left.get(op, 0) + 1
        if left:
            told = ", ".join(f"{count} {op}" for op, count in left.items())
            out.print(Text(f"  not delegated in {_shown(each)}: {told}"), soft_wrap=True)


def _apart(measured: Measured) -> str:
    found = measured.agreement
    if found is None:
        return "-"
    return f"{found.max_abs:.1e}" + ("" if found.relative is None else f" ({found.relative:.1e} of spread)")


def _print_times(out: Console, members: Sequence[Measured], timings: Sequence[Timing]) -> None:
    threads = timings[0].threads
    headings = (
        f"{threads} thread{'s' * (threads > 1)}",
        *("median ms", "over launches", "half of all within", "cpu ms", "peak MiB", "of it model's"),
    )
    rows = [
        (
            _shown(each),
            _digits(timing.wall.median),
            "-" if timing.wall.low is None else f"{_digits(timing.wall.low)}-{_digits(timing.wall.high)}",
            f"{_digits(timing.quartiles[0])}-{_digits(timing.quartiles[1])}",
            _digits(timing.cpu.median),
            f"{timing.peak_bytes / _MIB:.1f}",
            f"{timing.model_bytes / _MIB:.1f}",
        )
        for each, timing in zip(members, timings, strict=True)
    ]
    _print_rows(out, headings, rows)


def _print_comparisons(out: Console, report: BenchReport, members: Sequence[Measured]) -> None:
    labels = {each.candidate.label: each for each in members}
    for each in report.comparisons:
        if each.label in labels and each.against in labels and _tells(members, each):
            _print_comparison(out, each, labels[each.label], labels[each.against])


def _tells(members: Sequence[Measured], found: Comparison) -> bool:
    """Whether a pair answers a question: ours or the stock file beside what is asked about. --json has all pairs."""
    roles = {each.candidate.label: each.candidate.role for each in members}
    pair = (roles[found.label], roles[found.against])
    if pair == (Role.NAIVE, Role.NONE):
        return found.label == next(label for label, role in roles.items() if role is Role.NAIVE)
    return pair != (Role.NAIVE, Role.NAIVE)


def _print_across(out: Console, report: BenchReport, groups: Sequence[Sequence[Measured]]) -> None:
    """The last of each group beside the last of the first one."""
    lasts = [members[-1] for members in groups]
    if len(lasts) > 1:
        out.print()
        for threads in (timing.threads for timing in lasts[0].timings):
            for each in lasts[1:]:
                found = report.comparison(each.candidate.label, lasts[0].candidate.label, threads)
                _print_comparison(out, found, each, lasts[0], full=True)


def _print_comparison(
    out: Console, found: Comparison, measured: Measured, against: Measured, full: bool = False
) -> None:
    first, second = (_shown(each) if not full else each.candidate.label for each in (measured, against))
    text = Text(f"  {first} / {second}, {found.threads} thread{'s' * (found.threads > 1)}: ")
    text.append(f"{found.wall.median:.3f}")
    if found.wall.low is not None and found.wall.high is not None:
        text.append(f" ({found.wall.low:.3f}-{found.wall.high:.3f})")
    text.append(f", cpu {found.cpu.median:.3f}: ")
    text.append(str(found.difference), style=_STYLES.get(found.difference, "bold yellow"))
    if against.candidate.role is Role.NONE and not full:
        text.append(f"; attention costs {100 * (found.wall.median - 1):+.0f}% of the time without it")
    out.print(text, soft_wrap=True)


def _print_blocks(out: Console, measured: Measured) -> None:
    blocks = measured.structure.blocks
    if not blocks:
        return
    rows = [
        (
            block.name,
            block.kind,
            f"{block.height}x{block.width}x{block.channels}",
            f"{block.whole:.1f}",
            "-" if block.fused is None else f"{block.fused:.1f}",
            _slowest(block),
        )
        for block in blocks
    ]
    out.print()
    headings = ("block", "kind", "map", "us", "fused us", "its slowest operations, us")
    _print_rows(out, headings, rows, folds=True)
    total = sum(block.whole for block in blocks)
    single = next((timing.cpu.median for timing in measured.timings if timing.threads == 1), None)
    share = "" if single is None else f", {total / 10 / single:.0f}% of an inference's processor time"
    out.print(
        Text(
            f"  attention in {_shown(measured)}: {total / 1000:.3f} ms on one thread{share}; fused: what a kernel "
            f"that reads the map three times and writes it once would take",
            style="dim",
        ),
        soft_wrap=True,
    )


def _slowest(block: BlockProfile) -> str:
    times: dict[str, float] = {}
    for each in block.operations:
        times[each.op] = times.get(each.op, 0.0) + each.microseconds
    ordered = sorted(times.items(), key=lambda item: -item[1])[:_SLOWEST]
    return ", ".join(f"{op} {time:.1f}" for op, time in ordered)


def _print_conditions(out: Console, report: BenchReport) -> None:
    out.print()
    rounds = report.measured[0].timings
    told = ", ".join(f"{each.rounds} rounds on {each.threads} thread{'s' * (each.threads > 1)}" for each in rounds)
    confidence = rounds[0].wall.confidence
    interval = (
        f"intervals hold the true value with {100 * confidence:.0f}%"
        if confidence is not None
        else "too few launches for intervals, so no difference is claimed"
    )
    versions = ", ".join(f"{name} {found}" for name, found in report.versions.items() if found)
    for line in (
        f"{report.launches} launches, {told}; a ratio is paired round by round; {interval}",
        f"{report.machine.processor}, {report.machine.cores} cores; {versions}",
        *report.notes,
    ):
        out.print(Text(f"  {line}", style="dim"), soft_wrap=True)
    for line in report.warnings:
        out.print(Text(f"  warning: {line}", style="bold yellow"), soft_wrap=True)


def _print_rows(out: Console, headings: Sequence[str], rows: Iterable[Sequence[str]], folds: bool = False) -> None:
    """A table, or where the terminal is too narrow for it, a line for each figure: none is ever cut.

    `folds`: the last column holds words, which may take several lines.
    """
    kept = [tuple(row) for row in rows]
    fixed = len(headings) - folds
    widths = [max(len(row[place]) for row in (headings, *kept)) for place in range(fixed)]
    table = Table(box=box.SIMPLE_HEAD)
    for place, heading in enumerate(headings):
        words = place == 0 or place >= fixed
        table.add_column(heading, justify="left" if words else "right", no_wrap=place < fixed)
    for row in kept:
        table.add_row(*map(Text, row))
    if sum(widths) + 2 * len(headings) + 2 + folds * _WORDS <= out.width:
        out.print(table)
        return
    for row in kept:
        out.print(Text(f"  {row[0]}"), soft_wrap=True)
        for heading, cell in zip(headings[1:], row[1:], strict=True):
            out.print(Text(f"    {heading:<20}{cell}"), soft_wrap=True)


def _shown(measured: Measured) -> str:
    candidate = measured.candidate
    return candidate.label if candidate.role is Role.GIVEN else candidate.made_by


def _digits(milliseconds: float | None) -> str:
    """Four digits of a time."""
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f}" if milliseconds >= 1000 else f"{milliseconds:.4g}"
