"""What a TFLite or ONNX file tells of its inputs, outputs and precision; it is not run."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))  # the very modules that the parent runs

from exporter.runtimes import litert, onnx_runtime


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, Any]]:
    describe = {"tflite": litert.describe, "onnx": onnx_runtime.describe}[options["format"]]
    inputs, outputs, precision = describe(Path(path))

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        raise NotImplementedError("this worker only describes")

    facts = {"inputs": [spec.to_json() for spec in inputs], "outputs": [spec.to_json() for spec in outputs]}
    return run, {**facts, "precision": str(precision)}
