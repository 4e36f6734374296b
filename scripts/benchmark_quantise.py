"""Measure what quantisation costs: the stock converters and ours, on the same models, the same calibration images.

    python scripts/train_resnet_stack.py --output resnet-stack.keras
    python scripts/benchmark_quantise.py cbam-mnist cbam-mobilenet-mnist resnet-stack.keras [--litert-quantizer PYTHON]

PYTHON is the interpreter of an environment that has litert-quantizer. Every file is run on the 1,000 test images of
the zoo and compared with the float model: SQNR in dB and the share of equal top-1 decisions. "refused": the runtime
does not open the file. Each stock converter runs in a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, Precision, TensorSpec, fingerprint_path
from converters.errors import CbamError
from exporter import ExportOptions, QuantisationOptions, export, quantize
from exporter.models.zoo import DEFAULT_MODEL, ZOO
from exporter.quantisation.measure import score
from exporter.runtimes.table import runtime
from exporter.source import load_source

STOCK = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
import tensorflow as tf
source, target, images, precision = sys.argv[1:]
converter = tf.lite.TFLiteConverter.from_saved_model(source, signature_keys=["serving_default"])
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ({"image": image[None]} for image in np.load(images))
sets, wide = tf.lite.OpsSet, precision == "int16x8"
only = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if wide else sets.TFLITE_BUILTINS_INT8
converter.target_spec.supported_ops = [only]
converter.inference_input_type = converter.inference_output_type = tf.int16 if wide else tf.int8
open(target, "wb").write(converter.convert())
"""

LITERT = """
import sys
import numpy as np
from litert_quantizer import calibrator, quantizer, recipe
from litert_quantizer.utils import qsv_utils
source, target, images, precision, update = sys.argv[1:]
made = quantizer.Quantizer(source, recipe.static_wi8_ai16() if precision == "int16x8" else recipe.static_wi8_ai8())
given = {"serving_default": [{"image": image[None]} for image in np.load(images)]}
if update == "min-max":
    seen = calibrator.Calibrator(source, qsv_update_func=qsv_utils.min_max_update)
    seen.calibrate(given, made._recipe_manager)
    ranges = seen.get_model_qsvs()
else:
    ranges = made.calibrate(given)
made.quantize(ranges).export_model(target, overwrite=True)
"""

ONNXRUNTIME = """
import sys
import numpy as np
from onnxruntime import quantization
source, target, images, per_channel = sys.argv[1:]
class Reader(quantization.CalibrationDataReader):
    left = iter(np.load(images))
    def get_next(self):
        image = next(self.left, None)
        return None if image is None else {"image": image[None]}
quantization.quantize_static(source, target, Reader(), per_channel=per_channel == "per-channel")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="zoo names, or .keras files that take the same 28x28x1 digits")
    parser.add_argument("--litert-quantizer", metavar="PYTHON", help="interpreter of an environment that has it")
    parser.add_argument("--precision", action="append", choices=["int8", "int16x8"], help="both by default")
    parser.add_argument(
        "--by", metavar="TEXT", default="", help="only converters with this in their name, such as onnx"
    )
    arguments = parser.parse_args()
    packages = ("tensorflow", "ai-edge-litert", "onnxruntime", "keras")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"{datetime.date.today()}, Python {platform.python_version()}, {versions}", flush=True)
    print("| model | precision | by | SQNR, dB | top-1 agrees | bytes |\n|---|---|---|---|---|---|")
    for model in arguments.models:
        for precision in arguments.precision or ("int8", "int16x8"):
            for name, result in rows(model, precision, arguments.litert_quantizer, arguments.by):
                print(f"| {Path(model).stem} | {precision} | {name} | {' | '.join(result)} |", flush=True)


def rows(model: str, precision: str, other: str | None, by: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Name and figures of every converter with `by` in its name."""
    zoo = ZOO[DEFAULT_MODEL]
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        images = folder / "images.npy"
        np.save(images, zoo.calibration_images())
        formats = ("saved_model", "tflite", "onnx")
        plain = export(model, ExportOptions(formats=formats, output=folder / "float", verify=False, lower=False))
        source = {artifact.format: artifact for artifact in plain.artifacts}
        tests = zoo.test_images()
        truth = _truth(model, tests)
        target = folder / "stock.tflite"
        if by in "TFLiteConverter":
            fault = _process(sys.executable, STOCK, source["saved_model"].path, target, images, precision)
            yield "TFLiteConverter", fault or _figures("tflite", target, source["tflite"], precision, tests, truth)
        for update in ("default", "min-max") if other and by in "litert-quantizer, min-max, default" else ():
            target = folder / f"{update}.tflite"
            fault = _process(str(other), LITERT, source["tflite"].path, target, images, precision, update)
            figures = fault or _figures("tflite", target, source["tflite"], precision, tests, truth)
            yield f"litert-quantizer, {update}", figures
        both = precision == "int8" and by in "onnxruntime, per-tensor, per-channel"
        for scales in ("per-tensor", "per-channel") if both else ():
            target = folder / f"{scales}.onnx"
            fault = _process(sys.executable, ONNXRUNTIME, source["onnx"].path, target, images, scales)
            figures = fault or _figures("onnx", target, source["onnx"], precision, tests, truth)
            yield f"onnxruntime, {scales}", figures
        for name in ("tflite", "onnx") if precision == "int8" else ("tflite",):
            if by not in f"cbam quantize -f {name}":
                continue
            yield f"cbam quantize -f {name}", _ours(model, name, precision, (folder, images, tests, truth))


