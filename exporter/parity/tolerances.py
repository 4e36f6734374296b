"""How far each precision may be from the float64 truth, and what a user may put in the place of that.

Beside `exporter.parity.verdict`, which judges against the model's own outputs where there is no truth, and
`exporter.parity.gates`, which judges what is quantised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from exporter.parity.cases import EXTREMES, Case
from exporter.parity.metrics import Metrics
from exporter.parity.record import Record
from exporter.parity.verdict import (
    LAST_ROUNDINGS,
    SAFETY_FP32,
    UNIT_ROUNDOFF_FP32,
    Tolerance,
    Workload,
    derived_tolerance,
)

UNIT_ROUNDOFF_FP16: Final = 2.0**-11

SAFETY_FP16: Final = 4.0
"""Less than SAFETY_FP32, since the error of rounded weights is the largest of four roundings of them. Which activations
are rounded depends on what is fused: two for that, and two again because the largest of few samples varies."""

FEW: Final = 32
"""Samples below which an edge case says too little about its rounding: the largest of a few may be small by luck."""


@dataclasses.dataclass(frozen=True, slots=True)
class Overrides:
    """What a user asks for instead of the derived tolerances, for one output or for all; None where nothing was asked.

    atol, rtol: |candidate - truth| <= atol + rtol |truth| for every element, in the place of the tolerance.
    min_cosine, min_agreement, min_sqnr: the least that is accepted, beside the tolerance; for what is quantised
    `min_agreement` and `min_sqnr` replace the gates.
    """

    atol: float | None = None
    rtol: float | None = None
    min_cosine: float | None = None
    min_agreement: float | None = None
    min_sqnr: float | None = None

    def __str__(self) -> str:
        given = ((field.name.replace("_", "-"), getattr(self, field.name)) for field in dataclasses.fields(self))
        return ", ".join(f"--{name} {value:g}" for name, value in given if value is not None)

    @property
    def bounds(self) -> bool:
        """Whether the tolerance itself is replaced."""
        return self.atol is not None or self.rtol is not None

    def exceeded(self, expected: np.ndarray, given: np.ndarray) -> int:
        """How many elements are further off than `atol` and `rtol` allow."""
        limit = (self.atol or 0.0) + (self.rtol or 0.0) * np.abs(expected.astype(np.float64))
        off = np.abs(given.astype(np.float64) - expected.astype(np.float64))
        return int(np.count_nonzero(~(off <= limit)))


WEIGHTS_ONLY: Final = ("fp16_weights",)
THROUGHOUT: Final = ("fp16_weights", "fp16")


def half_levels(format_name: str) -> tuple[str, ...]:
    """What is rounded in a float16 file of that format: TFLite stores weights so and computes in float32, ONNX computes
    in float16 too."""
    return WEIGHTS_ONLY if format_name == "tflite" else THROUGHOUT


def tolerance(record: Record, output: str, case: Case | None, metrics: Metrics, half: Sequence[str] = ()) -> Tolerance:
    """Tolerance of a float artifact, in units of the output's spread in that case.

    fp32: SAFETY_FP32 times the distance of a float32 run from the truth, which is what rounding does to this very model
    on these very inputs, and the last roundings (`exporter.parity.verdict`, `measured_tolerance`). Against the truth
    the reference's own error, a GPU's TF32 say, is no part of it.

    Extremes hold constant images. A mean of n equal values that are summed one after the other, as LiteRT does, errs by
    up to n u and not by u sqrt(n), since each addition is rounded the same way (Higham 2002, "Accuracy and Stability of
    Numerical Algorithms", section 4.2); a framework that sums in another order does not show it. So u times the number
    of values in all means, relative to the output, is added there.

    fp16 (`half` says what is rounded, `half_levels`): the same, and SAFETY_FP16 times the larger of two measured
    distances: of a twin with float16 weights, and of one that rounds every activation to float16 too (not where that
    overflows: then only the weights count).
    """
    if record.truth is None:
        return _without_truth(record.workload, metrics, bool(half))
    rows = slice(None) if case is None else case.rows
    size = float(np.max(np.abs(record.truth[output][rows]), initial=0.0))
    single = _noise(record, "float32", output, case)
    resize = 2 * UNIT_ROUNDOFF_FP32 * record.workload.resized_side
    last = LAST_ROUNDINGS * UNIT_ROUNDOFF_FP32 * size
    spread = metrics.spread
    means = UNIT_ROUNDOFF_FP32 * record.workload.averaged * size if case is not None and case.name == EXTREMES else 0.0
    total = SAFETY_FP32 * (single / spread + resize) + (last + means) / spread
    said = f"{SAFETY_FP32:g} x the model's float32 error against float64, {single / spread:.1e} of the spread"
    said += f", and {resize:.1e} for a resize of {record.workload.resized_side} pixels" if resize else ""
    said += f", and {means / spread:.1e} for means of equal values" if means else ""
    if half:
        errors = [_noise(record, level, output, case) for level in half]
        most = max(error for error in errors if np.isfinite(error)) if np.isfinite(errors[0]) else errors[0]
        total += SAFETY_FP16 * most / spread
        said += f"; and {SAFETY_FP16:g} x the float16 error of its twin, {most / spread:.1e}"
        said += "" if np.isfinite(errors).all() else " (of its weights alone: float16 activations overflow here)"
    return Tolerance(total, said)


def own_error(record: Record, level: str, output: str, case: Case | None) -> float | None:
    """The largest distance from the truth of the recorded outputs, or of a level of precision; None if not known."""
    if level not in record.noise:
        return None
    errors = record.noise[level][output]
    return float(errors[slice(None) if case is None else case.rows].max(initial=0.0))


def _noise(record: Record, level: str, output: str, case: Case | None) -> float:
    """The error at a level in one case; in a case of few samples at least what it is on real ones, for its size."""
    errors = record.noise[level][output]
    if case is None:
        return float(errors.max(initial=0.0))
    own = float(errors[case.rows].max(initial=0.0))
    if case.real or case.count >= FEW:
        return own
    assert record.truth is not None
    size, usual = (float(np.abs(record.truth[output][rows]).max(initial=0.0)) for rows in (case.rows, _real(record)))
    floor = float(errors[_real(record)].max(initial=0.0)) * size / usual if usual > 0 else 0.0
    return max(own, floor)


def _real(record: Record) -> slice:
    return record.cases[0].rows


def _without_truth(work: Workload, metrics: Metrics, half: bool) -> Tolerance:
    """In float16 each product carries an error of its own from its rounded weight, so that a sum's is that of one
    product; the errors of weights and activations of L contractions add up as sqrt(2 L)."""
    exact = derived_tolerance(work, metrics)
    if not half:
        return exact
    more = SAFETY_FP16 * UNIT_ROUNDOFF_FP16 * float(np.sqrt(2 * max(1, work.contractions)))
    more *= max(1.0, metrics.magnitude / metrics.spread)
    said = f"; and {SAFETY_FP16:g} x 2^-11 x sqrt(2 x {work.contractions} contractions)"
    return Tolerance(exact.relative + more, exact.source + said)
