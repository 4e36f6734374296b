"""The formats as a table: adding one is a row here and the module it names. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.artifact import Precision
from converters.deploy.targets import Target


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """One row.

    Attributes:
        name: what a user types after --format.
        suffix: of the file; empty for a folder.
        precisions: what it can be written in; the first is the default.
        converter: "module:function" of (TracedModel, Path, ConversionSettings) -> (inputs, outputs).
        runtime: the row of RUNTIMES that checks and verifies it by default.
        summary: one line for help and README.
        targets: by precision, what a model is lowered for (`converters.deploy.targets`); of several forms the one
            that loses least by quantisation is taken. None: it is not lowered.
    """

    name: str
    suffix: str
    precisions: tuple[Precision, ...]
    converter: str
    runtime: str
    summary: str
    targets: Mapping[Precision, tuple[Target, ...]] = dataclasses.field(default_factory=dict)

    def load_converter(self) -> Callable[..., Any]:
        """Import the converter's module (slow: it brings TensorFlow) and give its function."""
        return load(self.converter)

    def file_name(self, model: str, precision: Precision) -> str:
        """`model.onnx`; a precision other than the default stands before the suffix: `model.int8.tflite`."""
        return model + ("" if precision == self.precisions[0] else f".{precision}") + self.suffix


def load(reference: str) -> Callable[..., Any]:
    """The object that "module:name" stands for."""
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def importable(module: str) -> bool:
    """Whether a module is there, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # nor is the package that it would be in
        return False


FORMATS: Final[Mapping[str, Format]] = {
    row.name: row
    for row in (
        Format(
            "saved_model",
            "",
            (Precision.FP32,),
            "converters.savedmodel:convert",
            "tensorflow",
            "TensorFlow SavedModel folder, checked and verified in a fresh TensorFlow process",
        ),
        Format(
            "tflite",
            ".tflite",
            (Precision.FP32, Precision.FP16, Precision.DYNAMIC, Precision.INT8, Precision.INT16X8),
            "converters.tflite:convert",
            "litert",
            "TFLite flatbuffer, verified with LiteRT and XNNPACK",
            {
                Precision.FP32: (Target.LITERT_FLOAT,),
                Precision.FP16: (Target.LITERT_WEIGHTS,),
                Precision.DYNAMIC: (Target.LITERT_WEIGHTS,),
                Precision.INT8: (Target.LITERT_INT8, Target.LITERT_INT8_MERGED),
                Precision.INT16X8: (Target.LITERT_INT16X8, Target.LITERT_INT16X8_TWICE),
            },
        ),
        Format(
            "onnx",
            ".onnx",
            (Precision.FP32, Precision.FP16, Precision.DYNAMIC, Precision.INT8),
            "converters.onnx:convert",
            "onnxruntime",
            "ONNX, checked by onnx.checker and verified with ONNX Runtime",
            dict.fromkeys((Precision.FP32, Precision.FP16, Precision.DYNAMIC, Precision.INT8), (Target.ONNXRUNTIME,)),
        ),
    )
}

PRECISIONS: Final = tuple(dict.fromkeys(str(each) for row in FORMATS.values() for each in row.precisions))
"""Every precision that some format can be written in."""
