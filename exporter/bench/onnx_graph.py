"""What ONNX Runtime makes of an ONNX file: the graph that it executes, and the time of each of its operations."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from converters.artifact import Artifact
from exporter.bench.files import file_inputs
from exporter.bench.graph import Graph, Node
from exporter.bench.statistics import median, middle_mean
from exporter.bench.timing import TIMERS, MeasuringSession, measuring_worker, write_inputs
from exporter.runtimes.process import WorkerSession

_SUFFIX: Final = "_kernel_time"
_BYTES: Final = {"float": 4, "float16": 2, "double": 8, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8}
REORDERS: Final = ("ReorderInput", "ReorderOutput")


@dataclasses.dataclass(frozen=True, slots=True)
class Executed:
    """An ONNX file as ONNX Runtime runs it on one thread.

    Attributes:
        graph: the optimised graph, with the shapes that were seen.
        microseconds: of each of its operations, the mean over the middle half of the inferences, less what the
            profiler costs: so much an operation that all together take the time of an inference without it.
    """

    graph: Graph
    microseconds: tuple[float, ...]


def execute(artifact: Artifact, folder: Path, inferences: int) -> Executed:
    """Run a file with ONNX Runtime's own profiler in a process of its own, on one thread.

    Raises:
        ConversionError, WorkerError: ONNX Runtime refuses the file, or dies.
    """
    optimised = folder / "optimised.onnx"
    options: dict[str, Any] = {
        "threads": 1,
        "inputs": str(write_inputs(file_inputs(artifact.path, artifact.format), folder / "inputs.npz")),
        "optimised": str(optimised),
        "profile": str(folder / "profile"),
        "inferences": inferences,
    }
    timer = TIMERS[artifact.format]
    worker = dataclasses.replace(measuring_worker(timer.runtime, timer.loader), load_seconds=1800.0)
    with WorkerSession(worker, _named(artifact.path, folder), timer.runtime, options) as session:
        profile: Any = session.facts["profile"]
    events = json.loads(Path(profile).read_text(encoding="utf-8"))
    found = _executed(optimised, [event for event in events if event.get("cat") == "Node"])
    with MeasuringSession(artifact, Path(options["inputs"]), 1) as plain:
        plain.measure(inferences)
        inference = median(plain.measure(inferences)["wall_ns"]) / 1e3
    excess = max(0.0, sum(found.microseconds) - inference) / max(1, len(found.microseconds))
    less = tuple(max(0.0, time - excess) for time in found.microseconds)
    return dataclasses.replace(found, microseconds=less)


def _named(path: Path, folder: Path) -> Path:
    """The file, or a copy in which every node has a name of its own: the profiler knows nodes by nothing else."""
    import onnx

    model = onnx.load(path)
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return path
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.name or node.op_type}#{place}"
    copy = folder / "named.onnx"
    onnx.save(model, copy)
    return copy


def _executed(optimised: Path, events: Iterable[Mapping[str, Any]]) -> Executed:
    import onnx

    nodes = list(onnx.load(optimised).graph.node)
    shapes: dict[str, tuple[int, ...]] = {}
    sizes: dict[str, int] = {}
    seen: dict[str, list[float]] = {}
    by_name = {node.name: node for node in nodes}
    for event in events:
        if not event["name"].endswith(_SUFFIX):
            continue
        name = event["name"].removesuffix(_SUFFIX)
        seen.setdefault(name, []).append(float(event["dur"]))
        if name in by_name and len(seen[name]) == 1:
            _note(by_name[name].input, event["args"].get("input_type_shape", ()), shapes, sizes)
            _note(by_name[name].output, event["args"].get("output_type_shape", ()), shapes, sizes)
    graph = Graph(
        tuple(Node(node.op_type, node.name, tuple(filter(None, node.input)), tuple(node.output)) for node in nodes),
        shapes,
        bytes_of=sizes,
    )
    return Executed(graph, tuple(middle_mean(seen.get(node.name, [0.0])) for node in nodes))


def _note(
    names: Iterable[str], told: Iterable[Mapping[str, Any]], shapes: dict[str, tuple[int, ...]], sizes: dict[str, int]
) -> None:
    """Types and shapes as the profiler tells them: one {type: shape} for each tensor that is there."""
    for name, each in zip((name for name in names if name), told, strict=False):
        for kind, shape in each.items():
            shapes.setdefault(name, tuple(map(int, shape)))
            sizes.setdefault(name, _BYTES.get(kind, 0))
