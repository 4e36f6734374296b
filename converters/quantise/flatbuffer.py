"""A TFLite flatbuffer as objects: read, given ranges to quantise by, written back, and described."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.artifact import TensorSpec
from converters.errors import ConversionError, ModelError

Ranges = Mapping[str, tuple[float, float]]

IDENTIFIER: Final = b"TFL3"

_TYPES: Final = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
_OPERATIONS: Final = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the graph.

    Attributes:
        name: unique: the file's own, with `#index` behind it where another tensor bears it too.
        dtype: NumPy's name of the stored type.
        constant: whether its values stand in the file.
        scales, zero_points: one, or one a channel; empty if it is not quantised.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its name in TFLite's schema, and the tensors it reads and writes."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Graph:
    """What a file holds, in the order of computation."""

    operations: tuple[Operation, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def computed(self) -> Iterator[Tensor]:
        """The graph's inputs, then what each operation gives."""
        yield from self.inputs
        for operation in self.operations:
            yield from operation.outputs


def read(content: bytes) -> Any:
    """The model as objects of the schema (`ModelT`).

    Raises:
        ConversionError: not a TFLite flatbuffer.
        ModelError: one of several graphs (loops and branches).
    """
    if content[4:8] != IDENTIFIER:
        raise ConversionError("not a TFLite flatbuffer")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"the model has {len(model.subgraphs)} graphs (loops or branches); only one of a single graph is quantised"
        )
    return model


def write(model: Any) -> bytes:
    """The flatbuffer of a `ModelT`."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def describe(content: bytes) -> Graph:
    """The graph of a file, with names that tell its tensors apart. Errors as `read`."""
    return described(read(content))


def described(model: Any) -> Graph:
    """The graph of a `ModelT`."""
    graph = model.subgraphs[0]
    names = tensor_names(graph)
    tensors = [_tensor(model, tensor, name) for tensor, name in zip(graph.tensors, names, strict=True)]
    at = dict(enumerate(tensors))

    def pick(places: Any) -> tuple[Tensor, ...]:
        return tuple(at[int(place)] for place in places if int(place) in at)  # -1 stands for an input left out

    operations = tuple(
        Operation(_operation(model.operatorCodes[op.opcodeIndex]), pick(op.inputs), pick(op.outputs))
        for op in graph.operators
    )
    return Graph(operations, pick(graph.inputs), pick(graph.outputs))


def tensor_names(graph: Any) -> list[str]:
    """Unique names in the order of the tensors; those of computed ones are what `Traceable` of LiteRT calls them."""
    computed = [int(index) for operation in graph.operators for index in operation.outputs]
    taken: set[str] = set()
    names: dict[int, str] = {}
    for index in dict.fromkeys([*computed, *range(len(graph.tensors))]):
        name = (graph.tensors[index].name or b"").decode()
        names[index] = f"{name}#{index}" if name in taken else name
        taken.add(names[index])
    return [names[index] for index in range(len(graph.tensors))]


def signature_inputs(model: Any) -> dict[str, str]:
    """The tensor behind each input name of a `ModelT`'s signature."""
    names = tensor_names(model.subgraphs[0])
    return {entry.name.decode(): names[entry.tensorIndex] for entry in model.signatureDefs[0].inputs}


def set_ranges(model: Any, ranges: Ranges) -> None:
    """Record the smallest and largest value of tensors, which TensorFlow's quantiser then takes for calibrated ones.

    Raises:
        ConversionError: a name that the model has not.
    """
    graph = model.subgraphs[0]
    at = {name: index for index, name in enumerate(tensor_names(graph))}
    for name, (low, high) in ranges.items():
        if name not in at:
            raise ConversionError(f"the model has no tensor {name!r} to set a range of")
        parameters = schema.QuantizationParametersT()
        parameters.min, parameters.max = np.array([low], np.float32), np.array([high], np.float32)
        graph.tensors[at[name]].quantization = parameters


