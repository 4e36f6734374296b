"""LiteRT with XNNPACK for `measure.py`: `invoke()` alone, on inputs that are set once.

Options: `threads`; `inputs`, a file of arrays by the numbers of the file's inputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert


def load(path: str, options: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    interpreter = litert.Interpreter(model_path=path, num_threads=options["threads"])
    with np.load(options["inputs"], allow_pickle=False) as stored:
        values = [stored[name] for name in sorted(stored.files, key=int)]
    details = interpreter.get_input_details()
    for detail, value in zip(details, values, strict=True):
        if tuple(detail["shape"]) != value.shape:  # an open size, which is 1 until it is set
            interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail, value in zip(details, values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    return interpreter.invoke, {}
