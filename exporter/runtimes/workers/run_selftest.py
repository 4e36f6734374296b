"""The models of the ARM64 self-test, all in one process: MODEL is their folder; inputs are `int8` and `fp32`."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
from ai_edge_litert import interpreter as litert


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    runners = {}
    for name in ("int8", "fp32"):
        interpreter = litert.Interpreter(model_path=os.path.join(path, f"{name}.tflite"), num_threads=1)
        interpreter.allocate_tensors()
        runners[name] = interpreter.get_signature_runner("serving_default")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    onnx = os.path.join(path, "fp32.onnx")
    session = onnxruntime.InferenceSession(onnx, settings, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        outputs = {f"litert {name}": runner(image=inputs[name])["scores"] for name, runner in runners.items()}
        return {**outputs, "onnxruntime fp32": session.run(None, {"image": inputs["fp32"]})[0]}

    return run, {}
