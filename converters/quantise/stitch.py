"""Two quantised forms of one float file, int8 and int16x8 -> one: int8 with an island of int16 in it.

TensorFlow's quantisers write one width of activations per file. Both of its forms have the operations of the float
file under the same names, so those of the island can be taken from the one and all others from the other, with
QUANTIZE where a tensor passes from 8 bits to 16 or back. Every runtime that has kernels for both runs that.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.errors import ConversionError
from converters.quantise import flatbuffer


def stitch(narrow: bytes, wide: bytes, names: Sequence[str]) -> bytes:
    """The file in int8 with some operations in int16.

    Args:
        narrow: the int8 file; its inputs and outputs stay as they are.
        wide: the int16x8 file of the same float file.
        names: of the tensors that these operations give.

    Raises:
        ConversionError: the two files do not correspond.
    """
    made = _Stitched(flatbuffer.read(narrow), flatbuffer.read(wide))
    return made.file(set(names))


class _Stitched:
    def __init__(self, narrow: Any, wide: Any) -> None:
        self.model, self.other = narrow, wide
        self.graph, self.wide = narrow.subgraphs[0], wide.subgraphs[0]
        self.makers = {int(op.outputs[0]): op for op in self.wide.operators}
        names = flatbuffer.tensor_names(self.wide)
        self.by_name = {names[place]: op for place, op in self.makers.items()}
        self.in_wide: dict[int, int] = {}  # of a narrow tensor: the one of 16 bits with the same values
        self.converted: dict[tuple[int, float], int] = {}
        self.operations: list[Any] = []

    def file(self, names: set[str]) -> bytes:
        own = dict(enumerate(flatbuffer.tensor_names(self.graph)))
        outputs = {int(index) for index in self.graph.outputs}
        last = [op for op in self.graph.operators if self._converts(op) and int(op.outputs[0]) in outputs]
        for operation in last:  # the output's name is then that of the conversion, not of what computes it
            own[int(operation.inputs[0])] = own.pop(int(operation.outputs[0]))
        # To float it reads 16 bits; to uint8 there is no kernel but from int8.
        last = [op for op in last if flatbuffer.operation_name(self.model, op) == "DEQUANTIZE"]
        island = [own.get(int(op.outputs[0])) in names for op in self.graph.operators]
        taken = {int(op.outputs[0]) for op, kept in zip(self.graph.operators, island, strict=True) if kept}
        read_narrow = set(outputs)
        for operation, kept in zip(self.graph.operators, island, strict=True):
            if not kept and operation not in last:
                read_narrow |= {int(index) for index in operation.inputs}
        for operation, kept in zip(self.graph.operators, island, strict=True):
            if kept:
                self._take(operation, own[int(operation.outputs[0])], read_narrow)
            elif operation in last and int(operation.inputs[0]) in taken:
                operation.inputs = np.array([self.in_wide[int(operation.inputs[0])]], np.int32)
                self.operations.append(operation)
            else:
                self.operations.append(operation)
        self.graph.operators = self.operations
        flatbuffer.drop_unread(self.model)
        return flatbuffer.write(self.model)

    def _converts(self, operation: Any) -> bool:
        return flatbuffer.operation_name(self.model, operation) in ("QUANTIZE", "DEQUANTIZE")

    def _take(self, operation: Any, name: str, read_narrow: set[int]) -> None:
        """Put the operation of the wide file in the place of this one."""
        like = self.by_name.get(name)
        kind = flatbuffer.operation_name(self.model, operation)
        if like is None or flatbuffer.operation_name(self.other, like) != kind or len(like.outputs) != 1:
            raise ConversionError(f"{kind} {name!r} is not in the int16x8 form of the file; it cannot be kept in int16")
        new = copy.copy(like)
        new.opcodeIndex = self._code(like)
        places = list(map(int, operation.inputs))
        inputs = [
            self._input(places[at] if at < len(places) else -1, int(index)) for at, index in enumerate(like.inputs)
        ]
        target = int(operation.outputs[0])
        self.in_wide[target] = self._copied(int(like.outputs[0]))
        new.inputs, new.outputs = np.array(inputs, np.int32), np.array([self.in_wide[target]], np.int32)
        self.operations.append(new)
        if target in read_narrow:
            self._convert(self.in_wide[target], target)

    def _input(self, narrow: int, index: int) -> int:
        """The tensor to read where the wide file's operation reads `index` and the narrow one's reads `narrow`."""
        if index < 0:
            return index
        tensor = self.wide.tensors[index]
        if self._data(self.other, tensor) is not None:
            same = narrow >= 0 and self._alike(self.graph.tensors[narrow], tensor)
            return narrow if same else self._copied(index)
        if tensor.type != schema.TensorType.INT16:
            return narrow
        scale = float(tensor.quantization.scale[0])
        if narrow in self.in_wide:
            narrow = self.in_wide[narrow]
            if float(self.graph.tensors[narrow].quantization.scale[0]) == scale:
                return narrow
        if (narrow, scale) not in self.converted:
            self.converted[narrow, scale] = self._copied(index)
            self._convert(narrow, self.converted[narrow, scale])
        return self.converted[narrow, scale]

    def _convert(self, source: int, target: int) -> None:
        operation = schema.OperatorT()
        operation.opcodeIndex = flatbuffer.operator_code(self.model, "QUANTIZE")
        operation.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
        operation.builtinOptions = schema.QuantizeOptionsT()
        operation.inputs, operation.outputs = np.array([source], np.int32), np.array([target], np.int32)
        self.operations.append(operation)

    def _copied(self, index: int) -> int:
        """A tensor of the wide file, with its values, as one of the narrow file."""
        tensor = copy.copy(self.wide.tensors[index])
        tensor.name = (tensor.name or b"") + b"/int16"
        buffer = schema.BufferT()
        buffer.data = self._data(self.other, tensor)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _code(self, operation: Any) -> int:
        """The place of the wide operation's code: versions differ by the types that an operation takes."""
        code = self.other.operatorCodes[operation.opcodeIndex]
        for place, own in enumerate(self.model.operatorCodes):
            if (own.builtinCode, own.deprecatedBuiltinCode, own.version) == (
                code.builtinCode,
                code.deprecatedBuiltinCode,
                code.version,
            ):
                return place
        self.model.operatorCodes.append(copy.copy(code))
        return len(self.model.operatorCodes) - 1

    def _alike(self, first: Any, second: Any) -> bool:
        """Whether two constants have the same values and scales, so that one of them is enough."""
        pairs = [
            (np.asarray(self._data(model, tensor)), np.asarray(tensor.quantization and tensor.quantization.scale))
            for model, tensor in ((self.model, first), (self.other, second))
        ]
        equal = all(np.array_equal(one, two) for one, two in zip(*pairs, strict=True))
        return equal and bool(first.type == second.type)

    @staticmethod
    def _data(model: Any, tensor: Any) -> Any:
        data = model.buffers[tensor.buffer].data
        return data if data is not None and len(data) else None
