"""ONNX Runtime on CPU."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # One thread: an emulated core gains nothing from a second, and the pools' busy waiting costs.
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run, {}
