"""`cbam quantize`, and the options that it shares with `cbam export`. Imports only click until a command runs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.formats import FORMATS, PRECISIONS
from exporter.parameters import BatchSize, Numbers, Shape, Share, ValueRange
from exporter.runtimes.table import RUNTIMES
from exporter.terminal import Choice, Reporter, json_option, precision_option, session

CHECK_FAILED = 1
_QUANTISED = tuple(name for name in PRECISIONS if name != "fp32")
_FORMATS = tuple(name for name, row in FORMATS.items() if len(row.precisions) > 1)


def quantisation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a quantisation takes beside what an export takes."""
    for option in (
        click.option(
            "--max-drop",
            type=Share(),
            help="Keep as few operations out of int8 as it takes to change at most this share of top-1 decisions, or "
            "with --targets to lose at most this much accuracy.",
        ),
        click.option(
            "--keep",
            type=Choice(("float", "int16", "either")),
            help="What these compute in; either: what needs fewer, then what is faster.  [default: float]",
        ),
        click.option(
            "--targets",
            metavar="FILE.npy|folders|own",
            help="Class numbers in the order of the samples, or an image's folder is its class, or a shipped model's.",
        ),
        click.option("--min-sqnr", type=float, help="Least SQNR in dB, or the exit code is 1.  [default: 20]"),
        click.option("--min-agreement", type=Share(), help="Least share of equal top-1 decisions.  [default: 0.98]"),
        click.option("--activations", type=Choice(("uint8", "int8")), help="ONNX int8: type.  [default: uint8]"),
        click.option(
            "--ranges",
            "methods",
            multiple=True,
            type=Choice(("minmax", "mse", "entropy", "percentile")),
            help="How ranges are found.  [default: each that the format has, and the best is kept]",
        ),
        click.option(
            "--io",
            type=Choice(("int8", "uint8", "int16", "float16", "float32")),
            help="Type of inputs and outputs.  [default: the precision's own; float32 for ONNX]",
        ),
        click.option("--resize", type=Choice(("crop", "stretch")), help="How images are fitted.  [default: crop]"),
        click.option("--channels", type=Choice(("rgb", "bgr")), help="Their order in the model.  [default: rgb]"),
        click.option("--std", type=Numbers(), help="Deviation, one number or one a channel: (pixel*scale-mean)/std."),
        click.option("--mean", type=Numbers(), help="Mean, one number or one a channel."),
        click.option("--scale", type=float, help="Factor of pixels 0..255."),
        click.option(
            "--preprocess",
            type=Choice(("unit", "bytes", "tf", "torch", "caffe")),
            help="From pixels to numbers: 0..1, 0..255, -1..1, or as those frameworks do.",
        ),
        click.option("--force", is_flag=True, help="Use the data though they look wrong; what is seen is still said."),
        click.option("--min-samples", type=int, help="Fewer are refused.  [default: 10]"),
        click.option("--seed", type=int, help="Of the draw and the division of the samples.  [default: 0]"),
        click.option("--samples", type=int, help="At most so many to calibrate.  [default: 200]"),
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            help="Folder of images, .npy, .npz or TFRecord file.  [default: a shipped model's own images]",
        ),
    ):
        command = option(command)
    return command


def take_quantisation(given: dict[str, Any]) -> Any:
    """Take the options of `quantisation_options` out of a command's, as `QuantisationOptions`."""
    from exporter.parity.gates import Gates
    from exporter.quantisation.options import QuantisationOptions
    from exporter.quantisation.preprocess import chosen

    changes = {"order": given.pop("channels"), "resize": given.pop("resize")}
    formula = {name: given.pop(name) for name in ("preprocess", "scale", "mean", "std")}
    gates = {"agreement": given.pop("min_agreement"), "sqnr_db": given.pop("min_sqnr")}
    names = ["calibration", "samples", "seed", "min_samples", "force", "io", "methods", "activations"]
    names += ["max_drop", "keep", "targets"]
    found = {name: given.pop(name) for name in names}
    return QuantisationOptions(
        **{name: value for name, value in found.items() if value is not None},
        preprocess=chosen(formula, changes),
        gates=Gates(**{name: value for name, value in gates.items() if value is not None}),
    )


@click.command()
@click.argument("model", required=False)
@click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    default=("tflite",),
    show_default=True,
    type=Choice(_FORMATS),
    help="What to write; may be given several times.",
)
@precision_option(_QUANTISED, "int8")
@quantisation_options
@click.option("--batch", type=BatchSize(), metavar="N|dynamic", help="Batch size.  [default: 1]")
@click.option("--input-shape", "input_shapes", multiple=True, type=Shape(), help="Sizes per sample.")
@click.option("--input-range", type=ValueRange(), help="Values that the model expects.")
@click.option("--lower/--no-lower", default=True, show_default=True, help="Let faster and better equal graphs compete.")
@click.option("-o", "--output", default="exported", show_default=True, type=click.Path(path_type=Path), help="Folder.")
@click.option(
    "--runtime", "runtimes", multiple=True, type=Choice(tuple(RUNTIMES)), metavar="NAME", help="Verify in this one too."
)
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Also write a page, DIR/index.html.")
@json_option
def quantize(model: str | None, as_json: bool, verbose: bool, silent: bool, **given: Any) -> None:
    """Quantise MODEL, check the result and measure it against the float model.

    MODEL is what `cbam export` takes. The calibration data are checked first, a part of them is held out, and the
    figures are of that part. The conversion runs in a process of its own.

    Exit codes: 0 done and verified, 1 done but agreement or SQNR is too low, 2 bad input or usage, 3 a conversion
    failed or its result is not what was asked for, 4 a runtime is not available.
    """
    with session(verbose, silent, as_json) as report:
        from converters.errors import OptionError
        from exporter.options import ExportOptions

        shapes = given.pop("input_shapes")
        if len({name for name, _ in shapes}) != len(shapes):
            raise OptionError("--input-shape was given twice for the same input")
        page, quantisation = given.pop("report"), take_quantisation(given)
        if page is not None:
            from exporter.report.page import check_folder

            check_folder(page)
            quantisation = dataclasses.replace(quantisation, profile=True)
        options = ExportOptions(**given, input_shapes=dict(shapes), quantisation=quantisation)
        run(model, options, report, as_json, page)


def run(model: str | None, options: Any, report: Reporter, as_json: bool, page: Path | None = None) -> None:
    """Quantise, print, and end with exit code 1 if a gate was missed; `page`: folder of a report to write besides."""
    import exporter.quantisation.flow

    result = exporter.quantisation.flow.quantize(model, options, on_step=report.step, on_progress=report.progress)
    report.done()
    if page is not None:
        import exporter.report.quantised_page
        from exporter.report.page import write_report
        from exporter.report.quantised import quantised_json

        written = write_report(quantised_json(result), page, exporter.report.quantised_page.page)
        report.line(f"  report: {written}")
    if report.silent:
        for line in (*result.warnings, *exporter.quantisation.flow.failures(result)):
            report.stream.write(f"{line}\n")
    else:
        from exporter.report.quantised import print_quantised
        from exporter.report.table import console

        print_quantised(console(report.stream), result)
    if as_json:
        from exporter.report.quantised import quantised_json

        click.echo(json.dumps(quantised_json(result), allow_nan=False))
    else:
        for artifact in result.artifacts:
            click.echo(str(artifact.path))
    if not result.passed:
        sys.exit(CHECK_FAILED)
