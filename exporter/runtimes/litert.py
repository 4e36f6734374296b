"""LiteRT (ai-edge-litert): with XNNPACK, as a phone runs a TFLite file, or with one of its own two sets of kernels."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, TensorSpec
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession

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


def _interpreter(path: Path, kernels: str, keep_all: bool = False) -> Any:
    litert = _import()
    try:
        return litert.Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=litert.OpResolverType[kernels],
            experimental_preserve_all_tensors=keep_all,
        )
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
        interpreter = _interpreter(artifact.path, self._kernels)
        try:
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise _refusal(artifact.path, error) from error
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
        (signature,) = interpreter.get_signature_list()
        self._runner = interpreter.get_signature_runner(signature)
        self._artifact, self._kernels = artifact, kernels
        self._traced: _Traced | None = None

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        # The runner resizes its inputs to what it is given, so an open batch needs no other way.
        return {name: np.array(value) for name, value in self._runner(**inputs).items()}

    def tensors(self) -> tuple[TensorSpec, ...]:
        return self._trace().specs

    def run_traced(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return self._trace().run(inputs)

    def _trace(self) -> _Traced:
        if self._traced is None:
            # XNNPACK keeps what lies inside its part of the graph to itself, so LiteRT's own kernels stand in for it.
            kernels = OPTIMISED if self._kernels == XNNPACK else self._kernels
            self._traced = _Traced(_interpreter(self._artifact.path, kernels, keep_all=True))
        return self._traced


class _Traced:
    """An interpreter that overwrites no tensor."""

    def __init__(self, interpreter: Any) -> None:
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        (signature,) = interpreter._get_full_signature_list().values()
        self._inputs: Mapping[str, int] = signature["inputs"]
        details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
        computed = [int(index) for op in interpreter._get_ops_details() for index in op["outputs"]]
        self._names: dict[int, str] = {}
        for index in dict.fromkeys(computed):
            name = details[index]["name"] if index in details else ""
            if name:  # a scratch tensor of a kernel has none
                taken = name in self._names.values()
                self._names[index] = f"{name}#{index}" if taken else name  # the format does not keep names apart
        self.specs = tuple(_spec(name, details[index]) for index, name in self._names.items())

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        interpreter = self._interpreter
        for name, index in self._inputs.items():
            interpreter.resize_tensor_input(index, inputs[name].shape)
        interpreter.allocate_tensors()
        for name, index in self._inputs.items():
            interpreter.set_tensor(index, inputs[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for index, name in self._names.items()}


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
    interpreter = _interpreter(artifact.path, OPTIMISED)
    (signature,) = interpreter._get_full_signature_list().values()
    order = []
    for details, by_name in (
        (interpreter.get_input_details(), signature["inputs"]),
        (interpreter.get_output_details(), signature["outputs"]),
    ):
        by_index = {index: name for name, index in by_name.items()}
        order.append([by_index[tensor["index"]] for tensor in details])
    return order[0], order[1]
