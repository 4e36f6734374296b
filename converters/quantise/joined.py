"""One range for what has to have one scale.

REDUCE_MAX has one scale for its input and its output, CONCATENATION for all its inputs and its output. The quantiser
takes the output's. Behind a map that goes below zero, as that of a linear bottleneck, the maximum over its channels
does not, or hardly: its range on the map would clip the map's negative values, for everything else that reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converters.quantise.flatbuffer import Graph
from converters.quantise.ranges import Range

_POOLED: Final = ("REDUCE_MAX", "REDUCE_MIN")
_STACKED: Final = "CONCATENATION"


def joined(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges with those of a pooled map, of its maximum, and of what that is stacked with made the same: one that
    holds all of them. Others stay as they are."""
    groups: list[set[str]] = []
    pooled: set[str] = set()
    for operation in graph.operations:
        if operation.name not in (*_POOLED, _STACKED):
            continue
        names = {tensor.name for tensor in (*operation.inputs, *operation.outputs) if tensor.name in ranges}
        pooled |= names if operation.name in _POOLED else set()
        touched = [group for group in groups if group & names]
        groups = [group for group in groups if not group & names] + [names.union(*touched)]
    found = dict(ranges)
    for group in groups:
        if group & pooled:
            whole = min(ranges[name][0] for name in group), max(ranges[name][1] for name in group)
            found |= dict.fromkeys(group, whole)
    return found
