"""ONNX Runtime on CPU."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from converters.artifact import Artifact
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    return onnxruntime


class OnnxRuntime:
    """The CPU execution provider with its default graph optimisations."""

    def version(self) -> str:
        return f"onnxruntime {_import().__version__}"

    def open(self, artifact: Artifact) -> OnnxSession:
        ort = _import()
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: warnings about unused initialisers are not for the user
        try:
            session = ort.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ORT has a class of its own for each failure
            raise ConversionError(f"{artifact.path.name}: ONNX Runtime refuses it: {_one_line(error)}") from error
        return OnnxSession(session, self.version())


class OnnxSession(ClosingSession):
    def __init__(self, session: Any, description: str) -> None:
        self.description = description
        self._session = session

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


@functools.cache
def newest_opset() -> int:
    """The newest released ONNX operator set that the installed onnxruntime opens, found by trying."""
    import onnx
    from onnx import TensorProto, helper

    ort = _import()
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", value[:1], value[1:])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for opset in range(onnx.defs.onnx_opset_version(), 12, -1):
        ids = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=ids, ir_version=helper.find_min_ir_version_for(ids, True))
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: S112  # too new for this runtime: that is the question asked
            continue
        return opset
    raise RuntimeUnavailableError(f"onnxruntime {ort.__version__} opens no ONNX operator set from 13 on")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
