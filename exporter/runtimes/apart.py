"""Runtimes of this process in processes of their own, for files from anywhere: one of them may crash LiteRT or ONNX
Runtime, or hold them up for ever, and that has to be its result, not the end of whoever verifies it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, TensorSpec
from converters.errors import ConversionError, RuntimeUnavailableError, WorkerError
from exporter.runtimes.base import Arrays, Session
from exporter.runtimes.process import Worker, WorkerSession, python_worker
from exporter.runtimes.table import RUNTIMES, runtime

_HERE: Final = ("exporter.runtimes.litert", "exporter.runtimes.onnx_runtime")
"""Modules whose sessions run in the process that opens them."""

LOAD_SECONDS: Final = 300.0
RUN_SECONDS: Final = 600.0
"""More than other workers get, since a call may be of many samples and these runtimes had no limit before."""

_REFUSALS: Final[Mapping[str, type[Exception]]] = {
    each.__name__ + ": ": each for each in (ConversionError, RuntimeUnavailableError)
}


def open_apart(name: str, artifact: Artifact) -> Session:
    """As `runtime(name).open(artifact)`, in a process of its own.

    Raises:
        ConversionError: the runtime refuses the file.
        WorkerError: it died or hangs on it.
        RuntimeUnavailableError: it is not there, or has not got what the file needs.
    """
    if RUNTIMES[name].runtime.partition(":")[0] not in _HERE:
        return runtime(name).open(artifact)
    options = {"runtime": name, "artifact": {**artifact.to_json(), "metadata": dict(artifact.metadata)}}
    session = _Session(_worker(name, "run_here.py"), artifact.path, runtime(name).version(), options)
    facts: dict[str, Any] = dict(session.facts)
    session.description = str(facts.pop("description"))
    session.facts = facts
    return session


def describe_apart(path: Path, format_name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...], Precision]:
    """Inputs, outputs and precision of a TFLite or ONNX file, as the file itself tells them.

    Raises:
        ConversionError: its runtime refuses it.
        WorkerError: its runtime died or hangs on it.
        RuntimeUnavailableError: its runtime is not installed.
    """
    name = {"tflite": "litert", "onnx": "onnxruntime"}[format_name]
    runtime(name).version()
    with _Session(_worker(name, "describe_here.py"), path, name, {"format": format_name}) as session:
        told: Mapping[str, Any] = session.facts
        inputs, outputs = (tuple(map(TensorSpec.from_json, told[key])) for key in ("inputs", "outputs"))
        return inputs, outputs, Precision(told["precision"])


def _worker(name: str, loader: str) -> Worker:
    return dataclasses.replace(python_worker(name, loader), load_seconds=LOAD_SECONDS, run_seconds=RUN_SECONDS)


class _Session(WorkerSession):
    """Tells a refusal in the words of the runtime's own class, which ran in the worker."""

    def __init__(self, worker: Worker, model: Path, description: str, options: Mapping[str, Any]) -> None:
        try:
            super().__init__(worker, model, description, options)
        except WorkerError:
            raise
        except ConversionError as error:
            raise _own(error) from error

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            return super().run(inputs)
        except WorkerError:
            raise
        except ConversionError as error:
            raise _own(error) from error


def _own(error: ConversionError) -> Exception:
    for mark, kind in _REFUSALS.items():
        before, found, words = str(error).partition(mark)
        if found and before.endswith("it: "):
            return kind(words)
    return error
