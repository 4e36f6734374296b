"""Puts the fragments of a lowered model into its ONNX graph.

The traced function computes every block itself, between two Identity nodes. Before tf2onnx, what lies between them is
taken out and one node of an operation that nothing else uses is left in its place; tf2onnx keeps the layout around it
in order. That node then becomes the fragment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from converters.deploy.fragment import Fragment
from converters.deploy.makers import own_values
from converters.deploy.sink import sink
from converters.errors import ConversionError

__all__ = ["HANDLERS", "mark", "splice"]

_STAND_IN: Final = "Digamma"
"""Takes and gives one map, is known to TensorFlow and not to tf2onnx, and stands in no convolutional network."""


def _keep(context: Any, node: Any, name: str, args: Any) -> None:
    """tf2onnx: leave the node as it is."""


HANDLERS: Final[Mapping[str, Any]] = {_STAND_IN: (_keep, [])}
"""What tf2onnx has to be given with a marked graph."""


def mark(graph_def: Any, fragments: Mapping[str, Fragment]) -> dict[str, Fragment]:
    """Take the blocks out of a frozen GraphDef, in place; the fragments by the name of the node in their place."""
    if not fragments:
        return {}
    found: dict[tuple[str, str], Any] = {}
    pattern = re.compile(r"(?:.*/)?([^/]+)_(enter|leave)(?:_\d+)?/mark")
    for node in graph_def.node:
        parts = pattern.fullmatch(node.name)
        if parts and node.op == "Identity":
            found[parts[1], parts[2]] = node
        elif node.op == _STAND_IN:
            return {}  # a model that uses it itself keeps its blocks as they are
    marked = {}
    for name, fragment in fragments.items():
        enter, leave = found.get((name, "enter")), found.get((name, "leave"))
        if enter is None or leave is None:
            raise ConversionError(f"the lowered block {name!r} is not in the traced graph; --no-lower exports it plain")
        leave.op = _STAND_IN
        leave.input[:] = [enter.input[0]]
        # tf2onnx makes one node of two that are alike, as those of two blocks on one map would be.
        leave.attr["_block"].s = name.encode()
        marked[leave.name] = fragment
    return marked


def splice(graph: Any, marked: Mapping[str, Fragment], opset: int) -> None:
    """Put the fragments in the place of their nodes.

    Raises:
        ConversionError: tf2onnx lost one of them.
    """
    from onnx import helper

    left = dict(marked)
    makers = {name: node for node in graph.node for name in node.output}
    means = _means(graph, {node.output[0] for node in graph.node if node.op_type == _STAND_IN})
    nodes = []
    outputs = []
    for node in graph.node:
        if any(node is mean for mean in means.values()):
            continue
        fragment = left.pop(node.name, None) if node.op_type == _STAND_IN else None
        if fragment is None:
            nodes.append(node)
            continue
        (last,), (output,) = node.input, node.output
        maker = makers.get(last)
        if maker is not None and maker.op_type == "Transpose" and list(maker.attribute[0].ints) == [0, 2, 3, 1]:
            first = maker.input[0]
        else:
            first = f"{output}/first"
            nodes.append(helper.make_node("Transpose", [last], [first], name=first, perm=[0, 3, 1, 2]))
        mean = means.get(output)
        ends = first, last, output if mean is None else mean.output[0]
        made, initialisers = fragment.nodes(ends, own_values, ("float32", opset), mean=mean is not None)
        nodes.extend(made)
        graph.initializer.extend(initialisers)
        outputs.append(output)
    if left:
        raise ConversionError(f"tf2onnx lost the lowered block {next(iter(left))!r}; --no-lower exports it plain")
    if marked:
        del graph.node[:]
        graph.node.extend(nodes)
        sink(graph, outputs)
        del graph.value_info[:]  # shapes around the stand-ins are inferred anew by whoever wants them


def _means(graph: Any, outputs: Collection[str]) -> dict[str, Any]:
    """The mean over a map (1, H, W, C) to (1, C) by each of these tensors that nothing else takes."""
    taken: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            taken.setdefault(name, []).append(node)
    kept = {value.name for value in graph.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for name in outputs:
        takers = taken.get(name, [])
        if len(takers) == 1 and name not in kept and _is_mean(takers[0], constants):
            found[name] = takers[0]
    return found


def _is_mean(node: Any, constants: Mapping[str, Any]) -> bool:
    from onnx import helper, numpy_helper

    if node.op_type != "ReduceMean":
        return False
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    axes = attributes.get("axes", [])
    if len(node.input) > 1 and node.input[1] in constants:
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    return sorted(axes) == [1, 2] and attributes.get("keepdims", 1) == 0
