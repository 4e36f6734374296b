"""`cbam bench`. Imports only click until it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from exporter.formats import PRECISIONS
from exporter.parameters import Threads
from exporter.terminal import Choice, json_option, session

TIMED: Final = ("tflite", "onnx")  # as exporter.bench.timing.TIMERS, which --help must not import
AGAINST: Final = ("naive", "none")


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL|ARTIFACT]...")
@click.option(
    "--against",
    multiple=True,
    type=Choice(AGAINST),
    help="Also time a stock converter's file of each MODEL (naive), or the model without attention (none).",
)
@click.option(
    "-f", "--format", "formats", multiple=True, type=Choice(TIMED), help="What to export MODEL to.  [default: all]"
)
@click.option("-p", "--precision", default="fp32", show_default=True, type=Choice(PRECISIONS), help="Of the exports.")
@click.option(
    "--threads", default="1,all", show_default=True, type=Threads(), help="Numbers of threads, each timed by itself."
)
@click.option(
    "--seconds", default=6.0, show_default=True, type=float, help="Of timed inferences for each artifact and number."
)
@click.option(
    "--launches",
    default=6,
    show_default=True,
    type=int,
    help="How often all is started anew; with fewer than 6 no difference is claimed.",
)
@click.option("--profile/--no-profile", default=True, show_default=True, help="Time each attention block's operations.")
@click.option("--chart", type=click.Path(path_type=Path), metavar="FILE.svg|.png", help="Draw the times.")
@json_option
def bench(
    models: tuple[str, ...], as_json: bool, verbose: bool, silent: bool, chart: Path | None, **given: Any
) -> None:
    """Time artifacts side by side: which is faster, by how much, and whether that can be told at all.

    ARTIFACT is a .tflite or .onnx file, anyone's. MODEL is what `cbam export` takes, and is exported first. They take
    turns, each in a process of its own, on one thread and on all. A difference inside the noise is called that.
    """
    with session(verbose, silent, as_json) as report:
        if chart is not None:
            from exporter.report.chart import check_chart

            check_chart(chart)
        from exporter.bench.options import BenchOptions

        options = BenchOptions(**given)
        import exporter.benchmarking

        found = exporter.benchmarking.benchmark(list(models) or None, options, on_step=report.step)
        report.done()
        if chart is not None:
            from exporter.report.chart import write_chart

            write_chart(found, chart)
        if as_json:
            from exporter.report.bench import bench_json

            click.echo(json.dumps(bench_json(found), allow_nan=False))
            if silent:
                return
        from exporter.report.bench import print_bench
        from exporter.report.table import console

        print_bench(console(report.stream if as_json else sys.stdout), found)
