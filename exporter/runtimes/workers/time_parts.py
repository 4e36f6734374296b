"""Many small TFLite models in one process for `measure.py`: the operations of a model, each cut out.

MODEL is a folder with `0.tflite`, `1.tflite` ... and `0.npz` ... (arrays by the numbers of the file's inputs). Options:
`threads`, `seconds` for each in all, `rounds` in which they take turns, `copies`: sizes in bytes of which a copy is
timed too. Facts: `wall_ns`, the median of each model, and `copy_ns`, of each copy.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert


def load(path: str, options: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    invokes: list[Callable[[], Any]] = []
    count = sum(name.endswith(".tflite") for name in os.listdir(path))
    for index in range(count):
        model = os.path.join(path, f"{index}.tflite")
        interpreter = litert.Interpreter(model_path=model, num_threads=options["threads"])
        interpreter.allocate_tensors()
        with np.load(os.path.join(path, f"{index}.npz"), allow_pickle=False) as stored:
            for place, detail in enumerate(interpreter.get_input_details()):
                interpreter.set_tensor(detail["index"], stored[str(place)])
        invokes.append(interpreter.invoke)
    for size in options["copies"]:
        invokes.append(copying(size))
    seen: list[list[int]] = [[] for _ in invokes]
    for _ in range(options["rounds"]):
        for times, invoke in zip(seen, invokes, strict=True):
            invoke()  # whatever came before has emptied the caches
            end = time.perf_counter_ns() + int(1e9 * options["seconds"] / options["rounds"])
            while True:
                start = time.perf_counter_ns()
                invoke()
                now = time.perf_counter_ns()
                times.append(now - start)
                if now >= end:
                    break
    wall = [statistics.median(times) for times in seen]
    return lambda: None, {"wall_ns": wall[:count], "copy_ns": wall[count:]}


def copying(size: int) -> Callable[[], Any]:
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return lambda: np.copyto(target, source)
