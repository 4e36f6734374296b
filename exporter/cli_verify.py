"""`cbam reference`, `cbam verify` and `cbam bundle`. Imports only click until a command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from exporter.parameters import NamedNumber, Shape, ValueRange
from exporter.terminal import Choice, json_option, session

CHECK_FAILED: Final = 1

_OVERRIDES: Final = {
    "atol": "Accept |difference| up to this (plus --rtol times the value) instead of the derived tolerance.",
    "rtol": "As --atol, relative to the value.",
    "min_cosine": "Least cosine with the truth, beside the tolerance.",
    "min_agreement": "Least share of samples with the same top-1; of quantised files instead of 0.98.",
    "min_sqnr": "Least SQNR in dB; of quantised files instead of 20.",
}


def override_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--atol, --rtol, --min-cosine, --min-agreement and --min-sqnr, each for all outputs or for one."""
    for name, text in reversed(_OVERRIDES.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, multiple=True, type=NamedNumber(), help=text)(command)
    return command


@click.command()
@click.argument("model", required=False)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .npz file to write.")
@click.option("--device", type=Choice(("cpu", "gpu")), help="Where to run it.  [default: a GPU if Keras sees one]")
@click.option("--samples", type=int, help="Real samples at most.  [default: all]")
@click.option(
    "--inputs", type=click.Path(path_type=Path), help="Your own: .npz, .npy, or a folder of files or pictures."
)
@click.option("--input-shape", "input_shapes", multiple=True, type=Shape(), help="Sizes per sample that are left open.")
@click.option("--input-range", type=ValueRange(), help="Values the model expects.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@json_option
def reference(model: str | None, output: Path, as_json: bool, verbose: bool, silent: bool, **given: Any) -> None:
    """Record what MODEL gives, with its float64 truth and where it was computed.

    Runs in the Keras backend that KERAS_BACKEND names; on JAX and torch no TensorFlow is needed. The file verifies
    artifacts on machines that have neither the model nor TensorFlow.
    """
    with session(verbose, silent, as_json) as report:
        from converters.errors import OptionError
        from exporter.recording import ReferenceOptions
        from exporter.recording import reference as record_reference

        shapes = given.pop("input_shapes")
        if len({name for name, _ in shapes}) != len(shapes):
            raise OptionError("--input-shape was given twice for the same input")
        options = ReferenceOptions(**given, input_shapes=dict(shapes))
        made = record_reference(model, output, options, on_step=report.step)
        report.done()
        from exporter.parity.summary import record_json, record_lines

        if not silent:
            for line in record_lines(made):
                report.line(line)
        if as_json:
            click.echo(json.dumps({**record_json(made), "path": str(output)}, allow_nan=False))
        else:
            click.echo(str(output))


@click.command()
@click.argument("candidates", nargs=-1)
@click.option(
    "--against", metavar="MODEL|REF.npz", help="What they must compute.  [default: the zoo model they are of]"
)
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    metavar="NAME|all",
    help="Verify in this runtime instead of the format's own; `all`: in every one that is installed.",
)
@override_options
@click.option("--samples", type=int, help="Real samples at most.  [default: all; 16 where emulated]")
@click.option("--causes/--no-causes", default=True, show_default=True, help="Tell where differences come from.")
@click.option(
    "--locate", "model", metavar="MODEL", help="The model itself, to name the layer at fault by, beside REF.npz."
)
@click.option("--no-locate", is_flag=True, help="Do not search what failed for the layer at fault.")
@click.option("--per-layer", is_flag=True, help="Search every artifact along the layers, and print all of them.")
@click.option("--report", type=click.Path(path_type=Path), metavar="DIR", help="Also write a page, DIR/index.html.")
@click.option(
    "--time-limit",
    type=float,
    metavar="SECONDS",
    help="How long opening a file, and each call, may take before it counts as hanging.  [default: 180 to 600]",
)
@click.option("--merge", multiple=True, type=click.Path(path_type=Path), help="Take in a result from a device.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the result as JSON to this file.")
@json_option
def verify(
    candidates: tuple[str, ...],
    against: str | None,
    output: Path | None,
    as_json: bool,
    verbose: bool,
    silent: bool,
    **given: Any,
) -> None:
    """Run each CANDIDATE in its runtimes and compare with what it must compute.

    CANDIDATE is an artifact that cbam-export wrote, or any .tflite or .onnx file.

    Exit codes: 0 nothing failed, 1 a check failed (a runtime that dies on the file too), 2 bad input or usage,
    3 a fault, 4 a runtime that was asked for is not available.
    """
    with session(verbose, silent, as_json) as report:
        from exporter.checking import check_json_target, write_json
        from exporter.overrides import read_overrides
        from exporter.parity.text import lines
        from exporter.report.page import check_folder
        from exporter.verification import VerifyOptions
        from exporter.verification import verify as verify_candidates

        options = VerifyOptions(
            runtimes=given["runtimes"],
            overrides=read_overrides({name: given[name] for name in _OVERRIDES}),
            samples=given["samples"],
            causes=given["causes"],
            merge=given["merge"],
            locate=not given["no_locate"],
            model=given["model"],
            per_layer=given["per_layer"],
            pictures=given["report"] is not None,
            time_limit=given["time_limit"],
        )
        if given["report"] is not None:
            check_folder(given["report"])
        if output is not None:
            check_json_target(output)
        found = verify_candidates(candidates, against, options, on_step=report.step)
        report.done()
        if output is not None:
            write_json(found.result, output)
        if given["report"] is not None:
            report.line(f"  report: {_write_page(found.result, given['report'], given['merge'])}")
        told = list(lines(found.result))
        if as_json:
            for line in told:
                report.line(line)
            click.echo(json.dumps(found.result, allow_nan=False))
        else:
            for line in told[-1:] if silent else told:
                click.echo(styled(line) if sys.stdout.isatty() else line)
        if not found.passed:
            sys.exit(CHECK_FAILED)


