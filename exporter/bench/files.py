"""TFLite and ONNX files as they are: what they take, and what they are where no sidecar tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from converters.artifact import Artifact, Precision, TensorSpec, fingerprint_path, sidecar_path
from converters.errors import ModelError

SUFFIXES: Final[Mapping[str, str]] = {".tflite": "tflite", ".onnx": "onnx"}
"""Of what is taken for an artifact, to its format."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileInput:
    """One input by its place in the file: its name there, its shape with an open batch as 1, its NumPy dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def open_artifact(path: Path) -> Artifact:
    """An artifact by its sidecar or, where it has none, by what the file itself tells.

    Raises:
        ModelError: no such file, another kind of file, or one that its sidecar does not describe.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if sidecar_path(path).is_file():
        return Artifact.load(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise ModelError(f"{path}: is neither a .tflite nor an .onnx file")
    inputs, outputs, precision = _READERS[kind](path)
    sha256, size = fingerprint_path(path)
    return Artifact(path, kind, precision, inputs, outputs, sha256, size, {"provenance": {}})


def file_inputs(path: Path, format_name: str) -> list[FileInput]:
    """What is to be given to the file, in its own order.

    Raises:
        ModelError: the file cannot be read, or leaves another size open than the first.
    """
    inputs, _, _ = _READERS[format_name](path)
    given = []
    for spec in inputs:
        if None in spec.shape[1:]:
            raise ModelError(
                f"{path}: input {spec} leaves sizes open, so it cannot be timed; export it with them fixed"
            )
        given.append(FileInput(spec.name, tuple(size or 1 for size in spec.shape), spec.dtype))
    return given


Read = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Precision]


def _read_tflite(path: Path) -> Read:
    from exporter.runtimes.litert import OPTIMISED, interpreter_of

    interpreter = interpreter_of(path, OPTIMISED)
    tensors = interpreter.get_tensor_details()
    operations = interpreter._get_ops_details()
    computed = {int(index) for operation in operations for index in operation["outputs"]}
    given = {tensor["index"] for tensor in interpreter.get_input_details()}
    names = _signature_names(interpreter)
    kinds = {tensor["index"]: _dtype(tensor["dtype"]) for tensor in tensors}
    constants = [kind for index, kind in kinds.items() if index not in computed | given]
    return (
        tuple(_spec(detail, names) for detail in interpreter.get_input_details()),
        tuple(_spec(detail, names) for detail in interpreter.get_output_details()),
        _precision([kinds[index] for index in computed if index in kinds], constants),
    )


def _signature_names(interpreter: Any) -> dict[int, str]:
    """By number, what the file's one signature calls its inputs and outputs; a file need not have one."""
    signatures = list(interpreter._get_full_signature_list().values())
    if len(signatures) != 1:
        return {}
    return {index: name for part in ("inputs", "outputs") for name, index in signatures[0][part].items()}


def _spec(detail: Mapping[str, Any], names: Mapping[int, str]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    shape = tuple(None if size < 0 else int(size) for size in detail["shape_signature"])
    return TensorSpec(
        names.get(detail["index"], detail["name"]),
        shape,
        _dtype(detail["dtype"]),
        "NHWC" if len(shape) == 4 else None,
        scale=float(scale) or None,
        zero_point=int(zero_point) if scale else None,
    )


def _dtype(kind: Any) -> str:
    import numpy as np

    return str(np.dtype(kind).name)


def _read_onnx(path: Path) -> Read:
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own errors
        raise ModelError(f"{path}: is not an ONNX file") from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}

    def spec(value: Any) -> TensorSpec:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        return TensorSpec(value.name, shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)

    names = {node.op_type for node in graph.node}
    constants = [onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name for tensor in graph.initializer]
    precision = _precision([], constants)
    if names & {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"}:
        precision = Precision.DYNAMIC
    elif names & {"QuantizeLinear", "QLinearConv", "QGemm"}:
        precision = Precision.INT8
    elif precision is not Precision.FP16:
        precision = Precision.FP32
    return (
        tuple(spec(value) for value in graph.input if value.name not in weights),
        tuple(map(spec, graph.output)),
        precision,
    )


def _precision(computed: Iterable[str], constants: Iterable[str]) -> Precision:
    """By what most computed tensors are stored as, and where that is float32, by what the weights are.

    Sizes, which a graph with an open batch computes by the dozen, are no part of the model's arithmetic.
    """
    counts: dict[str, int] = {}
    for kind in computed:
        if kind not in ("int32", "int64", "bool"):
            counts[kind] = counts.get(kind, 0) + 1
    most = max(counts, key=lambda kind: counts[kind], default="float32")
    if most in ("int8", "uint8"):
        return Precision.INT8
    if most == "int16":
        return Precision.INT16X8
    stored = set(constants)
    if most == "float16" or "float16" in stored:
        return Precision.FP16
    return Precision.DYNAMIC if "int8" in stored else Precision.FP32


_READERS: Final[Mapping[str, Callable[[Path], Read]]] = {"tflite": _read_tflite, "onnx": _read_onnx}
