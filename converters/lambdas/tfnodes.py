"""TensorFlow's own operations by their NodeDef, as TensorFlowOpLayer stored them in TensorFlow 1.15 to 2.3.

Each node is brought to a call of the library function of the same meaning, which `rules` knows.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from converters.lambdas import operators
from converters.lambdas.builder import Builder, source_of
from converters.lambdas.limits import show
from converters.lambdas.rules.table import find_rule
from converters.lambdas.values import RefusedError, Value

__all__ = ["apply_node"]

_BINARY: Final[Mapping[str, str]] = {
    "Add": "+", "AddV2": "+", "BiasAdd": "+", "Sub": "-", "Mul": "*", "RealDiv": "/", "FloorDiv": "//",
    "FloorMod": "%", "Pow": "**", "LogicalAnd": "&", "LogicalOr": "|",
}  # fmt: skip
_COMPARE: Final[Mapping[str, str]] = {
    "Less": "tf.less", "LessEqual": "tf.less_equal", "Greater": "tf.greater", "GreaterEqual": "tf.greater_equal",
    "Equal": "tf.equal", "NotEqual": "tf.not_equal",
}  # fmt: skip
# Functions of the tensors in the order of the node's inputs, and of nothing else.
_PLAIN: Final[Mapping[str, str]] = {
    **_COMPARE,
    **{name: f"tf.nn.{name.lower()}" for name in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign")},
    **{name: f"tf.math.{name.lower()}" for name in (
        "Exp", "Log", "Sqrt", "Rsqrt", "Square", "Abs", "Sign", "Round", "Floor", "Ceil", "Erf", "Log1p", "Expm1",
        "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Maximum", "Minimum", "Reciprocal")},
    "Neg": "tf.negative", "Tanh": "tf.tanh", "Sigmoid": "tf.sigmoid", "Softmax": "tf.nn.softmax",
    "LogSoftmax": "tf.nn.log_softmax", "Identity": "tf.identity", "StopGradient": "tf.stop_gradient",
    "LogicalNot": "tf.logical_not", "ZerosLike": "tf.zeros_like", "OnesLike": "tf.ones_like",
    "SquaredDifference": "tf.math.squared_difference", "DivNoNan": "tf.math.divide_no_nan", "Select": "tf.where",
    "SelectV2": "tf.where", "ClipByValue": "tf.clip_by_value", "Reshape": "tf.reshape", "Transpose": "tf.transpose",
    "ExpandDims": "tf.expand_dims", "Tile": "tf.tile", "Pad": "tf.pad", "Slice": "tf.slice", "ReverseV2": "tf.reverse",
    "Shape": "tf.shape", "Size": "tf.size", "Rank": "tf.rank", "Fill": "tf.fill", "Range": "tf.range",
    "BroadcastTo": "tf.broadcast_to", "IsNan": "tf.math.is_nan",
}  # fmt: skip
_REDUCTIONS: Final[Mapping[str, str]] = {
    name: f"tf.reduce_{name.lower()}" for name in ("Mean", "Sum", "Max", "Min", "Prod", "All", "Any")
}
_DTYPES: Final[Mapping[str, str]] = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16", "DT_BOOL": "bool",
    "DT_INT8": "int8", "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64", "DT_UINT8": "uint8",
    "DT_UINT16": "uint16",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Node:
    """op: TensorFlow's name. inputs: tensors and constants in the operation's order. attributes: plain values."""

    op: str
    inputs: tuple[Value, ...]
    attributes: Mapping[str, Value]

    def text(self) -> str:
        said = [f"{k}={v!r}" for k, v in self.attributes.items() if k[:1].islower() and v not in (0, "", False, [])]
        return f"tf.raw_ops.{self.op}({', '.join([*map(source_of, self.inputs), *said])})"


def apply_node(builder: Builder, config: Mapping[str, Any], args: Sequence[Value]) -> tuple[Value, str]:
    """What the operation of a TensorFlowOpLayer gives, and the operation as text.

    Raises:
        RefusedError: the operation is not known, or is stored in no form that is understood.
    """
    node = _read(config, args)
    return _apply(builder, node), node.text()


def _read(config: Mapping[str, Any], args: Sequence[Value]) -> _Node:
    stored = config.get("node_def")
    try:
        definition = json.loads(stored) if isinstance(stored, str) else stored
    except (ValueError, RecursionError) as error:
        raise RefusedError("it is a TensorFlow graph node that is not stored as JSON") from error
    if not isinstance(definition, dict) or not isinstance(definition.get("op"), str):
        raise RefusedError("it is a TensorFlow graph node that names no operation")
    tensors = list(args[0]) if len(args) == 1 and isinstance(args[0], list) else list(args)
    constants = config.get("constants") or {}
    if not isinstance(constants, dict) or not all(str(key).isdecimal() for key in constants):
        raise RefusedError("it is a TensorFlow graph node whose constants are no mapping of positions")
    for position in sorted(constants, key=int):
        tensors.insert(int(position), constants[position])
    if len(tensors) != len(constants) + (len(args[0]) if len(args) == 1 and isinstance(args[0], list) else len(args)):
        raise RefusedError("it is a TensorFlow graph node whose constants do not fit its inputs")
    attributes = definition.get("attr") or {}
    if not isinstance(attributes, dict):
        raise RefusedError("it is a TensorFlow graph node whose attributes are no mapping")
    return _Node(definition["op"], tuple(tensors), {str(name): _attribute(value) for name, value in attributes.items()})


def _attribute(value: Any) -> Value:
    """An AttrValue of protobuf's JSON form: 64-bit integers are text there, and bytes base64."""
    if not isinstance(value, dict) or len(value) > 1:
        raise RefusedError(f"it is a TensorFlow graph node with the attribute {show(value)}, which is not understood")
    for kind, inner in value.items():
        if kind in ("i", "f"):
            try:
                return int(inner) if kind == "i" else float(inner)
            except (ValueError, TypeError, OverflowError) as error:
                raise RefusedError(f"it is a TensorFlow graph node with the number {show(inner)}") from error
        if kind == "b":
            return bool(inner)
        if kind == "type":
            return _DTYPES.get(str(inner), str(inner))
        if kind == "s":
            try:
                return base64.b64decode(str(inner), validate=True).decode("ascii", "replace")
            except binascii.Error as error:
                raise RefusedError("it is a TensorFlow graph node with a damaged text in it") from error
        if kind == "list" and isinstance(inner, dict):
            return [_attribute({name: each}) for name, values in inner.items() for each in values]
    return None