def _write_page(result: Any, folder: Path, merged: tuple[Path, ...]) -> Path:
    from converters.errors import ModelError
    from exporter.report.page import write_report

    try:
        return write_report(result, folder)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if not merged:
            raise
        names = " or ".join(map(str, merged))
        raise ModelError(f"{names}: holds what no page can be made of ({type(error).__name__}: {error})") from error


@click.command()
@click.argument("candidates", nargs=-1, required=True)
@click.option(
    "--against", metavar="MODEL|REF.npz", help="What they must compute.  [default: the zoo model they are of]"
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .pyz file to write.")
@override_options
@click.option("--samples", type=int, help="Real samples that it carries at most.  [default: all]")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@json_option
def bundle(
    candidates: tuple[str, ...],
    against: str | None,
    output: Path,
    as_json: bool,
    verbose: bool,
    silent: bool,
    **given: Any,
) -> None:
    """Pack each CANDIDATE with its reference into one file for a device.

    There `python3 NAME.pyz --json RESULT.json` verifies, with NumPy and ai-edge-litert or onnxruntime and nothing else;
    `cbam verify --merge RESULT.json` takes the result back.
    """
    with session(verbose, silent, as_json) as report:
        from exporter.bundling import BundleOptions
        from exporter.bundling import bundle as pack
        from exporter.overrides import read_overrides

        overrides = read_overrides({name: given[name] for name in _OVERRIDES})
        options = BundleOptions(overrides, given["samples"], given["overwrite"])
        path = pack(candidates, against, output, options, on_step=report.step)
        report.done()
        if as_json:
            from exporter.parity.result import SCHEMA

            click.echo(json.dumps({"schema": SCHEMA, "path": str(path), "bytes": path.stat().st_size}))
        else:
            click.echo(str(path))


def styled(line: str) -> str:
    """A line of the table with its verdict in colour."""
    for verdict, colour in (("NOT INFORMATIVE", "yellow"), ("PASSED", "green"), ("FAILED", "red")):
        if line.endswith(verdict):
            return line.removesuffix(verdict) + click.style(verdict, fg=colour, bold=True)
    return line
