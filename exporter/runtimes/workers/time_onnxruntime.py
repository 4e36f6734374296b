"""ONNX Runtime on CPU for `measure.py`: inputs and outputs are bound once, so that `invoke()` copies nothing.

Options: `threads`; `inputs`, a file of arrays by the numbers of the file's inputs; and, to look into it instead of
timing it, `optimised` (a path to write the optimised graph to), `profile` (the start of a path) and `inferences`: facts
then has `profile`, the path of the profiler's events.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime


def load(path: str, options: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads, settings.inter_op_num_threads = options["threads"], 1
    if "profile" in options:
        settings.optimized_model_filepath = options["optimised"]
        settings.enable_profiling, settings.profile_file_prefix = True, options["profile"]
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    with np.load(options["inputs"], allow_pickle=False) as stored:
        for index, value in enumerate(session.get_inputs()):
            binding.bind_cpu_input(value.name, np.ascontiguousarray(stored[str(index)]))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")

    def invoke() -> None:
        session.run_with_iobinding(binding)

    if "profile" not in options:
        return invoke, {}
    for _ in range(options["inferences"]):
        invoke()
    return invoke, {"profile": session.end_profiling()}
