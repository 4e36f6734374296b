"""Which operation of a quantised file loses how much, and what it is called: gates are named by their block."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence, Set
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from exporter.formats import FORMATS
from exporter.parity.stored import to_real, to_stored
from exporter.quantisation.measure import in_layout
from exporter.runtimes.base import Arrays, Traceable
from exporter.runtimes.table import runtime

EXACT_DB: Final = 45.0
"""What an operation's inputs count for where they are nearer to the float ones than 8 bits can tell."""

_FOLLOWING: Final = frozenset(
    {
        *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "PAD", "RELU", "RELU6"),
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Pad", "Relu", "Clip", "LeakyRelu", "Flatten", "Identity"),
    }
)


_STORED: Final = ("_DequantizeLinear_Output__16", "_DequantizeLinear_Output", "/int16", "")
"""What is behind a tensor's name in a quantised file where it is read: in QDQ form it is stored between two nodes, of
which the first may also do what an activation did. The same of islands of int16."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One operation.

    Attributes:
        key: what a converter knows it by: its output tensor in TFLite, its node in ONNX.
        label: its kind and name; a gate's sigmoid by its block.
        sqnr_db: of its result in the quantised file against the float one; inf where they are equal.
        loss_db: how much less that is than the SQNR of the worst of its inputs: what it loses itself.
        after: keys of the operations that it reads.
        follows: it only moves or cuts off what it reads, and so goes with the operation before it.
        tensor: what its result is called.
    """

    key: str
    label: str
    sqnr_db: float
    loss_db: float
    after: tuple[str, ...]
    follows: bool
    tensor: str

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json; infinite figures are null."""
        figures = {"sqnr_db": self.sqnr_db, "loss_db": self.loss_db}
        finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        return {"key": self.key, "label": self.label, **finite}


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    key: str
    kind: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]


def layers(plain: Artifact, quantised: Artifact, inputs: Arrays) -> list[Layer]:
    """Every operation of the float file, in order, with its SQNR in the quantised one.

    Args:
        inputs: a few samples, as the model takes them.
    """
    nodes = _tflite(plain) if plain.format == "tflite" else _onnx(plain)
    want = {node.output for node in nodes}
    truth, got = traced(plain, inputs, want), traced(quantised, inputs, want)
    ratio = {name: _sqnr(truth[name], got[name]) for name in truth.keys() & got.keys()}
    for node in reversed(nodes):
        # ONNX Runtime's quantiser takes out an activation and gives its name to what is before it, or the other way.
        readers = [other for other in nodes if node.output in other.inputs]
        follows = len(readers) == 1 and readers[0].kind in _FOLLOWING
        if node.output not in ratio and follows and readers[0].output in ratio:
            ratio[node.output] = ratio[readers[0].output]
    labels, makers = _labels(nodes), {node.output: node.key for node in nodes}
    found = []
    for node, label in zip(nodes, labels, strict=True):
        if node.output in ratio:
            before = min((ratio[name] for name in node.inputs if name in ratio), default=math.inf)
            own = ratio[node.output]
            after = tuple(makers[name] for name in node.inputs if name in makers)
            loss = 0.0 if math.isinf(own) else min(before, EXACT_DB) - own
            found.append(Layer(node.key, label, own, loss, after, node.kind in _FOLLOWING, node.output))
    return found


def traced(artifact: Artifact, inputs: Arrays, want: Set[str]) -> dict[str, np.ndarray]:
    """Inner tensors in real numbers as they are stored, over all samples, under the names of the float file."""
    parts: dict[str, list[np.ndarray]] = {}
    size = artifact.inputs[0].shape[0] or 1
    with runtime(FORMATS[artifact.format].runtime).open(artifact) as session:
        assert isinstance(session, Traceable)
        specs = {spec.name: spec for spec in session.tensors()}
        for start in range(0, len(next(iter(inputs.values()))) - size + 1, size):
            call = {}
            for spec in artifact.inputs:
                call[spec.name] = to_stored(in_layout(inputs[spec.name][start : start + size], spec), spec)
            given = session.run_traced(call)
            for name in want:
                stored = next((name + suffix for suffix in _STORED if name + suffix in given), None)
                if stored is not None:
                    value = to_real(given[stored], specs[stored])
                    parts.setdefault(name, []).append(value.astype(np.float64))
    return {name: np.stack(values) for name, values in parts.items()}


def _sqnr(truth: np.ndarray, got: np.ndarray) -> float:
    if truth.shape != got.shape:
        return math.inf
    noise, signal = float(np.mean((truth - got) ** 2)), float(np.mean(truth**2))
    return math.inf if noise == 0 or signal == 0 else 10 * math.log10(signal / noise)


def _tflite(plain: Artifact) -> list[_Node]:
    from converters.quantise import flatbuffer

    graph = flatbuffer.describe(plain.path.read_bytes())
    return [
        _Node(
            operation.outputs[0].name,
            operation.name,
            tuple(tensor.name for tensor in operation.inputs if not tensor.constant),
            operation.outputs[0].name,
            operation.outputs[0].shape,
        )
        for operation in graph.operations
    ]


def _onnx(plain: Artifact) -> list[_Node]:
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(plain.path))
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.output)
    }
    return [
        _Node(node.name, node.op_type, tuple(node.input), node.output[0], shapes.get(node.output[0], ()))
        for node in model.graph.node
    ]


def _labels(nodes: Sequence[_Node]) -> list[str]:
    """A sigmoid whose result multiplies a map is a gate: over channels if it is a vector, else over places. One of each
    in turn is a block."""
    readers: dict[str, list[_Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    labels, block, seen = [], 0, set[str]()
    for node in nodes:
        after = readers.get(node.output, [])
        while len(after) == 1 and after[0].kind in ("RESHAPE", "Reshape", "EXPAND_DIMS", "Unsqueeze", "Transpose"):
            after = readers.get(after[0].output, [])
        gates = node.kind in ("LOGISTIC", "Sigmoid", "HARD_SWISH", "HardSigmoid")
        if not gates or not any(each.kind in ("MUL", "Mul") for each in after):
            labels.append(f"{node.kind} {node.key.rsplit(';', 1)[-1]}")
            continue
        kind = "channel gate" if sum(size > 1 for size in node.shape) <= 1 else "spatial gate"
        if kind in seen or not block:
            block, seen = block + 1, set()
        seen.add(kind)
        labels.append(f"block {block}, {kind}")
    return labels
