"""The weights of a frozen graph as a file stores them that holds fewer bits."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from exporter.parity.layers import Rounding

WEIGHTED: Final = frozenset(
    {"Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMulV2", "Einsum"}
)
CALLS: Final = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
"""A function that was not inlined: a grouped convolution, which Keras has compiled."""

_MATRICES: Final = frozenset({"MatMul", "BatchMatMulV2", "Einsum"})
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


def apart(graph: Any, depends: Callable[[str], bool]) -> list[str]:
    """Nodes of what is added to, or multiplied with, what is no product with weights nor folded into one, as the gain
    of a LayerNormalization: a quantiser rounds it by itself. Also behind a product that others read as well, and what
    is added to a product of matrices, which ONNX has an operation of its own for.

    Args:
        depends: as for `factors`.
    """
    nodes = {node.name: node for node in graph.node}
    ways: dict[str, tuple[str, str]] = {}  # by such an operation: the constant, and the other operand
    for node in graph.node:
        names = [_node(name) for name in node.input[:2]]
        if node.op in _SHIFTS | _FACTORS | _OTHERS and sum(map(depends, names)) == 1:
            other, constant = sorted(names, key=depends, reverse=True)
            ways[node.name] = constant, other

    read = collections.Counter(_node(name) for node in graph.node for name in node.input)

    def folded(name: str) -> bool:
        added = nodes[name].op in _SHIFTS
        while (name := _origin(nodes, name)) in ways and nodes[name].op not in _OTHERS:
            name = _origin(nodes, ways[name][1])
            if read[name] > 1:
                return False
        return nodes[name].op in (WEIGHTED | CALLS) - (_MATRICES if added else set())

    return list(dict.fromkeys(constant for name, (constant, _) in ways.items() if not folded(name)))


def to_eight_bits(value: np.ndarray) -> np.ndarray:
    """Rounded to 255 steps, one scale for all."""
    return _rounded(value, "8 bits, one scale", depthwise=False)


def rounded_weights(
    graph: Any, weights: Mapping[str, np.ndarray], rounding: Rounding, folded: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Those of the weights that convolutions and matrix products multiply with, rounded; to halves, also those that are
    added or multiplied elsewhere: a bias, the slopes of a PReLU, the factor of an attention.

    Args:
        weights: by the name of their node in the graph.
        folded: by product, the factors of its channels that are multiplied into its weights before they are rounded.
    """
    nodes = {node.name: node for node in graph.node}
    least = 0 if rounding == "half" else 2  # axes
    found: dict[str, np.ndarray] = {}
    for node in graph.node:
        weighted = node.op in WEIGHTED | CALLS
        if not weighted and not (rounding == "half" and node.op in _SHIFTS | _FACTORS):
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
