"""A look into an artifact: what the runtime executes, and where the time of each attention block goes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from converters.artifact import Artifact
from exporter.bench.graph import AttentionBlock, Graph, attention_blocks
from exporter.bench.timing import measuring_worker
from exporter.runtimes.process import WorkerSession

PART_SECONDS: Final = 0.02
"""Of each operation that is timed alone, over PART_ROUNDS turns."""

PART_ROUNDS: Final = 4
PROFILED_INFERENCES: Final = 30
COPIES_OF_A_FUSED_KERNEL: Final = 2
"""A fused kernel reads the map three times (to pool over places, to pool over channels, to refine) and writes it once;
a copy reads once and writes once."""


@dataclasses.dataclass(frozen=True, slots=True)
class OpTime:
    """One operation of a block.

    Attributes:
        op, name: what it is, and what the file calls it or its result.
        shape: of its result; empty where it is not known.
        microseconds: its median time on one thread.
        delegated: whether XNNPACK runs it; None in ONNX Runtime.
    """

    op: str
    name: str
    shape: tuple[int, ...]
    microseconds: float
    delegated: bool | None


@dataclasses.dataclass(frozen=True, slots=True)
class BlockProfile:
    """Where the time of one attention block goes, on one thread. Times in microseconds.

    Attributes:
        name, kind, channels, height, width: as `graph.AttentionBlock` has them.
        whole: LiteRT: of the block, cut out as one model; ONNX Runtime: the sum of its operations.
        fused: what a kernel that reads the map three times and writes it once would take: the copies of a map of this
            size that move as much. None where the map's type is not known.
        operations: in order. In LiteRT each is timed alone, as a model of its own.
    """

    name: str
    kind: str
    channels: int
    height: int
    width: int
    whole: float
    fused: float | None
    operations: tuple[OpTime, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Structure:
    """What a runtime executes of an artifact.

    Attributes:
        operations: how many, by kind; of ONNX Runtime after its own optimisations.
        partitions: how many parts of it XNNPACK runs; None in ONNX Runtime.
        undelegated: kind and name of each operation that XNNPACK leaves to LiteRT; empty in ONNX Runtime.
        reorders: changes between ONNX Runtime's blocked layout and the plain one; None in LiteRT.
        blocks: the attention blocks found in it; None where they were not asked for.
    """

    operations: Mapping[str, int]
    partitions: int | None = None
    undelegated: tuple[tuple[str, str], ...] = ()
    reorders: int | None = None
    blocks: tuple[BlockProfile, ...] | None = None

    @property
    def count(self) -> int:
        """All operations."""
        return sum(self.operations.values())


def look_into(artifact: Artifact, profile: bool) -> Structure:
    """What the runtime executes, and with `profile` the time of each operation of each attention block.

    Raises:
        ConversionError, WorkerError: the runtime refuses the artifact, or dies.
    """
    with tempfile.TemporaryDirectory(prefix="cbam-profile-") as folder:
        look = _look_into_litert if artifact.format == "tflite" else _look_into_onnxruntime
        return look(artifact, Path(folder), profile)


def _look_into_litert(artifact: Artifact, folder: Path, profile: bool) -> Structure:
    from exporter.bench.litert_graph import open_graph

    opened = open_graph(artifact.path)
    nodes = opened.graph.nodes
    blocks = _litert_blocks(artifact, opened.graph, set(opened.undelegated), folder) if profile else None
    return Structure(
        _counts(opened.graph),
        partitions=opened.partitions,
        undelegated=tuple((nodes[place].op, nodes[place].name) for place in opened.undelegated),
        blocks=blocks,
    )


def _litert_blocks(artifact: Artifact, graph: Graph, undelegated: set[int], folder: Path) -> tuple[BlockProfile, ...]:
    """Each block and each of its operations as a model of its own: LiteRT's Python package has no profiler."""
    from exporter.bench.litert_cut import Cutter

    found = attention_blocks(graph)
    if not found:
        return ()
    cutter = Cutter(artifact.path)
    parts: list[Sequence[int]] = []
    for block in found:
        parts += [block.nodes, *((place,) for place in block.nodes)]
    for index, part in enumerate(parts):
        cutter.cut(part, folder / f"{index}.tflite", folder / f"{index}.npz")
    facts = _time_parts(folder, [block.map_bytes for block in found])
    times = iter(facts["wall_ns"])
    made = []
    for block, copied in zip(found, facts["copy_ns"], strict=True):
        whole = next(times) / 1e3
        operations = [_op_time(graph, place, next(times) / 1e3, place not in undelegated) for place in block.nodes]
        fused = COPIES_OF_A_FUSED_KERNEL * copied / 1e3 if block.map_bytes else None
        made.append(_profile(block, whole, fused, operations))
    return tuple(made)


def _look_into_onnxruntime(artifact: Artifact, folder: Path, profile: bool) -> Structure:
    from exporter.bench.onnx_graph import REORDERS, execute

    executed = execute(artifact, folder, PROFILED_INFERENCES if profile else 1)
    graph = executed.graph
    counts = _counts(graph)
    blocks = None
    if profile:
        found = attention_blocks(graph)
        copies = _time_parts(folder, [block.map_bytes for block in found])["copy_ns"] if found else ()
        blocks = tuple(
            _profile(
                block,
                sum(executed.microseconds[place] for place in block.nodes),
                COPIES_OF_A_FUSED_KERNEL * copied / 1e3 if block.map_bytes else None,
                [_op_time(graph, place, executed.microseconds[place], None) for place in block.nodes],
            )
            for block, copied in zip(found, copies, strict=True)
        )
    return Structure(counts, reorders=sum(counts.get(name, 0) for name in REORDERS), blocks=blocks)


def _time_parts(folder: Path, copies: Sequence[int]) -> Mapping[str, Any]:
    options = {"threads": 1, "seconds": PART_SECONDS, "rounds": PART_ROUNDS, "copies": list(copies)}
    worker = dataclasses.replace(measuring_worker("litert", "time_parts.py"), load_seconds=1800.0)
    with WorkerSession(worker, folder, "litert", options) as session:
        return session.facts


def _counts(graph: Graph) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for node in graph.nodes:
        counts[node.op] = counts.get(node.op, 0) + 1
    return MappingProxyType(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _op_time(graph: Graph, place: int, microseconds: float, delegated: bool | None) -> OpTime:
    node = graph.nodes[place]
    shape = graph.shapes.get(node.outputs[0], ()) if node.outputs else ()
    return OpTime(node.op, node.name, shape, microseconds, delegated)


def _profile(block: AttentionBlock, whole: float, fused: float | None, operations: Sequence[OpTime]) -> BlockProfile:
    return BlockProfile(
        block.name, block.kind, block.channels, block.height, block.width, whole, fused, tuple(operations)
    )
