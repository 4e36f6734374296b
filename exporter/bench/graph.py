"""The graph of an artifact, whatever its format, and the attention gates in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final, Literal

GateKind = Literal["channel", "spatial"]


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One operation as the runtime executes it. Tensors are named by text that is theirs alone in the graph."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """Operations in an order in which they can run.

    Attributes:
        nodes: the operations.
        shapes: of tensors, the batch with them; those that are not known are missing.
        bytes_of: bytes of one element, of tensors whose type is known.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]
    bytes_of: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """A map is multiplied with what is computed from that very map and broadcast over it.

    Attributes:
        kind: `channel`, one factor a channel; `spatial`, one factor a place.
        nodes: the places in `Graph.nodes` of all that computes the factor, and of the product, in order.
        source, output: the map and the product.
        shape: of the map, (N, H, W, C), whatever its layout is.
    """

    kind: GateKind
    nodes: tuple[int, ...]
    source: str
    output: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AttentionBlock:
    """Gates in a row, each on the product of the one before: a CBAM block, or one gate alone.

    Attributes:
        name: what the names of its operations have in common, else the name of its first product.
        kind: `cbam`, `channel` or `spatial`.
        nodes: the places in `Graph.nodes` of its operations.
        channels, height, width: of its map.
        map_bytes: of its map, all examples of the batch; 0 where its type is not known.
    """

    name: str
    kind: str
    nodes: tuple[int, ...]
    channels: int
    height: int
    width: int
    map_bytes: int


SAME_MAP: Final = frozenset(
    {
        *("ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Transpose"),
        *("QUANTIZE", "DEQUANTIZE", "CAST", "TRANSPOSE"),
    }
)
"""Operations that give the same map in another layout or type."""

_PRODUCTS: Final = frozenset({"MUL", "Mul", "QLinearMul"})


def attention_blocks(graph: Graph) -> tuple[AttentionBlock, ...]:
    """Every attention block of an artifact, found by structure alone, in graph order.

    This asks less than `converters.deploy.recognise`, which needs a Keras model and proves equality: a gate of
    squeeze-and-excitation is found too. It says where time goes, not what is computed.
    """
    gates = sorted(_gates(graph), key=lambda gate: gate.nodes[-1])
    makers = _makers(graph)
    blocks = []
    while gates:
        chain = [gates.pop(0)]
        while True:
            last = chain[-1]
            following = next(
                (gate for gate in gates if gate.kind != last.kind and last.output in _same(graph, makers, gate.source)),
                None,
            )
            if following is None or len(chain) == 2:
                break
            gates.remove(following)
            chain.append(following)
        blocks.append(_block(graph, chain))
    return tuple(blocks)


def _gates(graph: Graph) -> Iterable[Gate]:
    makers = _makers(graph)
    for place, node in enumerate(graph.nodes):
        if node.op not in _PRODUCTS:
            continue
        given = node.inputs[:4:3] if node.op == "QLinearMul" else node.inputs  # behind each its scale and zero point
        factors = [name for name in given if name in graph.shapes]
        if len(factors) != 2:
            continue
        for source, factor in (tuple(factors), tuple(reversed(factors))):
            gate = _broadcast(graph, source, factor)
            if gate is None:
                continue
            kind, shape = gate
            roots = set(_same(graph, makers, source))
            found = _between(graph, makers, roots, factor)
            if found:
                output = node.outputs[0]
                nodes = (*sorted(found), place)
                yield Gate(kind, nodes, source, output, shape)
                break


def _broadcast(graph: Graph, source: str, factor: str) -> tuple[GateKind, tuple[int, ...]] | None:
    """How a factor broadcasts over a map of rank 4, if it does, and the map's shape as (N, H, W, C).

    The factor tells the layout: a runtime may change that from one operation to the next. A shorter shape is filled up
    from the front.
    """
    shape = graph.shapes[source]
    if len(shape) != 4 or len(graph.shapes[factor]) > 4:
        return None
    filled = (1,) * (4 - len(graph.shapes[factor])) + graph.shapes[factor]
    for order in ((0, 1, 2, 3), (0, 2, 3, 1)):
        turned = tuple(shape[axis] for axis in order)
        _, height, width, channels = turned
        of_factor = tuple(filled[axis] for axis in order)[1:]
        if of_factor == (1, 1, channels) and height * width > 1:
            return "channel", turned
        if of_factor == (height, width, 1) and channels > 1:
            return "spatial", turned
    return None


def _between(graph: Graph, makers: Mapping[str, int], roots: set[str], end: str) -> set[int]:
    """The operations on all ways from one of `roots` to `end`; empty where there is none."""
    seen: set[int] = set()
    todo = [end]
    while todo:
        name = todo.pop()
        if name in roots or name not in makers or makers[name] in seen:
            continue
        seen.add(makers[name])
        todo.extend(graph.nodes[makers[name]].inputs)
    reached = set(roots)
    kept: set[int] = set()
    for place in sorted(seen):
        node = graph.nodes[place]
        if reached & set(node.inputs):
            reached |= set(node.outputs)
            kept.add(place)
    return kept if end in reached else set()


def _same(graph: Graph, makers: Mapping[str, int], name: str) -> list[str]:
    """The tensor, and all before and behind it that are the same map in another layout or type."""
    first = name
    while first in makers and graph.nodes[makers[first]].op in SAME_MAP:
        first = graph.nodes[makers[first]].inputs[0]
    found = [first]
    for node in graph.nodes:
        if node.op in SAME_MAP and node.inputs and node.inputs[0] in found:
            found.extend(node.outputs)
    return found


def _block(graph: Graph, chain: list[Gate]) -> AttentionBlock:
    first = chain[0]
    batch, height, width, channels = first.shape
    elements = batch * height * width * channels
    nodes = tuple(sorted({place for gate in chain for place in gate.nodes}))
    return AttentionBlock(
        name=_common([[graph.nodes[place].name for place in gate.nodes] for gate in chain])
        or graph.nodes[first.nodes[-1]].name,
        kind="cbam" if len(chain) == 2 else first.kind,
        nodes=nodes,
        channels=channels,
        height=height,
        width=width,
        map_bytes=elements * graph.bytes_of.get(first.source, 0),
    )


def _common(gates: list[list[str]]) -> str:
    """The longest path with which most names of each gate begin: what the runtime made has names of its own."""
    shared: set[str] | None = None
    for names in gates:
        counts: dict[str, int] = {}
        for name in names:
            parts = name.split(";")[0].split("/")  # LiteRT joins the names of what it has fused with ;
            for path in ("/".join(parts[:length]) for length in range(1, len(parts))):
                counts[path] = counts.get(path, 0) + 1
        most = {path for path, count in counts.items() if 2 * count > len(names)}
        shared = most if shared is None else shared & most
    return max(shared or (), key=len, default="")


def _makers(graph: Graph) -> dict[str, int]:
    return {name: place for place, node in enumerate(graph.nodes) for name in node.outputs if name}
