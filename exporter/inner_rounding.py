"""The weights of a frozen graph as a file stores them that holds fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from exporter.parity.layers import Rounding

WEIGHTED: Final = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "Einsum"}
)
CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""A function that was not inlined: a grouped convolution, which Keras has compiled."""

_SHIFTS: Final = frozenset({"BiasAdd", "Add", "AddV2", "Sub"})
_FACTORS: Final = frozenset({"Mul"})
_OTHERS: Final = frozenset({"RealDiv", "Maximum", "Minimum"})
_HELD: Final = frozenset({"Identity", "ReadVariableOp"})
_PARTS: Final = frozenset({"StridedSlice", "Split", "SplitV", "Unpack"})
_TURNED: Final = _HELD | _PARTS | {"Neg", "Reshape", "ExpandDims", "Squeeze", "Transpose", "BatchToSpaceND"}
"""Operations that rounding in front of them and behind them is the same for."""


def factors(graph: Any, depends: Callable[[str], bool]) -> dict[str, str]:
    """By product with weights, the node of the factors that its result is multiplied with, as a normalisation does.

    Every converter multiplies them into the weights, so that weights that share one scale share it afterwards.

    Args:
        depends: whether a node is computed from the inputs of the model.
    """
    nodes = {node.name: node for node in graph.node}
    weighted = {node.name for node in graph.node if node.op in WEIGHTED}
    found = {}
    for node in graph.node:
        names = [_node(name) for name in node.input]
        if node.op == "Mul" and sum(map(depends, names)) == 1:
            product, factor = sorted(names, key=depends, reverse=True)
            product = _node(nodes[product].input[0]) if nodes[product].op == "BatchToSpaceND" else product
            if product in weighted:
                found[product] = factor
    return found


def rounded_weights(
    graph: Any, weights: Mapping[str, np.ndarray], rounding: Rounding, folded: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Those of the weights that convolutions and matrix products multiply with, rounded; to halves, also those that are
    added or multiplied elsewhere: a bias, the slopes of a PReLU. `8 bits, apart` are those of them alone that no
    converter multiplies into a product: the gain of a LayerNormalization.

    Args:
        weights: by the name of their node in the graph.
        folded: by product, the factors of its channels that are multiplied into its weights before they are rounded.
    """
    nodes = {node.name: node for node in graph.node}
    if rounding == "8 bits, apart":
        return {name: _rounded(weights[name], rounding, False) for name in _apart(nodes, weights)}
    least = 1 if rounding == "half" else 2  # axes
    found: dict[str, np.ndarray] = {}
    for node in graph.node:
        weighted = node.op in WEIGHTED | CALLS
        if not weighted and not (least == 1 and node.op in _SHIFTS | _FACTORS):
            continue
        for read in map(_node, node.input):
            name = _origin(nodes, read)
            value = found.get(name, weights.get(name))  # rounded once more where several products share it
            if value is not None and value.ndim >= least:
                depthwise = node.op.startswith("Depthwise")
                columns = _columns(nodes, read)
                laid = value.reshape(-1, columns) if columns else value
                rounded = _with_factors(laid, rounding, depthwise, folded.get(node.name))
                found[name] = rounded.astype(value.dtype).reshape(value.shape)
    return found


def _apart(nodes: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> set[str]:
    """Constants that are added to, or multiplied with, what is no product with weights nor folded into one."""
    ways: dict[str, tuple[str, str]] = {}  # by such an operation: the constant, and the other operand
    for node in nodes.values():
        if node.op in _SHIFTS | _FACTORS | _OTHERS:
            one, other = (_origin(nodes, name) for name in node.input[:2])
            if (one in weights) != (other in weights):
                ways[node.name] = (one, other) if one in weights else (other, one)

    def folded(name: str) -> bool:
        while name in ways and nodes[name].op not in _OTHERS:
            constant, name = ways[name]
            if sum(size > 1 for size in weights[constant].shape) > 1:
                return False  # not one number a channel
        return nodes[name].op in WEIGHTED | CALLS

    return {constant for name, (constant, _) in ways.items() if not folded(name)}


def _columns(nodes: Mapping[str, Any], name: str) -> int:
    """Of weights that are laid flat for a matrix product, as those of several heads: its columns. Else 0."""
    import tensorflow as tf

    shape = nodes[_node(nodes[name].input[1])] if nodes[name].op == "Reshape" else None
    if shape is None or shape.op != "Const":
        return 0
    return max(0, int(tf.make_ndarray(shape.attr["value"].tensor)[-1]))


def _origin(nodes: Mapping[str, Any], name: str) -> str:
    """The node whose numbers are read under that name."""
    name = _node(name)
    while nodes[name].op in _TURNED:
        name = _node(nodes[name].input[1 if nodes[name].op == "Split" else 0])
    return name


def _with_factors(weights: np.ndarray, rounding: Rounding, depthwise: bool, factor: np.ndarray | None) -> np.ndarray:
    shape = (*weights.shape[2:],) if depthwise else weights.shape[-1:]
    if factor is None or factor.size != np.prod(shape) or not np.all(factor):
        return _rounded(weights, rounding, depthwise)
    laid = factor.reshape(shape)
    rounded: np.ndarray = _rounded(weights * laid, rounding, depthwise) / laid
    return rounded


def _rounded(weights: np.ndarray, rounding: Rounding, depthwise: bool) -> np.ndarray:
    if rounding == "half":
        return weights.astype(np.float16)
    axes: Any = None
    if rounding == "8 bits, scale a channel":
        axes = (0, 1) if depthwise else tuple(range(weights.ndim - 1))
    step = np.maximum(np.abs(weights).max(axis=axes, keepdims=True) / 127, np.finfo(np.float64).tiny)
    rounded: np.ndarray = np.rint(weights / step) * step
    return rounded


def _node(name: str) -> str:
    return name.removeprefix("^").split(":")[0]
