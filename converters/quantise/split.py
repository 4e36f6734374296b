"""A convolution over concatenated pooled maps -> one convolution a map, added: the same numbers, and a scale for each.

CONCATENATION has one scale for its inputs and its output in int8, and REDUCE_MAX one for its input and its output. So
the spatial gate's stack of a maximum and a mean forces the scale of the pooled maps on the map that is pooled, whose
negative values are then clipped. Without the stack nothing is forced: conv([a, b], [v, w]) = conv(a, v) + conv(b, w).
"""

from __future__ import annotations

import copy
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.quantise import flatbuffer

_POOLS: Final = ("REDUCE_MAX", "MEAN", "SUM", "REDUCE_MIN")


def split_pools(content: bytes) -> bytes | None:
    """A float file with every such convolution split; None where it has none."""
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    names = [flatbuffer.operation_name(model, operation) for operation in graph.operators]
    found = [pair for pair in (_pattern(graph, names, at) for at in range(len(names))) if pair]
    if not found:
        return None
    for concatenation, convolution in found:
        _split(model, concatenation, convolution)
    flatbuffer.drop_unused_codes(model)
    return flatbuffer.write(model)


def _pattern(graph: Any, names: list[str], at: int) -> tuple[Any, Any] | None:
    """The concatenation of pooled maps that the convolution at this place reads, and the convolution."""
    convolution = graph.operators[at]
    if names[at] != "CONV_2D":
        return None
    makers = {int(op.outputs[0]): place for place, op in enumerate(graph.operators)}
    source = int(convolution.inputs[0])
    place = makers.get(source)
    if place is None or names[place] != "CONCATENATION" or source in map(int, graph.outputs):
        return None
    concatenation = graph.operators[place]
    readers = sum(source in map(int, op.inputs) for op in graph.operators)
    last = len(graph.tensors[source].shape) - 1
    pooled = all(names[makers[int(i)]] in (*_POOLS, "RESHAPE") for i in concatenation.inputs if int(i) in makers)
    known = all(int(index) in makers for index in concatenation.inputs)
    options = concatenation.builtinOptions
    plain = options.axis in (-1, last) and not options.fusedActivationFunction
    return (concatenation, convolution) if readers == 1 and pooled and known and plain else None


def _split(model: Any, concatenation: Any, convolution: Any) -> None:
    graph = model.subgraphs[0]
    kernel_at = int(convolution.inputs[1])
    kernel = flatbuffer.constant_values(model)[flatbuffer.tensor_names(graph)[kernel_at]]
    result = int(convolution.outputs[0])
    activation = convolution.builtinOptions.fusedActivationFunction
    bias = [int(index) for index in convolution.inputs[2:] if int(index) >= 0]
    parts, operations, first = [], [], 0
    for place, index in enumerate(map(int, concatenation.inputs)):
        channels = int(graph.tensors[index].shape[-1])
        part = np.ascontiguousarray(kernel[..., first : first + channels])
        first += channels
        operation = copy.copy(convolution)
        operation.builtinOptions = copy.copy(convolution.builtinOptions)
        operation.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        weights = flatbuffer.add_tensor(model, kernel_at, f"/part{place}", part)
        # The bias goes to one part. A convolution without one has to have it all the same, of zeros.
        zeros = np.zeros(kernel.shape[0], np.float32)
        own = bias if place == 0 and bias else [flatbuffer.add_tensor(model, kernel_at, f"/bias{place}", zeros)]
        output = flatbuffer.add_tensor(model, result, f"/part{place}", None)
        operation.inputs = np.array([index, weights, *own], np.int32)
        operation.outputs = np.array([output], np.int32)
        operations.append(operation)
        parts.append(output)
    total = parts[0]
    for place, addend in enumerate(parts[1:], 1):
        last = place == len(parts) - 1
        options = schema.AddOptionsT()
        options.fusedActivationFunction = activation if last else schema.ActivationFunctionType.NONE
        added = schema.OperatorT()
        added.opcodeIndex = flatbuffer.operator_code(model, "ADD")
        added.builtinOptionsType, added.builtinOptions = schema.BuiltinOptions.AddOptions, options
        output = result if last else flatbuffer.add_tensor(model, result, f"/sum{place}", None)
        added.inputs, added.outputs = np.array([total, addend], np.int32), np.array([output], np.int32)
        operations.append(added)
        total = output
    at = next(place for place, op in enumerate(graph.operators) if op is convolution)
    graph.operators[at : at + 1] = operations
    graph.operators = [op for op in graph.operators if op is not concatenation]
