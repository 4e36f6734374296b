"""Puts the fragments of a lowered model into its ONNX graph.

The traced function computes every block itself, between two Identity nodes. Before tf2onnx, what lies between them is
taken out and one node of an operation that nothing else uses is left in its place; tf2onnx keeps the layout around it
in order. That node then becomes the fragment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    nodes = []
    outputs = []
    for node in graph.node:
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
        made, initialisers = fragment.nodes((first, last, output), own_values, "float32", opset)
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
