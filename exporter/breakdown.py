"""Where a candidate's difference comes from: runs that differ from another one in one thing alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from converters.artifact import Artifact, Precision
from converters.errors import CbamError
from exporter.formats import importable
from exporter.parity.causes import Cause, between, of_the_reference
from exporter.parity.check import run_in_batches
from exporter.parity.fitting import Fitting
from exporter.parity.record import Record
from exporter.runtimes.base import Session
from exporter.runtimes.onnx_runtime import OnnxRuntime
from exporter.runtimes.table import RUNTIMES

Step = Callable[[str], None]
Arrays = Mapping[str, np.ndarray]
Opener = Callable[[str, Artifact], Session]

SAMPLES: Final = 16  # of the real case, in each run

NOT_RUN: Final = "no runtime ran it, so there is nothing to search"

_PLAIN: Final = {"tflite": "litert-reference", "saved_model": "tensorflow"}
"""By format, the runtime that computes a file operation by operation, as it is written."""

_USUAL: Final = {"tflite": "litert", "onnx": "onnxruntime", "saved_model": "tensorflow"}
_LIBRARY: Final = {"tflite": "ai_edge_litert", "onnx": "onnxruntime", "saved_model": "tensorflow"}


@dataclasses.dataclass(frozen=True)
class Kept:
    """What an artifact gave in a runtime: real numbers by the record's output names, the first `real` rows of the real
    case."""

    artifact: Artifact
    runtime: str
    fitting: Fitting
    outputs: Arrays
    real: int

    def rows(self, count: int) -> dict[str, np.ndarray]:
        """The first rows of each output."""
        return {name: array[:count] for name, array in self.outputs.items()}


def breakdown(record: Record, kept: Sequence[Kept], on_step: Step, opened: Opener) -> list[Cause]:
    """The causes for each artifact that ran, by artifact. `opened`: how an artifact is opened in a runtime."""
    if any(len(array) != record.samples for array in record.outputs.values()):
        return []  # without a batch, rows are no samples
    count = min(SAMPLES, record.cases[0].count, *(each.real for each in kept)) if kept else 0
    by_artifact: dict[str, list[Kept]] = {}
    for each in kept:
        by_artifact.setdefault(str(each.artifact.path), []).append(each)
    plain: dict[str, Arrays] = {}
    for name, runs in by_artifact.items():
        on_step(f"looking where the differences of {runs[0].artifact.path.name} come from")
        found = _plainly(record, runs[0], count, opened)
        if found is not None:
            plain[name] = found
    causes = []
    for name, runs in by_artifact.items():
        artifact = runs[0].artifact
        floats = [
            plain[other]
            for other, others in by_artifact.items()
            if other in plain
            and (others[0].artifact.format, others[0].artifact.precision) == (artifact.format, Precision.FP32)
        ]
        causes += _of_one(record, runs, plain.get(name), floats[0] if floats else None, count)
    return causes


def _of_one(
    record: Record, runs: Sequence[Kept], plain: Arrays | None, exported: Arrays | None, count: int
) -> list[Cause]:
    artifact = runs[0].artifact
    name = str(artifact.path)
    causes = of_the_reference(record, name)
    exact = {output: array[:count] for output, array in record.expected.items()}
    truth = "the recorded outputs" if record.truth is None else "float64"
    how = f"run operation by operation ({_PLAIN.get(artifact.format, 'no graph optimisation')})"
    quantised = artifact.precision is not Precision.FP32
    if plain is not None and not quantised:
        causes.append(between(record, plain, exact, name, "export", f"the file {how}, from {truth}"))
    if plain is not None and quantised and exported is not None:
        causes.append(between(record, exported, exact, name, "export", f"the fp32 file {how}, from {truth}"))
        causes.append(between(record, plain, exported, name, "quantisation", f"the file {how}, from the fp32 file so"))
    elif plain is not None and quantised:
        what = f"the file {how}, from {truth} (no fp32 file was given, so export is in it)"
        causes.append(between(record, plain, exact, name, "quantisation", what))
    usual = next((each for each in runs if each.runtime == _USUAL[artifact.format]), None)
    if usual is not None and plain is not None and artifact.format != "saved_model":
        part = "delegate" if artifact.format == "tflite" else "graph optimisation"
        causes.append(between(record, usual.rows(count), plain, name, part, f"{usual.runtime}, from the file {how}"))
    for each in runs:
        if usual is not None and each is not usual and each.runtime not in _PLAIN.values():
            kind = "processor" if RUNTIMES[each.runtime].emulated else "runtime"
            what = f"{each.runtime}, from {usual.runtime}"
            causes.append(between(record, each.rows(count), usual.rows(count), name, kind, what))
    return causes


def _plainly(record: Record, kept: Kept, count: int, opened: Opener) -> Arrays | None:
    """The outputs of an artifact run operation by operation; None where nothing here can."""
    artifact = kept.artifact
    if not importable(_LIBRARY[artifact.format]):
        return None
    few = kept.fitting.feed({name: array[:count] for name, array in record.inputs.items()})
    batch = artifact.inputs[0].shape[0] or record.batch
    try:
        with contextlib.ExitStack() as stack:
            plain = _PLAIN.get(artifact.format)
            made = opened(plain, artifact) if plain else OnnxRuntime(optimise=False).open(artifact)
            session = stack.enter_context(made)
            return kept.fitting.take(run_in_batches(session, few, batch))
    except CbamError:  # kernels that lack an operation: then this part cannot be told, and the verdict stands without
        return None
