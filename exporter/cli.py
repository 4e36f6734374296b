"""The commands: parse, build options, call once, print. Imports only click until a command runs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click

from converters.artifact import Precision
from converters.errors import OptionError, closest
from exporter.cli_bench import bench
from exporter.cli_quantize import quantisation_options, quantize, run, take_quantisation
from exporter.cli_runtimes import runtimes
from exporter.cli_verify import bundle, reference, verify
from exporter.formats import FORMATS, PRECISIONS
from exporter.parameters import BatchSize, NamedText, Shape, ValueRange
from exporter.runtimes.table import RUNTIMES
from exporter.terminal import Choice, Group, Reporter, fail, json_option, precision_option, session

CHECK_FAILED = 1
INTERRUPTED = 130


@contextlib.contextmanager
def decoded(report: Reporter) -> Iterator[None]:
    """Show the Lambda layers of a model that is refused for some of them: what they are, and what stands in the way."""
    from converters.lambdas.rewrite import LambdaRefusedError

    try:
        yield
    except LambdaRefusedError as error:
        report.broken()
        if not report.silent:
            from exporter.report.table import console, print_replaced

            print_replaced(console(report.stream), error.replaced, error.refused)
            error.brief = error.without_reasons
        raise


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cbam-export", message="%(package)s %(version)s")
def cbam() -> None:
    """Bring attention CNNs from Keras to the edge, and prove that they still compute the same."""


@cbam.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", required=False)
@click.version_option(package_name="cbam-export", message="%(package)s %(version)s")
@click.option(
    "-f",
    "--format",
    "formats",
    multiple=True,
    default=("onnx",),
    show_default=True,
    type=Choice(tuple(FORMATS)),
    help="What to write; may be given several times.",
)
@precision_option(PRECISIONS, "fp32")
@click.option(
    "--batch", type=BatchSize(), metavar="N|dynamic", help="Batch size.  [default: the model's own if fixed, else 1]"
)
@click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    type=Shape(),
    help="Sizes per sample, for what the model leaves open or to replace them; NAME= where it has several inputs.",
)
@click.option("--opset", type=int, help="ONNX operator set, from 13 on.  [default: 17]")
@click.option("--inputs-as-nchw", is_flag=True, help="ONNX: take NHWC image inputs as NCHW.")
@click.option("--select-tf-ops", is_flag=True, help="TFLite: allow operations that need TensorFlow on the device.")
@click.option("--labels", type=click.Path(path_type=Path), help="Text file of class names, one a line; stored inside.")
@click.option("--input-range", type=ValueRange(), help="Values the model expects, to store inside and to verify on.")
@click.option(
    "-o", "--output", default="exported", show_default=True, type=click.Path(path_type=Path), help="Folder to write to."
)
@click.option(
    "--lower/--no-lower", default=True, show_default=True, help="Write CBAM in the form the runtime computes fastest."
)
@click.option(
    "--winograd/--no-winograd",
    default=True,
    show_default=True,
    help="TFLite fp32: 3x3 convolutions in two thirds of the multiplications, with a third more weights.",
)
@click.option("--verify/--no-verify", default=True, show_default=True, help="Run the artifact beside the model.")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=Choice(tuple(RUNTIMES)),
    metavar="NAME",
    help="Verify in this runtime instead of the format's own; may be given several times (`cbam runtimes` lists them).",
)
@quantisation_options
@json_option
def export(model: str | None, as_json: bool, verbose: bool, silent: bool, **given: Any) -> None:
    """Convert MODEL and verify the result in its own runtime.

    MODEL is a .keras or .h5 file, a SavedModel folder, the name of a trained model that is shipped (cbam-mnist, the
    default; `cbam models` lists all), or the name of a backbone, which then has random weights.

    Exit codes: 0 done and verified (or NOT INFORMATIVE: nothing failed), 1 done but a check failed, 2 bad input or
    usage, 3 a conversion failed, 4 a runtime is not available.
    """
    with session(verbose, silent, as_json) as report:
        from exporter.options import ExportOptions

        shapes = given.pop("input_shapes")
        if len({name for name, _ in shapes}) != len(shapes):
            raise OptionError("--input-shape was given twice for the same input")
        labels = given.pop("labels")
        given["quantisation"] = take_quantisation(given)
        options = ExportOptions(
            **{**given, "precision": Precision(given["precision"])},
            input_shapes=dict(shapes),
            labels=_read_labels(labels) if labels else None,
        )
        if options.precision is not Precision.FP32:
            run(model, options, report, as_json)
            return
        import exporter.pipeline

        result = exporter.pipeline.export(model, options, on_step=report.step)
        report.done()
        if not silent:
            from exporter.report.lowering import print_lowered
            from exporter.report.table import console, print_verification

            out = console(report.stream)
            print_lowered(out, result.lowered)
            for checked in result.reports:
                assert result.reference is not None
                out.print()
                print_verification(out, checked, result.reference)
            for artifact in result.artifacts if not result.reports else ():
                how = (
                    "written; no runtime here can open it" if artifact.path in result.unopened else "written and opened"
                )
                out.print(f"  {artifact.path}: {how}; not verified", markup=False)
        else:
            for checked in result.reports:
                for name, verdict in checked.outputs.items():
                    if verdict.reason:
                        report.stream.write(f"{checked.artifact}: {name}: {verdict.verdict}: {verdict.reason}\n")
        if as_json:
            from exporter.report.schema import export_json

            click.echo(json.dumps(export_json(result.artifacts, result.reports, result.lowered), allow_nan=False))
        else:
            for artifact in result.artifacts:
                click.echo(str(artifact.path))
        if not result.passed:
            sys.exit(CHECK_FAILED)


@cbam.command()
@click.argument("model", required=False)
@json_option
def inspect(model: str | None, as_json: bool, verbose: bool, silent: bool) -> None:
    """Show parameters, multiply-adds, CBAM blocks and decoded Lambda layers of MODEL."""
    with session(verbose, silent, as_json) as report:
        import exporter.inspection

        with decoded(report):
            found = exporter.inspection.inspect(model, on_step=report.step)
        report.done()
        if as_json:
            from exporter.report.schema import inspection_json

            click.echo(json.dumps(inspection_json(found), allow_nan=False))
        else:
            from exporter.report.table import console, print_inspection

            print_inspection(console(sys.stdout), found)


@cbam.command()
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .keras file to write.")
@click.option(
    "--function",
    "functions",
    multiple=True,
    type=NamedText(),
    help="What a function computes that the file holds by name only, or a layer's: a lambda, or a file with its def "
    "and the imports, constants and functions it uses; read, not run.",
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@click.option("--drop-optimizer", is_flag=True, help="Leave loss and optimizer out even where Keras can keep them.")
@click.option(
    "--tensorflow",
    type=Choice(("1", "2")),
    help="Under which TensorFlow the model was written, where its file does not tell.",
)
@click.option(
    "--float32",
    is_flag=True,
    help="Compute in float32 what was trained under a mixed policy that the file does not hold.",
)
@json_option
def rescue(
    model: str,
    output: Path,
    functions: tuple[tuple[str, str], ...],
    as_json: bool,
    verbose: bool,
    silent: bool,
    **given: Any,
) -> None:
    """Replace the Lambda layers of MODEL, and write a file that plain Keras opens.

    MODEL is a .keras or .h5 file of any Keras from 2.0 on. None of the code in it is run: stored bytecode is read as
    data, and what is not wholly understood is refused. One refusal, and nothing is written.
    """
    with session(verbose, silent, as_json) as report:
        import exporter.rescuing
        from exporter.report.schema import rescue_json
        from exporter.report.table import console, print_replaced

        if len({name for name, _ in functions}) != len(functions):
            raise OptionError("--function was given twice for the same name")
        with decoded(report):
            version = int(given["tensorflow"]) if given["tensorflow"] else None
            options = exporter.rescuing.RescueOptions(not given["drop_optimizer"], version, given["float32"])
            how = {"overwrite": given["overwrite"], "options": options, "on_step": report.step}
            made = exporter.rescuing.rescue(model, output, dict(functions), **how)
        report.done()
        if not silent:
            out = console(report.stream)
            out.print()
            print_replaced(out, made.replaced, (), made.notes)
            if not made.replaced:
                out.print("  no Lambda layers to replace", markup=False)
        if as_json:
            click.echo(json.dumps(rescue_json(made.output, made.replaced, (), made.notes)))
        else:
            click.echo(str(made.output))


@cbam.command()
@click.argument("names", nargs=-1)
@click.option(
    "--sizes", is_flag=True, help="Build each and count parameters and multiply-adds (takes minutes for all)."
)
@click.option(
    "--bottleneck-stride",
    default="3x3",
    show_default=True,
    type=Choice(("3x3", "1x1")),
    help="With --sizes: where bottleneck ResNets stride; 1x1 is the paper's table.",
)
@json_option
def models(
    names: tuple[str, ...], sizes: bool, bottleneck_stride: str, as_json: bool, verbose: bool, silent: bool
) -> None:
    """List shipped models and backbones.

    All, or those that are named: the trained models that are shipped, and the backbones that can be built.
    """
    with session(verbose, silent, as_json) as report:
        import exporter.inspection
        from exporter.report.schema import models_json

        known = exporter.inspection.known_models()
        for name in names:
            if name not in known:
                raise OptionError(f"unknown model {name!r}{closest(name, known)}")
        rows = exporter.inspection.model_table(names, bottleneck_stride, on_step=report.step) if sizes else []
        report.done()
        chosen = {name: known[name] for name in names or known}
        if as_json:
            click.echo(json.dumps(models_json(chosen, rows), allow_nan=False))
            return
        from exporter.report.table import console, print_models

        print_models(console(sys.stdout), chosen, rows)


for command in (quantize, reference, verify, bundle, runtimes, bench):
    cbam.add_command(command)


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise OptionError(f"--labels {path}: cannot be read as text ({reason})") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise OptionError(f"--labels {path}: holds no class names; one a line is expected")
    return labels


def _run(command: click.Command, name: str) -> NoReturn:
    """Run a command; a usage error is one line, and one JSON object with --json."""
    try:
        sys.exit(command.main(prog_name=name, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else name
        fault = OptionError(f"{error.format_message().rstrip('.')}; {path} --help shows what is valid")
        fail(fault, sys.stderr, "--json" in sys.argv)
    except click.Abort:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


def export_main() -> None:
    """`cbam-export`: the same as `cbam export`."""
    _run(export, "cbam-export")


def main() -> None:
    """`cbam`."""
    _run(cbam, "cbam")
