"""LiteRT, with the kernels that the option `kernels` names."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    kernels = litert.OpResolverType[options["kernels"]]
    interpreter = litert.Interpreter(model_path=path, experimental_op_resolver_type=kernels, num_threads=1)
    interpreter.allocate_tensors()
    (signature,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(signature)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: np.array(value) for name, value in runner(**inputs).items()}

    return run, {}
