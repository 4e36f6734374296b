"""The runtimes as a table: adding one is a row here and the module it names. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from converters.artifact import Precision
from converters.errors import OptionError, closest
from exporter.formats import load

if TYPE_CHECKING:  # it brings NumPy, which --help must not wait for
    from exporter.runtimes.base import Runtime


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeRow:
    """One row of RUNTIMES.

    Attributes:
        name: what a user types after --runtime.
        runtime: "module:Class".
        arguments: what the class is made with; several rows can share a class.
        runs: by format, the precisions that it can run.
        summary: one line for `cbam runtimes` and the README.
        install: the row of INSTALLS that brings it.
        open_batch: whether it can run an artifact with an open batch.
        emulated: whether it runs under an emulator, about a hundred times slower.
    """

    name: str
    runtime: str
    runs: Mapping[str, tuple[Precision, ...]]
    summary: str
    install: str
    arguments: tuple[str, ...] = ()
    open_batch: bool = True
    emulated: bool = False

    def can_run(self, format_name: str, precision: Precision) -> bool:
        """Whether artifacts of this format and precision are for it."""
        return precision in self.runs.get(format_name, ())


_EVERY: Final = tuple(Precision)
_FLOATS_AND_INT8: Final = (Precision.FP32, Precision.FP16, Precision.DYNAMIC, Precision.INT8)


def _litert(name: str, kernels: str, summary: str) -> RuntimeRow:
    return RuntimeRow(name, "exporter.runtimes.litert:LiteRT", {"tflite": _EVERY}, summary, "litert", (kernels,))


def _arm64(library: str, core: str, cpu: str, what: str) -> RuntimeRow:
    is_litert = library == "litert"
    return RuntimeRow(
        f"{library}-arm64-{core}",
        "exporter.runtimes.arm64.runtime:Arm64",
        {"tflite": _EVERY} if is_litert else {"onnx": _FLOATS_AND_INT8},
        f"{'LiteRT with XNNPACK' if is_litert else 'ONNX Runtime'} on an emulated {what}",
        "arm64",
        (library, cpu),
        emulated=True,
    )


RUNTIMES: Final[Mapping[str, RuntimeRow]] = {
    row.name: row
    for row in (
        RuntimeRow(
            "tensorflow",
            "exporter.runtimes.tensorflow_process:TensorFlowProcess",
            {"saved_model": (Precision.FP32,)},
            "TensorFlow in a fresh process",
            "tensorflow",
        ),
        _litert("litert", "BUILTIN", "LiteRT with XNNPACK, as on a phone"),
        _litert("litert-builtin", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "LiteRT's own kernels, without delegate"),
        _litert("litert-reference", "BUILTIN_REF", "LiteRT's reference kernels"),
        RuntimeRow(
            "tflite-micro",
            "exporter.runtimes.tflite_micro:TFLiteMicro",
            {"tflite": (Precision.FP32, Precision.INT8)},
            "TFLite Micro, as on a microcontroller; tells its arena",
            "micro",
            open_batch=False,
        ),
        RuntimeRow(
            "onnxruntime",
            "exporter.runtimes.onnx_runtime:OnnxRuntime",
            {"onnx": _FLOATS_AND_INT8},
            "ONNX Runtime on CPU",
            "onnxruntime",
        ),
        RuntimeRow(
            "onnxruntime-web",
            "exporter.runtimes.onnxruntime_web:OnnxRuntimeWeb",
            {"onnx": _FLOATS_AND_INT8},
            "ONNX Runtime Web, as in a browser: wasm under Node.js",
            "onnxruntime-web",
        ),
        RuntimeRow(
            "openvino",
            "exporter.runtimes.openvino:OpenVino",
            {"tflite": _FLOATS_AND_INT8, "onnx": _FLOATS_AND_INT8},
            "OpenVINO on CPU",
            "openvino",
        ),
        *(
            _arm64(library, *core)
            for library in ("litert", "onnxruntime")
            for core in (
                ("a53", "cortex-a53", "Cortex-A53 (ARMv8.0, no dot product)"),
                ("a76", "cortex-a76", "Cortex-A76 (ARMv8.2 with dot product)"),
                # SVE and SME off: few phones have them, and qemu's SME has computed wrongly before.
                ("v9", "max,sve=off,sme=off", "v9 core with 8-bit matrix products (i8mm)"),
            )
        ),
    )
}


def runtime(name: str) -> Runtime:
    """The runtime of that name; its library is imported when it is used.

    Raises:
        OptionError: no such row.
    """
    if name not in RUNTIMES:
        raise OptionError(f"unknown runtime {name!r}{closest(name, RUNTIMES)}")
    row = RUNTIMES[name]
    made: Runtime = load(row.runtime)(*row.arguments)
    return made
