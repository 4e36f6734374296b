"""Whether a written file is what it is called: the dtypes of its inputs, its outputs and of every operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Final

from converters.artifact import Artifact, Precision
from converters.errors import ConversionError
from converters.quantise import flatbuffer
from converters.quantise.floors import SMALLEST_SCALE

_STORED: Final = {Precision.INT8: "int8", Precision.INT16X8: "int16"}
_FLOAT: Final = frozenset({"float16", "float32", "float64"})
_TOLD: Final = 4  # names in a message
_WEIGHED: Final = frozenset({"Conv", "Gemm", "MatMul", "ConvTranspose"})


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """What was found in a quantised file.

    Attributes:
        operations: how many there are.
        in_float: those that compute in float, by the tensor they give; conversions at inputs and outputs are none.
        smallest_scale: of any quantised tensor; None where there is none.
        in_int16: int8: those that compute in 16 bits, likewise; in ONNX those that read them.
    """

    operations: int
    in_float: tuple[str, ...]
    smallest_scale: float | None
    in_int16: tuple[str, ...] = ()


def check(artifact: Artifact, plain: Artifact, io: str, keep: Sequence[str] = (), kept_as: str = "float") -> Contents:
    """Look through a quantised file.

    Args:
        plain: the float file that it was made from; what is no float there keeps its type.
        io: the dtype that inputs and outputs are to have.
        keep: operations, by the tensor (TFLite) or node (ONNX), that were to be kept out of int8.
        kept_as: what these were to compute in: float or int16.

    Raises:
        ConversionError: a dtype that is not the one asked for, at an input, an output or an operation, or a scale below
            SMALLEST_SCALE.
    """
    before = (*plain.inputs, *plain.outputs)
    for spec, was in zip((*artifact.inputs, *artifact.outputs), before, strict=True):
        if spec.dtype != (io if was.dtype in _FLOAT else was.dtype):
            raise ConversionError(f"{artifact.path.name}: {spec.name} came out as {spec.dtype}; asked for: {io}")
    found = _tflite(artifact, mixed=bool(keep)) if artifact.format == "tflite" else _onnx(artifact)
    asked = {kind: keep if kind == kept_as else () for kind in ("float", "int16")}
    unasked = [name for name in found.in_float if name not in asked["float"]]
    unasked += [name for name in found.in_int16 if name not in asked["int16"]]
    if artifact.precision in _STORED and unasked:
        told = ", ".join(unasked[:_TOLD]) + (f" and {len(unasked) - _TOLD} more" if len(unasked) > _TOLD else "")
        raise ConversionError(
            f"{artifact.path.name}: {told} ({len(unasked)} of {found.operations} operations) cannot be computed in "
            f"{artifact.precision}, and a device that has nothing else would not run the file; take another precision"
        )
    if found.smallest_scale is not None and found.smallest_scale < SMALLEST_SCALE:
        raise ConversionError(
            f"{artifact.path.name}: a tensor has the scale {found.smallest_scale:.1e}, below {SMALLEST_SCALE:g}: "
            f"its range collapsed, and runtimes refuse such files"
        )
    return found


def _tflite(artifact: Artifact, mixed: bool) -> Contents:
    graph = flatbuffer.describe(artifact.path.read_bytes())
    scales = [scale for tensor in graph.computed() for scale in tensor.scales]
    smallest = min(scales, default=None)
    if artifact.precision in _STORED:
        in_float = tuple(_float_operations(graph, _STORED[artifact.precision], mixed))
        in_int16 = tuple(_wide_operations(graph)) if artifact.precision is Precision.INT8 else ()
        return Contents(len(graph.operations), in_float, smallest, in_int16)
    stored = {"fp16": "float16", "dynamic": "int8"}[artifact.precision]
    if not any(tensor.constant and tensor.dtype == stored for op in graph.operations for tensor in op.inputs):
        raise ConversionError(
            f"{artifact.path.name}: not one weight was stored as {stored}; all are too small to gain by it"
        )
    return Contents(len(graph.operations), (), smallest)


def _float_operations(graph: flatbuffer.Graph, stored: str, mixed: bool) -> Iterator[str]:
    """Operations that do not compute in `stored`. Conversions of inputs and outputs are none, nor, in a file that is
    meant to be mixed, conversions around what was kept in float."""
    ends = {tensor.name for tensor in (*graph.inputs, *graph.outputs)}
    for operation in graph.operations:
        types = {tensor.dtype for tensor in (*operation.inputs, *operation.outputs) if not tensor.constant}
        converts = operation.name in ("QUANTIZE", "DEQUANTIZE", "CAST")
        at_end = any(tensor.name in ends for tensor in (*operation.inputs, *operation.outputs))
        if operation.name == "CAST" and at_end:  # an integer input of the model itself becomes numbers first
            ends |= {tensor.name for tensor in operation.outputs}
        conversion = converts and (at_end or mixed)
        if (types & _FLOAT and not conversion) or (stored == "int16" and "int8" in types and not converts):
            yield operation.outputs[0].name


def _wide_operations(graph: flatbuffer.Graph) -> Iterator[str]:
    """Operations of an int8 file that compute in int16, under the names that they have in it without that."""
    for operation in graph.operations:
        if operation.name != "QUANTIZE" and any(tensor.dtype == "int16" for tensor in operation.outputs):
            yield operation.outputs[0].name.removesuffix("/int16")


def _onnx(artifact: Artifact) -> Contents:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(artifact.path)
    nodes = model.graph.node
    if artifact.precision is Precision.FP16:
        weights = {tensor.data_type for tensor in model.graph.initializer}
        if onnx.TensorProto.FLOAT16 not in weights:
            raise ConversionError(f"{artifact.path.name}: not one weight was stored as float16")
        return Contents(len(nodes), (), None)
    makers = {name: node for node in nodes for name in node.output}
    if artifact.precision is Precision.DYNAMIC:
        if not any(node.op_type in ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear") for node in nodes):
            raise ConversionError(f"{artifact.path.name}: no operation computes in int8; the model has none that could")
        return Contents(len(nodes), (), None)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [
        float(numpy_helper.to_array(constants[node.input[1]]).min())
        for node in nodes
        if node.op_type == "QuantizeLinear" and node.input[1] in constants
    ]
    wide = tuple(
        node.name
        for node in nodes
        for maker in (makers.get(name) for name in node.input)
        if maker is not None and maker.op_type == "DequantizeLinear" and maker.name.endswith("__16")
    )
    in_float = tuple(_unquantised(nodes, makers))
    return Contents(len(nodes), in_float, min(scales, default=None), tuple(dict.fromkeys(wide)))


def _unquantised(nodes: Any, makers: Any) -> Iterator[str]:
    """Products whose data or weights do not come out of DequantizeLinear: a runtime computes them in float."""
    products = 0
    for node in nodes:
        if node.op_type in _WEIGHED:
            products += 1
            if any(name not in makers or makers[name].op_type != "DequantizeLinear" for name in node.input[:2]):
                yield node.name
    if not products:
        yield "the whole model, which has no convolution and no matrix product"