def _apply(builder: Builder, node: _Node) -> Value:
    op, inputs = node.op, list(node.inputs)
    if op in _BINARY and len(inputs) == 2:
        return operators.binary(builder, _BINARY[op], *inputs)
    if op in _PLAIN:
        return find_rule(_PLAIN[op]).apply(builder, inputs, {})
    if op in _REDUCTIONS and len(inputs) == 2:
        return find_rule(_REDUCTIONS[op]).apply(builder, inputs, {"keepdims": bool(node.attributes.get("keep_dims"))})
    if op not in _OTHER:
        raise RefusedError(f"it is the TensorFlow operation {show(op)}, which is not known")
    try:
        path, args, kwargs = _OTHER[op](inputs, dict(node.attributes))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(f"it is the TensorFlow operation {show(op)} in a form that is not understood") from error
    if path == "[]":
        return operators.subscript(builder, args[0], args[1])
    return find_rule(path).apply(builder, args, kwargs)


_Call = tuple[str, list[Value], dict[str, Value]]
_Form = Callable[[list[Value], dict[str, Value]], _Call]


def _strided_slice(inputs: list[Value], attributes: dict[str, Value]) -> _Call:
    tensor, begin, end, strides = inputs

    def marked(mask: str, axis: int) -> bool:
        return bool(int(attributes.get(mask) or 0) >> axis & 1)

    key: list[Value] = []
    for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if marked("ellipsis_mask", axis):
            key.append(Ellipsis)
        elif marked("new_axis_mask", axis):
            key.append(None)
        elif marked("shrink_axis_mask", axis):
            key.append(first)
        else:
            start = None if marked("begin_mask", axis) else first
            key.append(slice(start, None if marked("end_mask", axis) else last, step))
    return "[]", [tensor, tuple(key)], {}


