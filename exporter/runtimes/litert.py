"""LiteRT (ai-edge-litert): with XNNPACK, as a phone runs a TFLite file, or with one of its own two sets of kernels."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, TensorSpec
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession, Node

XNNPACK: Final = "BUILTIN"
"""The resolver that puts XNNPACK in front of every operation it can take."""

OPTIMISED: Final = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
REFERENCE: Final = "BUILTIN_REF"

_KERNELS: Final[Mapping[str, str]] = {
    XNNPACK: "XNNPACK",
    OPTIMISED: "builtin kernels, no delegate",
    REFERENCE: "reference kernels",
}


def _import() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"ai-edge-litert cannot be imported ({error}); pip install ai-edge-litert"
        ) from error
    return interpreter


def interpreter_of(path: Path, kernels: str, keep_all: bool = False) -> Any:
    """LiteRT's interpreter of a file, its tensors not yet allocated; with `keep_all` it overwrites none of them.

    Raises:
        ConversionError: LiteRT refuses the file.
        RuntimeUnavailableError: LiteRT is not installed, or has not got what the file needs.
    """
    litert = _import()
    try:
        return litert.Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=litert.OpResolverType[kernels],
            experimental_preserve_all_tensors=keep_all,
        )
    except (ValueError, RuntimeError) as error:
        raise _refusal(path, error) from error


def allocate(interpreter: Any, path: Path) -> None:
    """Plan the memory of a file's interpreter, and with XNNPACK its partitions.

    Raises:
        ConversionError: LiteRT or XNNPACK refuses the file.
        RuntimeUnavailableError: LiteRT has not got what the file needs.
    """
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> ConversionError | RuntimeUnavailableError:
    text = " ".join(str(error).split())[:300]
    if "Select TensorFlow op" in text:
        # TensorFlow 2.21's own interpreter has not got them either; there is no package that brings them.
        return RuntimeUnavailableError(
            f"{path.name}: holds TensorFlow (Flex) operations, which no TFLite runtime for Python has "
            f"built in, so it can be neither opened nor verified here; --no-verify writes it all the same"
        )
    return ConversionError(f"{path.name}: LiteRT refuses it: {text}")


class LiteRT:
    """LiteRT in this process, with one set of kernels: XNNPACK, OPTIMISED or REFERENCE."""

    def __init__(self, kernels: str = XNNPACK) -> None:
        self._kernels = kernels

    def version(self) -> str:
        _import()
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"

    def open(self, artifact: Artifact) -> LiteRTSession:
        interpreter = interpreter_of(artifact.path, self._kernels)
        allocate(interpreter, artifact.path)
        session = LiteRTSession(interpreter, artifact, self._kernels, f"{self.version()} ({_KERNELS[self._kernels]})")
        if self._kernels == XNNPACK and all(None not in spec.shape for spec in artifact.inputs):
            session.facts = {"undelegated": undelegated(interpreter)}
        return session


def undelegated(interpreter: Any) -> int:
    """How many operations of an allocated interpreter no delegate took: their results have memory of their own."""
    operations = interpreter._get_ops_details()
    delegates = [each for each in operations if each["op_name"] == "DELEGATE" or each["op_name"].startswith("TfLite")]
    given = {int(index) for each in delegates for index in each["outputs"]}
    count = 0
    for each in operations:
        results = {int(index) for index in each["outputs"]} - given
        if each in delegates or not results:
            continue
        try:
            for index in results:
                interpreter.get_tensor(index)
        except ValueError:  # no memory: it lies inside of what a delegate computes
            continue
        count += 1
    return count


class LiteRTSession(ClosingSession):
    """A session that is `Traceable` too."""

    def __init__(self, interpreter: Any, artifact: Artifact, kernels: str, description: str) -> None:
        self.description = description
        signatures = list(interpreter.get_signature_list())
        _check_one(signatures)
        self._runner = interpreter.get_signature_runner(signatures[0]) if signatures else _Unsigned(interpreter)
        self._artifact, self._kernels = artifact, kernels
        self._traced: _Traced | None = None

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        # The runner resizes its inputs to what it is given, so an open batch needs no other way.
        try:
            return {name: np.array(value) for name, value in self._runner(**inputs).items()}
        except (ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())[:300]
            raise ConversionError(f"{self._artifact.path.name}: LiteRT fails on it: {text}") from error

    def tensors(self) -> tuple[TensorSpec, ...]:
        return self._trace().specs

    def nodes(self) -> tuple[Node, ...]:
        return self._trace().nodes

    def run_traced(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return self._trace().run(inputs)

    def _trace(self) -> _Traced:
        if self._traced is None:
            # XNNPACK keeps what lies inside its part of the graph to itself, so LiteRT's own kernels stand in for it.
            kernels = OPTIMISED if self._kernels == XNNPACK else self._kernels
            self._traced = _Traced(interpreter_of(self._artifact.path, kernels, keep_all=True))
        return self._traced


class _Unsigned:
    """Runs a file without a signature, as older converters and those of other frameworks write it."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._inputs, self._outputs = _ends(interpreter)

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        _invoke(self._interpreter, self._inputs, inputs)
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def _invoke(interpreter: Any, places: Mapping[str, int], inputs: Mapping[str, np.ndarray]) -> None:
    """Run once, in the sizes that the inputs have."""
    for name, index in places.items():
        interpreter.resize_tensor_input(index, inputs[name].shape)
    interpreter.allocate_tensors()
    for name, index in places.items():
        interpreter.set_tensor(index, inputs[name])
    interpreter.invoke()


