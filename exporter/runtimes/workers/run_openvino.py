"""OpenVINO on CPU, in float32.

`inputs` and `outputs` of the options are our names in the file's order: OpenVINO calls those of a TFLite file by the
tensors' names, which no user knows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openvino


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    core = openvino.Core()
    # Without the hint it computes in bfloat16 on processors that have it.
    model = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = model.create_infer_request()

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        request.infer({index: inputs[name] for index, name in enumerate(options["inputs"])}, share_inputs=False)
        return {name: np.array(request.get_output_tensor(i).data) for i, name in enumerate(options["outputs"])}

    return run, {}
