"""LiteRT (ai-edge-litert) with the XNNPACK delegate, as a phone runs a TFLite file."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.artifact import Artifact
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession


def _interpreter() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"ai-edge-litert cannot be imported ({error}); pip install ai-edge-litert"
        ) from error
    return interpreter


class LiteRT:
    """The built-in operation resolver, which puts XNNPACK in front of every operation it can take."""

    def version(self) -> str:
        import importlib.metadata

        _interpreter()
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"

    def open(self, artifact: Artifact) -> LiteRTSession:
        litert = _interpreter()
        try:
            interpreter = litert.Interpreter(
                model_path=str(artifact.path), experimental_op_resolver_type=litert.OpResolverType.BUILTIN
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            text = " ".join(str(error).split())[:300]
            if "Select TensorFlow op" in text:
                # TensorFlow 2.21's own interpreter has not got them either; there is no package that brings them.
                raise RuntimeUnavailableError(
                    f"{artifact.path.name}: holds TensorFlow (Flex) operations, which no TFLite runtime for Python has "
                    f"built in, so it can be neither opened nor verified here; --no-verify writes it all the same"
                ) from error
            raise ConversionError(f"{artifact.path.name}: LiteRT refuses it: {text}") from error
        return LiteRTSession(interpreter, f"{self.version()} (XNNPACK)")


class LiteRTSession(ClosingSession):
    def __init__(self, interpreter: Any, description: str) -> None:
        self.description = description
        (signature,) = interpreter.get_signature_list()
        self._runner = interpreter.get_signature_runner(signature)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        # The runner resizes its inputs to what it is given, so an open batch needs no other way.
        return {name: np.array(value) for name, value in self._runner(**inputs).items()}
