"""Measure every runtime that is installed here on `cbam-mnist`: `python scripts/benchmark_runtimes.py`.

Prints the table of docs/runtimes.md: for float32 and int8 how far each runtime is from its format's usual one, how long
it takes to open a model (a process's start included) and to run one image, and TFLite Micro's arena.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters.artifact import Artifact, Precision
from exporter import ExportOptions, export
from exporter.runtimes.status import survey
from exporter.runtimes.table import runtime

IMAGES, EMULATED_IMAGES, CALIBRATION = 100, 20, 100
USUAL = {"saved_model": "litert", "tflite": "litert", "onnx": "onnxruntime"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        formats = ("saved_model", "tflite", "onnx")
        result = export("cbam-mnist", ExportOptions(formats=formats, output=folder))
        assert result.reference is not None
        images = result.reference.inputs["image"]
        artifacts = {(artifact.format, "fp32"): artifact for artifact in result.artifacts}
        artifacts["tflite", "int8"] = int8(artifacts["saved_model", "fp32"], images[:CALIBRATION])
        usual = {
            key: run(USUAL[key[0]], artifacts["tflite" if key[0] == "saved_model" else key[0], key[1]], images[:IMAGES])
            for key in artifacts
        }
        print("| runtime | artifact | largest difference | opened in, s | one image, ms | arena, bytes |")
        print("|---|---|---|---|---|---|")
        for found in survey():
            for (name, kind), artifact in artifacts.items():
                if found.available and found.row.can_run(name, artifact.precision):
                    count = EMULATED_IMAGES if found.row.emulated else IMAGES
                    measured = run(found.row.name, artifact, images[:count])
                    off = np.max(np.abs(measured.outputs.astype(np.float64) - usual[name, kind].outputs[:count]))
                    unit = f"{off:.0f} of 256" if kind == "int8" else f"{off:.1e}"
                    arena = f"{measured.arena:,}" if measured.arena else ""
                    print(
                        f"| `{found.row.name}` | {name} {kind} | {unit} | {measured.opened:.2f} | "
                        f"{1000 * measured.seconds:.2f} | {arena} |",
                        flush=True,
                    )


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """`opened` and `seconds` (median of one inference) in seconds, `arena` in bytes or 0."""

    outputs: np.ndarray
    opened: float
    seconds: float
    arena: int


def run(name: str, artifact: Artifact, images: np.ndarray) -> Measured:
    if artifact.precision is Precision.INT8:
        images = np.round(images * 255 - 128).astype(np.int8)
    start = time.perf_counter()
    with runtime(name).open(artifact) as session:
        opened, outputs, seconds = time.perf_counter() - start, [], []
        for image in images:
            start = time.perf_counter()
            outputs.append(session.run({"image": image[None]})["predictions"])
            seconds.append(time.perf_counter() - start)
        return Measured(
            np.concatenate(outputs), opened, statistics.median(seconds), session.facts.get("arena_bytes", 0)
        )


def int8(source: Artifact, images: np.ndarray) -> Artifact:
    """Full int8, inputs and outputs too, by TensorFlow's own converter."""
    import tensorflow as tf

    def samples() -> Iterator[dict[str, np.ndarray]]:
        for image in images:
            yield {"image": image[None]}

    converter = tf.lite.TFLiteConverter.from_saved_model(str(source.path), signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = Path(source.path.parent, "int8.tflite")
    path.write_bytes(converter.convert())
    return dataclasses.replace(source, path=path, format="tflite", precision=Precision.INT8)


if __name__ == "__main__":
    main()
