"""The arithmetic of an ONNX file, told from its operators and the types of its constants, without the onnx package.

A device that runs ONNX files has ONNX Runtime, which does not tell; so the protobuf is read here as far as that needs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from converters.artifact import Precision
from converters.errors import ModelError

# Field numbers of onnx.proto3.
_MODEL_GRAPH: Final = 7
_GRAPH_NODE: Final = 1
_GRAPH_INITIALIZER: Final = 5
_NODE_OPERATOR: Final = 4
_TENSOR_TYPE: Final = 2
_TENSOR_SIZES: Final = 1
_FLOAT: Final = 1
_FLOAT16: Final = 10
_BYTES_OF_WEIGHTS: Final = (2, 3)  # uint8, int8

_DYNAMIC: Final = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def precision_of(data: bytes) -> Precision:
    """What an ONNX file computes in: dynamic, int8, fp16 or fp32.

    One pair of QuantizeLinear and DequantizeLinear, at an input say, makes no quantised file, nor does one constant of
    half precision: either would be judged less strictly.

    Raises:
        ModelError: it is no protobuf.
    """
    operators: list[str] = []
    numbers = {_FLOAT: 0, _FLOAT16: 0}
    matrices = False
    try:
        for graph in _fields(data, _MODEL_GRAPH):
            for node in _fields(graph, _GRAPH_NODE):
                operators += [bytes(name).decode() for name in _fields(node, _NODE_OPERATOR)]
            for tensor in _fields(graph, _GRAPH_INITIALIZER):
                (kind, *_), sizes = (*_numbers(tensor, _TENSOR_TYPE), 0), _sizes(tensor)
                if kind in numbers:
                    numbers[kind] += math.prod(sizes)
                matrices = matrices or (kind in _BYTES_OF_WEIGHTS and len(sizes) > 1)
    except (IndexError, ValueError) as error:
        raise ModelError(f"the file is no ONNX model ({error})") from error
    if _DYNAMIC.intersection(operators):
        return Precision.DYNAMIC
    quantised = operators.count("QuantizeLinear") > (0 if matrices else 1)
    if quantised or any(name.startswith("QLinear") for name in operators):
        return Precision.INT8
    return Precision.FP16 if numbers[_FLOAT16] > numbers[_FLOAT] else Precision.FP32


def _sizes(tensor: memoryview) -> list[int]:
    """Of a tensor: one field a size, or all in one."""
    found: list[int] = []
    for number, value in _walk(tensor):
        if number == _TENSOR_SIZES and isinstance(value, int):
            found.append(value)
        elif number == _TENSOR_SIZES and not isinstance(value, int):
            at = 0
            while at < len(value):
                size, at = _varint(value, at)
                found.append(size)
    return found


def _fields(data: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """The messages and strings of one field number."""
    for number, value in _walk(memoryview(data)):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _numbers(data: memoryview, wanted: int) -> set[int]:
    return {value for number, value in _walk(data) if number == wanted and isinstance(value, int)}


def _walk(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field is longer than the file")
            yield number, data[at : at + size]
            at += size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
