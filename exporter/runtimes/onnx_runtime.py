"""ONNX Runtime on CPU."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, TensorSpec
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession, Node
from exporter.runtimes.onnx_precision import precision_of


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    return onnxruntime


class OnnxRuntime:
    """The CPU execution provider with its default graph optimisations, or with none."""

    def __init__(self, optimise: bool = True) -> None:
        self._optimise = optimise

    def version(self) -> str:
        return f"onnxruntime {_import().__version__}"

    def open(self, artifact: Artifact) -> OnnxSession:
        ort = _import()
        try:
            session = _session(str(artifact.path), self._optimise)
        except Exception as error:  # ORT has a class of its own for each failure
            raise ConversionError(f"{artifact.path.name}: ONNX Runtime refuses it: {_one_line(error)}") from error
        return OnnxSession(session, artifact, f"onnxruntime {ort.__version__}")


class OnnxSession(ClosingSession):
    """A session that is `Traceable` too."""

    def __init__(self, session: Any, artifact: Artifact, description: str) -> None:
        self.description = description
        self._session, self._artifact = session, artifact
        self._traced: Any = None
        self._nodes: tuple[Node, ...] = ()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except Exception as error:  # ORT has a class of its own for each failure
            raise ConversionError(
                f"{self._artifact.path.name}: ONNX Runtime fails on it: {_one_line(error)}"
            ) from error

    def tensors(self) -> tuple[TensorSpec, ...]:
        return tuple(map(_spec, self._trace().get_outputs()))

    def nodes(self) -> tuple[Node, ...]:
        self._trace()
        return self._nodes

    def run_traced(self, inputs: Arrays) -> dict[str, np.ndarray]:
        session = self._trace()
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    def _trace(self) -> Any:
        if self._traced is None:
            import onnx

            # A copy in memory that declares what each node computes as an output; ORT finds its type itself.
            model = onnx.load(self._artifact.path)
            computed = [name for node in model.graph.node for name in node.output if name]
            known = {*computed, *(value.name for value in model.graph.input)}
            constants = {each.name: each for each in model.graph.initializer}
            self._nodes = tuple(
                Node(
                    node.op_type,
                    tuple(i for i in node.input if i in known),
                    tuple(o for o in node.output if o),
                    _codes(node, constants),
                )
                for node in model.graph.node
            )
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
            # Unoptimised: a fused or folded node would compute its tensor in another way, or keep it from being one.
            self._traced = _session(model.SerializeToString(), optimise=False)
        return self._traced


def _codes(node: Any, constants: Mapping[str, Any]) -> tuple[float, float, float] | tuple[()]:
    """Step and range of what a DequantizeLinear gives, where it has one constant scale."""
    from onnx import numpy_helper

    if node.op_type != "DequantizeLinear" or len(node.input) < 3 or not {*node.input[1:3]} <= {*constants}:
        return ()
    scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
    if scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return ()
    limits = np.iinfo(zero.dtype)
    low, high = (float((end - int(zero.item())) * scale.item()) for end in (limits.min, limits.max))
    return float(scale.item()), low, high


def _spec(tensor: Any) -> TensorSpec:
    """Of ONNX Runtime's own description of a tensor."""
    sizes = tuple(size if isinstance(size, int) else None for size in tensor.shape or ())
    return TensorSpec(
        tensor.name, sizes, _TYPES.get(tensor.type.removeprefix("tensor(").removesuffix(")"), tensor.type)
    )


# ONNX Runtime's names of element types, where they are not NumPy's.
_TYPES: Final[Mapping[str, str]] = {"float": "float32", "double": "float64"} | {
    name: name for name in ("float16", "bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
}


def _session(model: str | bytes, optimise: bool = True) -> Any:
    ort = _import()
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings about unused initialisers are not for the user
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


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


def describe(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Precision]:
    """Inputs, outputs and precision of an ONNX file, in its order, as the file itself tells them.

    Raises:
        ConversionError: ONNX Runtime refuses it.
        RuntimeUnavailableError: ONNX Runtime is not installed.
    """
    _import()
    try:
        session = _session(str(path))
    except Exception as error:  # ORT has a class of its own for each failure
        raise ConversionError(f"{path.name}: ONNX Runtime refuses it: {_one_line(error)}") from error
    inputs, outputs = (tuple(map(_spec, each)) for each in (session.get_inputs(), session.get_outputs()))
    return inputs, outputs, precision_of(path.read_bytes())
