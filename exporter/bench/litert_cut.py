"""Cuts operations out of a TFLite file: each set becomes a file of its own, with the same weights and scales."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from exporter.bench.files import file_inputs
from exporter.bench.timing import random_values
from exporter.runtimes.litert import OPTIMISED, interpreter_of

_IDENTIFIER: Final = b"TFL3"


class Cutter:
    """One TFLite file, run once, so that the true size and value of every tensor is known."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema = schema
        self._model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
        self._values = _run_once(path)

    def value(self, tensor: int) -> np.ndarray:
        """What that tensor was in the run."""
        return self._values[tensor]

    def cut(self, operations: Iterable[int], model: Path, values: Path) -> None:
        """Write a file of these operations alone, and the arrays to run it on, by the number of its inputs.

        Its inputs are what the operations take and do not make, weights aside; its outputs are what they make and
        others take, or the model gives. All sizes are fixed to those of one run.
        """
        graph = self._model.subgraphs[0]
        chosen = sorted(set(operations))
        kept = [graph.operators[place] for place in chosen]
        made = {int(index) for operator in kept for index in operator.outputs}
        taken = dict.fromkeys(int(index) for operator in kept for index in operator.inputs if index >= 0)
        rest = (operator for place, operator in enumerate(graph.operators) if place not in set(chosen))
        elsewhere = {int(index) for operator in rest for index in operator.inputs} | set(map(int, graph.outputs))
        inputs = [index for index in taken if index not in made and index in self._values]
        outputs = [index for index in sorted(made) if index in elsewhere]
        part = _Part(self._schema, self._model)
        for index in (*taken, *sorted(made)):
            value = self._values.get(index)
            part.add(index, None if value is None else value.shape)
        model.write_bytes(part.packed(kept, inputs, outputs))
        np.savez(values, allow_pickle=False, **{str(at): self._values[index] for at, index in enumerate(inputs)})


class _Part:
    """A model with one subgraph, made of tensors and operations of another."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema, self._whole = schema, model
        self._numbers: dict[int, int] = {}
        self._tensors: list[Any] = []
        self._buffers = [schema.BufferT()]  # number 0 stands for no data

    def add(self, index: int, shape: tuple[int, ...] | None) -> None:
        """A tensor of the whole model; of that shape, if it is one that is computed or given."""
        if index in self._numbers:
            return
        tensor = copy.copy(self._whole.subgraphs[0].tensors[index])
        data = self._whole.buffers[tensor.buffer].data
        tensor.buffer = 0
        if data is not None and len(data):
            tensor.buffer = len(self._buffers)
            self._buffers.append(self._whole.buffers[self._whole.subgraphs[0].tensors[index].buffer])
        if shape is not None:
            tensor.shape, tensor.shapeSignature = list(shape), None
        self._numbers[index] = len(self._tensors)
        self._tensors.append(tensor)

    def packed(self, operators: list[Any], inputs: list[int], outputs: list[int]) -> bytes:
        import flatbuffers

        graph = self._schema.SubGraphT()
        graph.tensors = self._tensors
        graph.inputs, graph.outputs = self._renumbered(inputs), self._renumbered(outputs)
        graph.operators = []
        for operator in operators:
            again = copy.copy(operator)
            again.inputs, again.outputs = self._renumbered(operator.inputs), self._renumbered(operator.outputs)
            again.intermediates = None
            graph.operators.append(again)
        model = self._schema.ModelT()
        model.version, model.operatorCodes = self._whole.version, self._whole.operatorCodes
        model.subgraphs, model.buffers = [graph], self._buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _renumbered(self, indices: Iterable[int]) -> list[int]:
        return [self._numbers[int(index)] if index >= 0 else -1 for index in indices]


def _run_once(path: Path) -> dict[int, np.ndarray]:
    """The value of every tensor that the file computes or is given, by number."""
    interpreter = interpreter_of(path, OPTIMISED, keep_all=True)
    given = [int(detail["index"]) for detail in interpreter.get_input_details()]
    arrays = random_values(file_inputs(path, "tflite"))
    for index, value in zip(given, arrays, strict=True):
        interpreter.resize_tensor_input(index, value.shape)
    interpreter.allocate_tensors()
    for index, value in zip(given, arrays, strict=True):
        interpreter.set_tensor(index, value)
    interpreter.invoke()
    computed = (int(index) for operation in interpreter._get_ops_details() for index in operation["outputs"])
    return {index: interpreter.get_tensor(index) for index in (*given, *computed)}