def _check_one(signatures: Sequence[str]) -> None:
    if len(signatures) > 1:
        names = ", ".join(map(repr, signatures))
        raise ConversionError(f"it has {len(signatures)} signatures, {names}; a file with one is expected")


def _ends(interpreter: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs, name to tensor: the signature's names, or without one the tensors' own."""
    signatures = interpreter._get_full_signature_list()
    _check_one(list(signatures))
    if signatures:
        (signature,) = signatures.values()
        return dict(signature["inputs"]), dict(signature["outputs"])
    details = interpreter.get_input_details(), interpreter.get_output_details()
    inputs, outputs = ({tensor["name"]: tensor["index"] for tensor in each} for each in details)
    return inputs, outputs


class _Traced:
    """An interpreter that overwrites no tensor."""

    def __init__(self, interpreter: Any) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._inputs: Mapping[str, int] = _ends(interpreter)[0]
        details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        operations = interpreter._get_ops_details()
        computed = [int(index) for op in operations for index in op["outputs"]]
        self._names: dict[int, str] = {}
        for index in dict.fromkeys(computed):
            name = details[index]["name"] if index in details else ""
            if name:  # a scratch tensor of a kernel has none
                taken = name in self._names.values()
                self._names[index] = f"{name}#{index}" if taken else name  # the format does not keep names apart
        self.specs = tuple(_spec(name, details[index]) for index, name in self._names.items())
        known = {index: name for name, index in self._inputs.items()} | self._names
        self.nodes = tuple(
            Node(op["op_name"], _named(op["inputs"], known), _named(op["outputs"], known)) for op in operations
        )

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        _invoke(self._interpreter, self._inputs, inputs)
        return {name: self._interpreter.get_tensor(index) for index, name in self._names.items()}


def _named(indices: Any, known: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(known[index] for index in indices if index in known)


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    return TensorSpec(
        name,
        tuple(None if size < 0 else int(size) for size in detail["shape_signature"]),
        np.dtype(detail["dtype"]).name,
        scale=float(scale) or None,
        zero_point=int(zero_point) if scale else None,
    )


def names_in_file_order(artifact: Artifact) -> tuple[list[str], list[str]]:
    """Names of a TFLite file's inputs and outputs in the order of its tensors, for runtimes that know only that.

    Raises:
        ConversionError: LiteRT cannot read the file.
        RuntimeUnavailableError: LiteRT is not installed.
    """
    interpreter = interpreter_of(artifact.path, OPTIMISED)
    order = []
    for details, by_name in zip(
        (interpreter.get_input_details(), interpreter.get_output_details()), _ends(interpreter), strict=True
    ):
        by_index = {index: name for name, index in by_name.items()}
        order.append([by_index[tensor["index"]] for tensor in details])
    return order[0], order[1]


def describe(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Precision]:
    """Inputs, outputs and precision of a TFLite file, in the order of its tensors, as the file itself tells them.

    Raises:
        ConversionError: LiteRT cannot read the file.
        RuntimeUnavailableError: LiteRT is not installed.
    """
    interpreter = interpreter_of(path, OPTIMISED)
    specs = []
    for details, by_name in zip(
        (interpreter.get_input_details(), interpreter.get_output_details()), _ends(interpreter), strict=True
    ):
        by_index = {index: name for name, index in by_name.items()}
        specs.append(
            tuple(_spec(by_index[tensor["index"]], tensor) for tensor in details if tensor["index"] in by_index)
        )
    return specs[0], specs[1], _precision(interpreter)


def _precision(interpreter: Any) -> Precision:
    """By the types of what is computed and of the constants."""
    computed = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    ends = {tensor["index"] for tensor in interpreter.get_input_details()}
    inner: set[str] = set()
    constants: set[str] = set()
    for tensor in interpreter.get_tensor_details():
        kind = np.dtype(tensor["dtype"]).name
        scaled = bool(tensor["quantization_parameters"]["scales"].size)
        if kind.startswith("float") or scaled:
            (inner if tensor["index"] in computed | ends else constants).add(kind)
    if "int16" in inner:
        return Precision.INT16X8
    if "int8" in inner or "uint8" in inner:
        return Precision.INT8
    if "int8" in constants:
        return Precision.DYNAMIC
    return Precision.FP16 if "float16" in constants | inner else Precision.FP32
