"""What LiteRT makes of a TFLite file: its operations, XNNPACK's partitions, and what XNNPACK leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from exporter.bench.graph import Graph, Node
from exporter.runtimes.litert import OPTIMISED, XNNPACK, allocate, interpreter_of


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A TFLite file as LiteRT runs it.

    Attributes:
        graph: the file's operations; a tensor is named by its number.
        partitions: how many parts of it XNNPACK runs.
        undelegated: the places in `graph.nodes` of what it does not.
    """

    graph: Graph
    partitions: int
    undelegated: tuple[int, ...]


def open_graph(path: Path) -> Opened:
    """Read a file's operations, and ask LiteRT how it shares them out.

    LiteRT tells the operations of the file, and behind them one DELEGATE for each part that XNNPACK took, with the
    tensors that go in and out; it does not tell which operations those are. They are what lies between: all that its
    outputs are computed from, back to its inputs.

    Raises:
        ConversionError: LiteRT refuses the file.
    """
    interpreter = interpreter_of(path, XNNPACK)
    allocate(interpreter, path)
    listed = interpreter._get_ops_details()
    operations = [each for each in listed if each["op_name"] != "DELEGATE"]
    parts = [each for each in listed if each["op_name"] == "DELEGATE"]
    details = {tensor["index"]: tensor for tensor in interpreter_of(path, OPTIMISED).get_tensor_details()}
    nodes = tuple(
        Node(
            each["op_name"],
            details[int(each["outputs"][0])]["name"] if len(each["outputs"]) else "",
            tuple(str(index) for index in each["inputs"] if index >= 0),
            tuple(map(str, each["outputs"])),
        )
        for each in operations
    )
    taken = _taken(nodes, parts)
    graph = Graph(
        nodes,
        {str(index): tuple(map(int, tensor["shape"])) for index, tensor in details.items()},
        bytes_of={str(index): np.dtype(tensor["dtype"]).itemsize for index, tensor in details.items()},
    )
    return Opened(graph, len(parts), tuple(place for place in range(len(nodes)) if place not in taken))


def _taken(nodes: Sequence[Node], parts: Sequence[Any]) -> set[int]:
    makers = {name: place for place, node in enumerate(nodes) for name in node.outputs}
    taken: set[int] = set()
    for part in parts:
        given = {str(index) for index in part["inputs"]}
        todo = [str(index) for index in part["outputs"]]
        while todo:
            name = todo.pop()
            place = makers.get(name)
            if name in given or place is None or place in taken:
                continue
            taken.add(place)
            todo.extend(nodes[place].inputs)
    return taken