def _ours(model: str, name: str, precision: str, given: tuple[Path, Path, Any, Any]) -> tuple[str, str, str]:
    folder, images, tests, truth = given
    ranged = None if model in ZOO else (0.0, 1.0)
    asked = QuantisationOptions(calibration=None if model in ZOO else images)
    options = ExportOptions((name,), Precision(precision), output=folder, input_range=ranged, quantisation=asked)
    try:
        (artifact,) = quantize(model, options).artifacts
    except CbamError as error:
        return "failed", str(error)[:80], "-"
    with runtime("litert" if name == "tflite" else "onnxruntime").open(artifact) as session:
        decibels, share = score(session, artifact, {"image": tests}, truth)
    return f"{decibels:.1f}", f"{share:.1%}", f"{artifact.size:,}"


def _truth(model: str, tests: Any) -> dict[str, Any]:
    from exporter.model_run import run_model
    from exporter.pipeline import trace

    source = load_source(model)
    return run_model(trace(source, ExportOptions()), {"image": tests})


def _process(python: str, code: str, *arguments: Any) -> tuple[str, str, str] | None:
    """Run a converter; the row that says how it failed, or None."""
    ran = subprocess.run([python, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    if ran.returncode == 0:
        return None
    last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
    return "failed", f"exit {ran.returncode}: {last[:80]}", "-"


def _figures(
    kind: str, path: Path, plain: Artifact, precision: str, tests: Any, truth: dict[str, Any]
) -> tuple[str, str, str]:
    inputs, outputs = _specs(kind, path, plain)
    sha256, size = fingerprint_path(path)
    artifact = Artifact(path, kind, Precision(precision), inputs, outputs, sha256, size, {})
    try:
        with runtime("litert" if kind == "tflite" else "onnxruntime").open(artifact) as session:
            decibels, share = score(session, artifact, {"image": tests}, truth)
    except CbamError:
        return "refused", "-", f"{size:,}"
    return f"{decibels:.1f}", f"{share:.1%}", f"{size:,}"


def _specs(kind: str, path: Path, plain: Artifact) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    if kind == "onnx":
        return plain.inputs, plain.outputs
    from converters.quantise.flatbuffer import signature_specs

    inputs, outputs = signature_specs(path.read_bytes(), plain.inputs, plain.outputs)
    return inputs, outputs


if __name__ == "__main__":
    main()
