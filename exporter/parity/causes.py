"""Where a candidate's difference comes from, each part told from two runs that differ in that alone. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from exporter.parity.metrics import compare
from exporter.parity.record import Record

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Cause:
    """One part of a difference.

    relative: the largest over all outputs, in units of each output's spread; None where an output does not vary.
    how: between which two runs. measured: False for a prediction.
    """

    artifact: str
    cause: str
    relative: float | None
    how: str
    measured: bool = True

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def of_the_reference(record: Record, artifact: str) -> list[Cause]:
    """What is already known from the record: its own arithmetic, float32 on a CPU, and TF32 as a prediction."""
    if record.truth is None:
        return []
    found = []
    on_gpu = record.environment.get("device") == "gpu"
    arithmetic = "GPU arithmetic" if on_gpu else "reference arithmetic"
    found.append(Cause(artifact, arithmetic, _noise(record, "reference"), "the recorded outputs, from float64"))
    if on_gpu:
        found.append(
            Cause(artifact, "CPU arithmetic", _noise(record, "float32"), "the model in float32 on a CPU, from float64")
        )
    else:
        how = "operands of convolutions and dense layers rounded to TF32, from float64"
        found.append(Cause(artifact, "TF32 of a GPU", _noise(record, "tf32"), how, measured=False))
    return found


def between(record: Record, one: Arrays, other: Arrays, artifact: str, cause: str, how: str) -> Cause:
    """The largest difference of two runs on the same samples of the real case, outputs by the record's names."""
    worst: float | None = None
    for name, expected in record.expected.items():
        if name not in one or name not in other or one[name].shape != other[name].shape:
            continue
        rows = min(len(one[name]), len(expected))
        spread = compare(expected[record.cases[0].rows], expected[record.cases[0].rows]).spread
        off = np.abs(one[name].astype(np.float64) - other[name].astype(np.float64))
        if spread > 0 and rows and np.isfinite(off).all():
            worst = max(worst or 0.0, float(off.max(initial=0.0)) / spread)
    return Cause(artifact, cause, worst, how)


def _noise(record: Record, level: str) -> float | None:
    worst: float | None = None
    for name, errors in record.noise.get(level, {}).items():
        rows = record.cases[0].rows
        spread = compare(record.expected[name][rows], record.expected[name][rows]).spread
        largest = float(errors[rows].max(initial=0.0))
        if spread > 0 and np.isfinite(largest):
            worst = max(worst or 0.0, largest / spread)
    return worst