def signature_specs(content: bytes, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Any:
    """Inputs and outputs as the file's signature declares them, scales included, in the model's order.

    Args:
        inputs, outputs: of the model, for names, order and layouts.
    """
    model = read(content)
    signature, graph = model.signatureDefs[0], model.subgraphs[0]

    def spec(entries: Any, of: TensorSpec) -> TensorSpec:
        (index,) = [entry.tensorIndex for entry in entries if entry.name.decode() == of.name]
        tensor = graph.tensors[index]
        sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
        found = _tensor(model, tensor, of.name)
        return TensorSpec(
            of.name,
            tuple(None if size < 0 else int(size) for size in sizes) if sizes is not None else (),
            found.dtype,
            of.layout,
            found.scales[0] if found.scales else None,
            found.zero_points[0] if found.scales else None,
        )

    return (
        tuple(spec(signature.inputs, each) for each in inputs),
        tuple(spec(signature.outputs, each) for each in outputs),
    )


def operation_name(model: Any, operation: Any) -> str:
    """What the schema calls an operation of a `ModelT`."""
    return _operation(model.operatorCodes[operation.opcodeIndex])


def operator_code(model: Any, name: str) -> int:
    """The place of an operation's code in a `ModelT`, which it is added to if it is not there."""
    for place, code in enumerate(model.operatorCodes):
        if _operation(code) == name:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def drop_unused_codes(model: Any) -> None:
    """Take out of a `ModelT` the codes that no operation has: TensorFlow's int16 quantiser refuses such a file."""
    used = sorted({operation.opcodeIndex for graph in model.subgraphs for operation in graph.operators})
    new = {old: place for place, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[old] for old in used]
    for graph in model.subgraphs:
        for operation in graph.operators:
            operation.opcodeIndex = new[operation.opcodeIndex]


def drop_unread(model: Any) -> None:
    """Take out of a `ModelT` the tensors that no operation, input or output has, and empty their buffers."""
    graph = model.subgraphs[0]
    used = {int(index) for op in graph.operators for index in (*op.inputs, *op.outputs)}
    used |= {int(index) for index in (*graph.inputs, *graph.outputs)}
    used |= {entry.tensorIndex for each in model.signatureDefs or () for entry in (*each.inputs, *each.outputs)}
    new = {old: place for place, old in enumerate(sorted(used - {-1}))} | {-1: -1}
    held = {graph.tensors[index].buffer for index in new if index >= 0}
    for index, tensor in enumerate(graph.tensors):
        if index not in new and tensor.buffer not in held:
            model.buffers[tensor.buffer].data = None
    graph.tensors = [graph.tensors[index] for index in new if index >= 0]
    for op in graph.operators:
        op.inputs = np.array([new[int(index)] for index in op.inputs], np.int32)
        op.outputs = np.array([new[int(index)] for index in op.outputs], np.int32)
    graph.inputs = np.array([new[int(index)] for index in graph.inputs], np.int32)
    graph.outputs = np.array([new[int(index)] for index in graph.outputs], np.int32)
    for each in model.signatureDefs or ():
        for entry in (*each.inputs, *each.outputs):
            entry.tensorIndex = new[entry.tensorIndex]
    drop_unused_codes(model)


def add_tensor(model: Any, like: int, suffix: str, values: np.ndarray | None) -> int:
    """Add a float32 tensor to a `ModelT` and give its place.

    Args:
        like: the tensor whose name it takes, with `suffix`; and whose shape, if it is no constant.
        values: of a constant, else None.
    """
    graph = model.subgraphs[0]
    tensor = copy.copy(graph.tensors[like])
    tensor.name = (tensor.name or b"") + suffix.encode()
    buffer = schema.BufferT()
    if values is not None:
        buffer.data = np.frombuffer(np.ascontiguousarray(values, "<f4").tobytes(), np.uint8)
        tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def constant_values(model: Any) -> dict[str, np.ndarray]:
    """The float32 constants of a `ModelT` by name (weights and biases, before it is quantised)."""
    graph = model.subgraphs[0]
    found = {}
    for name, tensor in zip(tensor_names(graph), graph.tensors, strict=True):
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.FLOAT32 and data is not None and len(data):
            found[name] = np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<f4").reshape(tensor.shape)
    return found


def _operation(code: Any) -> str:
    if code.customCode:
        return str(code.customCode.decode())
    # Files of before TFLite 2.4 have the code in the older, narrower field.
    name: str = _OPERATIONS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return name


def _tensor(model: Any, tensor: Any, name: str) -> Tensor:
    quantised = tensor.quantization
    scales = () if quantised is None or quantised.scale is None else tuple(map(float, quantised.scale))
    zeros = () if not scales or quantised.zeroPoint is None else tuple(map(int, quantised.zeroPoint))
    data = model.buffers[tensor.buffer].data
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    constant = data is not None and len(data) > 0
    return Tensor(name, shape, _TYPES[tensor.type], constant, scales, zeros or (0,) * len(scales))
