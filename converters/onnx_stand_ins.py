"""Operations of TensorFlow that tf2onnx has no form for, or a wrong one, written as others that it has.

To add one, add a row to `_STAND_INS`: the operation, and the function that rewrites such a node in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf

__all__ = ["SELECTION", "stand_in"]


def stand_in(graph_def: Any) -> None:
    """Rewrite such operations of a frozen GraphDef, in place, each under its own name.

    What is not rewritten stays, and is refused by name after the conversion.
    """
    nodes = {node.name: node for node in graph_def.node}
    for node in list(graph_def.node):
        if node.op in _STAND_INS:
            _STAND_INS[node.op](_Writer(graph_def, node), node, nodes)


class _Writer:
    """Puts nodes in front of one node, named after it and of its type."""

    def __init__(self, graph_def: Any, node: Any) -> None:
        self.graph_def = graph_def
        self._name = node.name
        self._type = node.attr["T"].type

    def node(self, op: str, *inputs: str) -> str:
        made = self.graph_def.node.add()
        made.op, made.name = op, f"{self._name}/{op}{len(self.graph_def.node)}"
        made.input.extend(inputs)
        made.attr["T"].type = self._type
        return str(made.name)

    def constant(self, value: float) -> str:
        made = self.graph_def.node.add()
        made.op, made.name = "Const", f"{self._name}/Const{len(self.graph_def.node)}"
        made.attr["dtype"].type = self._type
        kind = tf.dtypes.as_dtype(self._type)
        made.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(value, kind.as_numpy_dtype)))
        return str(made.name)


def _erfc(write: _Writer, node: Any, nodes: Mapping[str, Any]) -> None:
    """erfc(x) = 1 - erf(x). Where it is near 0 its relative accuracy is lost, not that of the exact GELU it comes from,
    whose error stays one rounding of 1."""
    erf = write.node("Erf", node.input[0])
    node.op = "Sub"
    node.input[:] = [write.constant(1), erf]


def _expm1(write: _Writer, node: Any, nodes: Mapping[str, Any]) -> None:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1), which keeps its accuracy near 0, and its limits."""
    half = write.node("Mul", node.input[0], write.constant(0.5))
    more = write.node("AddV2", write.node("Exp", node.input[0]), write.constant(1))
    node.op = "Mul"
    node.input[:] = [write.node("Tanh", half), more]


def _log1p(write: _Writer, node: Any, nodes: Mapping[str, Any]) -> None:
    """log(1 + x) = 2 atanh(x / (x + 2)), which keeps its accuracy near 0; from 0.5 on the logarithm itself does."""
    x = node.input[0]
    ratio = write.node("RealDiv", x, write.node("AddV2", x, write.constant(2)))
    near = write.node("Mul", write.node("Atanh", ratio), write.constant(2))
    far = write.node("Log", write.node("AddV2", x, write.constant(1)))
    small = write.node("Less", write.node("Abs", x), write.constant(0.5))
    node.op = "SelectV2"
    node.input[:] = [small, near, far]


def _sign_bit(write: _Writer, node: Any, nodes: Mapping[str, Any]) -> None:
    """Less(BitwiseAnd(Bitcast(x), int32.min), 0) is the sign of x, -0.0 included: x < 0 or 1 / x < 0.

    So Keras writes `signbit`, and with it `argmax` and `argmin`, for which -0.0 is less than 0.0.
    """
    masked = _maker(node.input[0], nodes, "BitwiseAnd")
    cast = None if masked is None else _maker(masked.input[0], nodes, "Bitcast")
    mask = None if masked is None else _maker(masked.input[1], nodes, "Const")
    zero = _maker(node.input[1], nodes, "Const")
    if cast is None or cast.attr["T"].type != tf.float32.as_datatype_enum or mask is None or zero is None:
        return
    if tf.make_ndarray(mask.attr["value"].tensor) != tf.int32.min or tf.make_ndarray(zero.attr["value"].tensor) != 0:
        return
    write = _Writer(write.graph_def, cast)
    x, none = cast.input[0], write.constant(0)
    below = write.node("Less", x, none)
    inverse = write.node("RealDiv", write.constant(1), x)
    node.op = "LogicalOr"
    node.input[:] = [below, write.node("Less", inverse, none)]
    del node.attr["T"]


def _maker(name: str, nodes: Mapping[str, Any], op: str) -> Any | None:
    found = nodes.get(name.split(":")[0])
    return found if found is not None and found.op == op else None


def _select(context: Any, node: Any, name: str, args: Any) -> None:
    """A choice between two tensors as ONNX's Where.

    tf2onnx writes condition * x + (1 - condition) * y, for speed, unless it sees a NaN or infinity coming. It does not
    see it in `where(x > 0, log(x), 0)`, which then is NaN for each x below 0.
    """
    from onnx import TensorProto
    from tf2onnx.onnx_opset.controlflow import Select

    if context.get_dtype(node.output[0]) in (TensorProto.FLOAT, TensorProto.DOUBLE):
        node.set_attr("handles_nan", True)
    Select.version_9(context, node)


SELECTION: Final[Mapping[str, Any]] = {"Select": (_select, []), "SelectV2": (_select, [])}
"""What tf2onnx has to be given besides (`custom_op_handlers`)."""

_STAND_INS: Final[Mapping[str, Callable[[_Writer, Any, Mapping[str, Any]], None]]] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Less": _sign_bit,
}
