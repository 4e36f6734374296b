"""A frozen graph made ready to be read and fed at each of its tensors, in float32 or in float64.

The weights stand beside the graph and are fed: TensorFlow holds what is in a graph several times over, and the same
graph serves with weights that were rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

_PARTED: Final = frozenset({"Split", "SplitV", "Unpack"})
_TERMS: Final = frozenset({"Mul", "Add", "AddV2", "Sub"})
"""Operations with several results of one type."""

_SINGLE: Final[Mapping[str, tuple[int, ...]]] = {
    "ResizeBilinear": (),
    "ResizeBicubic": (),
    "ResizeArea": (),
    "ScaleAndTranslate": (2, 3),
    "CropAndResize": (1,),
}
"""Operations that give float32 whatever they are given, and which of their inputs have to be float32."""

FEED: Final = "/fed"
"""Behind the name of a tensor: its copy that is read in its place."""


DIFFERENCE: Final = "/difference"
"""Behind the name of a squared difference: what is squared."""


def with_parts(graph: Any) -> tuple[Any, dict[str, str]]:
    """The graph with a node for every result but the first that is read of an operation, as of a split; and the names
    of these nodes by that of the tensor."""
    parts: dict[str, str] = {}
    types = {node.name: node.attr["T"].type for node in graph.node if node.op in _PARTED}
    for node in list(graph.node):
        for place, name in enumerate(node.input):
            owner, _, number = name.partition(":")
            if number in ("", "0") or owner not in types:
                continue
            if name not in parts:
                parts[name] = f"{owner}/part{number}"
                made = graph.node.add(name=parts[name], op="Identity", input=[name])
                made.attr["T"].type = types[owner]
            node.input[place] = parts[name]
    return graph, parts


def with_differences(graph: Any) -> Any:
    """The graph with a squared difference in two nodes, in place: ONNX has no such operation, and its files round the
    difference by itself."""
    for node in [each for each in graph.node if each.op == "SquaredDifference"]:
        difference = graph.node.add(name=node.name + DIFFERENCE, op="Sub", input=node.input)
        difference.attr["T"].CopyFrom(node.attr["T"])
        node.op = "Square"
        del node.input[:]
        node.input.append(difference.name)
    return graph


def with_weights_apart(graph: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """The graph with a placeholder for each constant of float32 that has axes, or is a factor or a summand that changes
    something; in place. And the constants by name."""
    import tensorflow as tf

    single = tf.float32.as_datatype_enum
    taken = {name for node in graph.node if node.op in _TERMS for name in node.input}
    weights: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op != "Const" or node.attr["dtype"].type != single:
            continue
        shape, value = node.attr["value"].tensor.tensor_shape, tf.make_ndarray(node.attr["value"].tensor)
        if not shape.dim and (node.name not in taken or value in (0, 1)):
            continue
        weights[node.name] = value
        node.op = "Placeholder"
        node.attr["shape"].shape.CopyFrom(shape)
        del node.attr["value"]
    return graph, weights


def with_feeds(graph: Any, names: set[str]) -> Any:
    """A copy in which whatever reads a tensor reads a copy of it, which can be replaced while the tensor is read."""
    copy = type(graph)()
    copy.CopyFrom(graph)
    for node in copy.node:
        for place, name in enumerate(node.input):
            if name in names:  # not `name:1` nor a control input
                node.input[place] = name + FEED
    for name in sorted(names):
        added = copy.node.add()
        added.name, added.op = name + FEED, "Identity"
        added.input.append(name)
        added.attr["T"].type = 1
    return copy


def doubled(graph: Any) -> Any:
    """The graph with float64 in the place of float32, in place; what computes in float32 only is cast around."""
    import tensorflow as tf

    single, double = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum
    functions = graph.library.function
    for node in [*graph.node, *(node for function in functions for node in function.node_def)]:
        _double_node(node, single, double)
    for function in functions:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = double if argument.type == single else argument.type
    for node in [each for each in graph.node if each.op in _SINGLE]:
        name, node.name = node.name, f"{node.name}/single"
        _cast(graph, node.name, name, (single, double))
        for place in _SINGLE[node.op]:
            _cast(graph, node.input[place], f"{node.name}/input{place}", (double, single))
            node.input[place] = f"{node.name}/input{place}"
    return graph


def _cast(graph: Any, source: str, name: str, types: tuple[int, int]) -> None:
    node = graph.node.add(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type, node.attr["DstT"].type = types


def _double_node(node: Any, single: int, double: int) -> None:
    import tensorflow as tf

    for key, value in node.attr.items():
        if value.type == single and key != "out_type":
            value.type = double
        for place, each in enumerate(value.list.type):
            value.list.type[place] = double if each == single else each
        if value.HasField("tensor") and value.tensor.dtype == single:
            value.tensor.CopyFrom(tf.make_tensor_proto(tf.make_ndarray(value.tensor).astype(np.float64)))
