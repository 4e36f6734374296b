"""Measure what the exported model gains on a plain conversion, and what its attention costs: the table of goals.

    python scripts/benchmark_performance.py [--only small-cnn:litert-f32] [--seconds 6] [--json FILE] [--chart FOLDER]
    python scripts/benchmark_performance.py --only all-96:litert-int8 --seconds 1

Each model is a backbone with CBAM as people write it by hand in Keras (`performance_models.py`), random weights,
logits. Of each come its export by cbam-export, the stock converters' files of the very same model, and its export
without attention; they take turns on one thread and on two (`exporter.benchmark`). Prints a Markdown table: the ratio
to the stock converter with its interval, the goal, the largest difference of outputs, and the attention tax before and
after. Without --only, the cells that have a goal; "all-96" stands for every backbone at 96x96, where the question is
whether any file of ours is slower than the stock converter's. `chart_performance.py` draws what --json keeps.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from typing import Final

from performance_models import KINDS, MODELS, SPELLINGS, TAXED, Kind, Model, build

import exporter
from converters.errors import CbamError
from exporter.bench.result import BenchReport, Comparison, Measured, Role
from exporter.bench.statistics import Difference, Estimate
from exporter.report.bench import bench_json
from exporter.report.chart import check_chart, write_chart

THREADS: Final = (1, 2)
ALL: Final = "all-96"


def rows(model: Model, kind: Kind, report: BenchReport) -> list[str]:
    """One line of the table for each number of threads."""
    by_role: dict[Role, Measured] = {}
    for measured in report.measured:
        by_role.setdefault(measured.candidate.role, measured)  # of the stock converters, the first
    ours, naive, none = by_role[Role.OURS], by_role[Role.NAIVE], by_role.get(Role.NONE)
    goals = {1: kind.goals[model.name]} if model.name in kind.goals else {}
    lines = []
    for place, threads in enumerate(THREADS):
        found = _pair(report, ours, naive, threads)
        goal = f"{goals[threads]:.2f}" if threads in goals else "not slower"
        verdict = _verdict(found, goals[threads]) if threads in goals else _not_slower(found)
        apart = "-" if ours.agreement is None else f"{ours.agreement.max_abs:.1e}"
        if ours.agreement is not None and ours.agreement.relative is not None:
            apart += f" ({ours.agreement.relative:.1e})"
        times = ["-" if each is None else f"{each.timings[place].wall.median:.4g}" for each in (none, naive, ours)]
        ratio = f"{found.wall.median:.3f} (cpu {found.cpu.median:.3f})"
        cells = [model.title, kind.title, str(threads), *times, ratio, _interval(found.wall), goal, verdict, apart]
        lines.append("| " + " | ".join([*cells, _tax(report, model, kind, (naive, ours, none), threads)]) + " |")
    return lines


def _tax(
    report: BenchReport, model: Model, kind: Kind, of: tuple[Measured, Measured, Measured | None], threads: int
) -> str:
    naive, ours, none = of
    if none is None:
        return "-"
    taxes = [_pair(report, each, none, threads).wall for each in (naive, ours)]
    asked = threads == 1 and model.name == TAXED and kind.tax is not None
    goal = f" (goal {kind.tax:.0%})" if asked else ""
    return f"{taxes[0].median - 1:.0%} -> {taxes[1].median - 1:.0%}{goal}"


def _verdict(found: Comparison, goal: float) -> str:
    low, high = found.wall.low, found.wall.high
    if low is None or high is None:
        return str(found.difference)
    if high <= goal:
        return "met"
    return "not met" if low > goal else "within noise of it"


def _not_slower(found: Comparison) -> str:
    met = {Difference.FASTER: "met", Difference.SLOWER: "not met"}
    return met.get(found.difference, str(found.difference))


def _pair(report: BenchReport, first: Measured, second: Measured, threads: int) -> Comparison:
    return report.comparison(first.candidate.label, second.candidate.label, threads)


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None else f"{estimate.low:.3f}-{estimate.high:.3f}"


def _cells(only: list[str] | None) -> list[tuple[Model, Kind]]:
    """What was asked for, in order; without that, what has a goal."""
    if only is None:
        return [(model, kind) for model in MODELS.values() for kind in KINDS.values() if model.name in kind.goals]
    found = []
    for each in only:
        name, _, kind = each.partition(":")
        models = [model for model in MODELS.values() if model.name.endswith("-96")] if name == ALL else [MODELS[name]]
        found += [(model, KINDS[kind]) for model in models]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cells = [f"{model}:{kind}" for model in (*MODELS, ALL) for kind in KINDS]
    told = f"MODEL: {', '.join((*MODELS, ALL))}; KIND: {', '.join(KINDS)}"
    parser.add_argument("--only", action="append", choices=cells, metavar="MODEL:KIND", help=told)
    parser.add_argument("--spelling", choices=tuple(SPELLINGS), default="popular")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each artifact and number of threads")
    parser.add_argument("--launches", type=int, default=6)
    parser.add_argument("--profile", action="store_true", help="time each block's operations too; they are in --json")
    parser.add_argument("--json", type=Path, help="write every benchmark's JSON, one object a line")
    parser.add_argument("--chart", type=Path, help="a folder for one SVG a cell")
    given = parser.parse_args()
    if given.chart is not None:
        given.chart.mkdir(parents=True, exist_ok=True)
        check_chart(given.chart / "any.svg")
    print(f"{datetime.date.today()}, CBAM spelt as {given.spelling}")
    print(
        "| model | artifact | threads | without, ms | stock, ms | ours, ms | ours / stock | interval | goal | "
        "| max abs from Keras (/ spread) | attention tax, stock -> ours |"
    )
    print("|---" * 12 + "|")
    last = None
    for model, kind in _cells(given.only):
        goal = kind.goals.get(model.name)
        asked = exporter.BenchOptions(
            against=("naive",) if goal is None else ("none", "naive"),
            formats=(kind.format,),
            precision=kind.precision,
            threads=THREADS,
            seconds=given.seconds,
            launches=given.launches,
            profile=given.profile,
        )
        try:
            built = build(model, SPELLINGS[given.spelling])
            last = exporter.benchmark(built, asked, on_step=lambda step: print(f"  {step}", file=sys.stderr))
        except CbamError as error:
            print(f"| {model.title} | {kind.title} |" + " |" * 9 + f" {error} |", flush=True)
            continue
        print("\n".join(rows(model, kind, last)), flush=True)
        if given.json is not None:
            cell = {"title": model.title, "kind": kind.title, "spelling": given.spelling, "goal": goal}
            with given.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({**cell, **bench_json(last)}) + "\n")
        if given.chart is not None:
            write_chart(last, given.chart / f"{model.name}-{kind.name}.svg")
    if last is not None:
        versions = ", ".join(f"{name} {found}" for name, found in last.versions.items() if found)
        print(f"\n{last.machine.processor}, {last.machine.cores} cores; {versions}")
        for line in last.warnings:
            print(f"warning: {line}")


if __name__ == "__main__":
    main()
