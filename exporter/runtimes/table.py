"""The runtimes as a table: adding one is a row here and the module it names. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from converters.errors import OptionError, closest
from exporter.formats import load
from exporter.runtimes.base import Runtime, RuntimeRow

RUNTIMES: Final[Mapping[str, RuntimeRow]] = {
    row.name: row
    for row in (
        RuntimeRow("tensorflow", "exporter.runtimes.tensorflow_process:TensorFlowProcess"),
        RuntimeRow("litert", "exporter.runtimes.litert:LiteRT"),
        RuntimeRow("onnxruntime", "exporter.runtimes.onnx_runtime:OnnxRuntime"),
    )
}


def runtime(name: str) -> Runtime:
    """The runtime of that name; its library is imported when it is used.

    Raises:
        OptionError: no such row.
    """
    if name not in RUNTIMES:
        raise OptionError(f"unknown runtime {name!r}{closest(name, RUNTIMES)}")
    made: Runtime = load(RUNTIMES[name].runtime)()
    return made