def _resize(path: str) -> _Form:
    def form(inputs: list[Value], attributes: dict[str, Value]) -> _Call:
        flags = {name: bool(attributes.get(name)) for name in ("align_corners", "half_pixel_centers")}
        return path, inputs, flags

    return form


def _batch_matmul(inputs: list[Value], attributes: dict[str, Value]) -> _Call:
    turned = {"transpose_a": bool(attributes.get("adj_x")), "transpose_b": bool(attributes.get("adj_y"))}
    return "tf.matmul", inputs, turned


def _blocks(path: str) -> _Form:
    def form(inputs: list[Value], attributes: dict[str, Value]) -> _Call:
        return path, [inputs[0], attributes["block_size"]], {"data_format": attributes.get("data_format") or "NHWC"}

    return form


_OTHER: Final[Mapping[str, _Form]] = {
    "LeakyRelu": lambda i, a: ("tf.nn.leaky_relu", i, {"alpha": a.get("alpha", 0.2)}),
    "ArgMax": lambda i, a: ("tf.argmax", i, {"output_type": a.get("output_type", "int64")}),
    "ArgMin": lambda i, a: ("tf.argmin", i, {"output_type": a.get("output_type", "int64")}),
    "ConcatV2": lambda i, a: ("tf.concat", [i[:-1], i[-1]], {}),
    "Pack": lambda i, a: ("tf.stack", [i], {"axis": a.get("axis") or 0}),
    "Unpack": lambda i, a: ("tf.unstack", i, {"num": a["num"], "axis": a.get("axis") or 0}),
    "Split": lambda i, a: ("tf.split", [i[1], a["num_split"], i[0]], {}),
    "SplitV": lambda i, a: ("tf.split", [i[0], i[1], i[2]], {}),
    "Squeeze": lambda i, a: ("tf.squeeze", i, {"axis": a.get("squeeze_dims") or None}),
    "PadV2": lambda i, a: ("tf.pad", [i[0], i[1]], {"constant_values": i[2]}),
    "MirrorPad": lambda i, a: ("tf.pad", [i[0], i[1]], {"mode": a["mode"]}),
    "GatherV2": lambda i, a: ("tf.gather", [i[0], i[1]], {"axis": i[2]}),
    "MatMul": lambda i, a: ("tf.matmul", i, {k: bool(a.get(k)) for k in ("transpose_a", "transpose_b")}),
    "BatchMatMul": _batch_matmul,
    "BatchMatMulV2": _batch_matmul,
    "AddN": lambda i, a: ("tf.add_n", [i], {}),
    "Einsum": lambda i, a: ("tf.einsum", [a["equation"], *i], {}),
    "Cast": lambda i, a: ("tf.cast", [i[0], a["DstT"]], {}),
    "Cumsum": lambda i, a: ("tf.cumsum", i, {"exclusive": bool(a.get("exclusive")), "reverse": bool(a.get("reverse"))}),
    "DepthToSpace": _blocks("tf.nn.depth_to_space"),
    "SpaceToDepth": _blocks("tf.nn.space_to_depth"),
    "StridedSlice": _strided_slice,
    "ResizeBilinear": _resize("tf1.image.resize_bilinear"),
    "ResizeNearestNeighbor": _resize("tf1.image.resize_nearest_neighbor"),
    "ResizeBicubic": _resize("tf1.image.resize_bicubic"),
}  # fmt: skip
