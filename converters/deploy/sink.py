"""Moves the Transpose behind a fragment past the residual addition and its activation.

ONNX Runtime turns a Transpose in front of a Conv into the change of layout that is due there anyway; in front of an Add
it is a copy of the map, and the Add and what follows then run in neither of the two fast layouts.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from onnx import helper

__all__ = ["sink"]

_TO_FIRST: Final = [0, 3, 1, 2]
_TO_LAST: Final = [0, 2, 3, 1]
_POINTWISE: Final = ("Relu", "Clip")


def sink(graph: Any, fragments: Collection[str]) -> None:
    """Rewrite Add(a, Transpose(b)) to Transpose(Add(Transpose(a), b)), an activation behind it included.

    Args:
        fragments: tensors, channels last, from which such a Transpose starts.
    """
    makers = {name: node for node in graph.node for name in node.output}
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    kept = {value.name for value in graph.output}
    last = {}  # tensors channels first that are known channels last too
    nodes: list[Any] = []
    dropped: set[int] = set()
    for node in graph.node:
        if id(node) in dropped:
            continue
        if node.op_type == "Transpose" and _order(node) == _TO_FIRST and node.input[0] in fragments:
            last[node.output[0]] = node.input[0]
        if node.op_type != "Add" or not set(node.input) & last.keys() or not set(node.input) <= makers.keys():
            nodes.append(node)
            continue
        end, inputs = node.output[0], []
        for name in node.input:
            if name not in last:
                last[name] = f"{end}/{name}/last"
                nodes.append(helper.make_node("Transpose", [name], [last[name]], name=last[name], perm=_TO_LAST))
            inputs.append(last[name])
        made = f"{end}/last"
        nodes.append(helper.make_node("Add", inputs, [made], name=node.name))
        behind = takers.get(end, [])
        if len(behind) == 1 and behind[0].op_type in _POINTWISE and end not in kept:
            activation = behind[0]
            dropped.add(id(activation))
            end = activation.output[0]
            done = f"{end}/last"
            nodes.append(
                helper.make_node(activation.op_type, [made, *activation.input[1:]], [done], name=activation.name)
            )
            made = done
        last[end] = made
        nodes.append(helper.make_node("Transpose", [made], [end], name=f"{end}/first", perm=_TO_FIRST))
    used = {name for node in nodes for name in node.input} | kept
    del graph.node[:]
    graph.node.extend(node for node in nodes if used & set(node.output))


def _order(node: Any) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == "perm"), [])
