"""Whether a difference is the arithmetic's or a fault: every tolerance of the toolkit, each with its derivation."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Final

import numpy as np

from exporter.parity.metrics import Metrics, compare

UNIT_ROUNDOFF_FP32: Final = 2.0**-24

SAFETY_FP32: Final = 10.0
"""Between the rounding error that is expected and the largest difference that is still taken for rounding.

The candidate rounds as the reference does, but sums in another order and with other fused operations, which moves an
error by a small factor; and their difference holds both errors. docs/decisions.md has what was measured.
"""

LAST_ROUNDINGS: Final = 4.0
"""Units of roundoff of the largest value that are always accepted: where the reference happens to round to the very
truth, the candidate may still end one or two representable numbers beside it."""

INFORMATIVE_LIMIT: Final = 0.05
"""A tolerance of more than a twentieth of the output's spread would pass visible faults: then nothing is claimed."""


class Verdict(enum.StrEnum):
    """The outcome for one output. Only FAILED fails a run."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_INFORMATIVE = "NOT INFORMATIVE"


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """For where no float64 truth is at hand: how many contractions (convolutions, matrix products) the model holds, and
    the largest number of products summed into one element. And the largest side, in pixels, that a resize reads;
    and how many values its means are of, all together (0 where that is not known)."""

    contractions: int
    fan_in: int
    resized_side: int = 0
    averaged: int = 0

    @property
    def growth(self) -> float:
        """By how much one rounding grows: sqrt(n) in a sum of n products, sqrt(L) through L contractions."""
        return math.sqrt(max(1, self.fan_in) * max(1, self.contractions))


@dataclasses.dataclass(frozen=True, slots=True)
class OwnError:
    """The largest distance from the model run in float64: of the reference, and of a float32 run of the model. They are
    the same for a model that computes in float32."""

    reference: float
    float32: float


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest accepted `Metrics.relative`, and where it comes from, in words."""

    relative: float
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class OutputVerdict:
    """One output of one artifact. `metrics` and `tolerance` are None where the arrays could not be compared at all."""

    verdict: Verdict
    reason: str
    metrics: Metrics | None
    tolerance: Tolerance | None


def measured_tolerance(reference: np.ndarray, own: OwnError, work: Workload, spread: float) -> Tolerance:
    """Tolerance for a float32 artifact, from what rounding does to this very model on these very inputs.

    The artifact's distance from the reference is at most the reference's from the truth, which is known, and its own
    from the truth, which is taken to be like that of another float32 run, times SAFETY_FP32.

    A resize is added, since TensorFlow computes its coordinates in float32 in the float64 run as well: scale and
    product are each rounded, so that a coordinate of up to `side` pixels is off by up to 2 u side of a pixel, and
    neighbouring pixels differ by about the spread.
    """
    last = LAST_ROUNDINGS * UNIT_ROUNDOFF_FP32 * float(np.max(np.abs(reference), initial=0.0))
    resize = 2 * UNIT_ROUNDOFF_FP32 * work.resized_side
    half = own.reference / spread if own.reference > own.float32 else 0.0
    return Tolerance(
        SAFETY_FP32 * (own.float32 / spread + resize) + half + last / spread,
        f"{SAFETY_FP32:g} x the model's float32 error against float64, {own.float32 / spread:.1e} of the spread"
        + (f", and {half:.1e} for the lower precision of the model itself" if half else "")
        + (f", and {resize:.1e} for a resize of {work.resized_side} pixels" if resize else ""),
    )


def derived_tolerance(work: Workload, metrics: Metrics) -> Tolerance:
    """Tolerance for float32 against float32 where the float64 truth is not known.

    A sum of n products in any order carries a relative rounding error that grows as u sqrt(n), u = 2^-24 (probabilistic
    analysis: Higham and Mary 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4), and the
    errors of L layers one after the other add up as sqrt(L). The error is in proportion to the values, not to how they
    differ between samples, hence the factor magnitude / spread where that is above 1.
    """
    growth = work.growth
    scale = max(1.0, metrics.magnitude / metrics.spread) if metrics.spread > 0 else math.inf
    return Tolerance(
        SAFETY_FP32 * UNIT_ROUNDOFF_FP32 * growth * scale,
        f"no float64 twin: {SAFETY_FP32:g} x 2^-24 x sqrt({work.fan_in} products x {work.contractions} contractions)"
        + (f" x {scale:.2g} (size/spread)" if scale > 1 else ""),
    )


def judge(
    reference: np.ndarray, candidate: np.ndarray | None, own_error: OwnError | None, work: Workload
) -> OutputVerdict:
    """Judge one output over all samples (axis 0) by the model's own error, or by the workload where that is not known.

    What is missing, of another shape, or non-finite where the reference is finite fails before anything is measured.
    """
    reason = fault(reference, candidate)
    if reason:
        return OutputVerdict(Verdict.FAILED, reason, None, None)
    assert candidate is not None
    metrics = compare(reference, candidate)
    if metrics.relative is None:
        if metrics.max_abs > tolerance_of_constant(metrics, work):
            return OutputVerdict(Verdict.FAILED, "the reference is constant and the candidate is not it", metrics, None)
        reason = "the output is the same for every sample, so that a fault need not show"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, None)
    if own_error is None:
        tolerance = derived_tolerance(work, metrics)
    else:
        tolerance = measured_tolerance(reference, own_error, work, metrics.spread)
    if not metrics.relative <= tolerance.relative:  # so that a tolerance that is not a number passes nothing
        return OutputVerdict(
            Verdict.FAILED, f"differs by {metrics.relative:.2g} of the output's spread", metrics, tolerance
        )
    if tolerance.relative > INFORMATIVE_LIMIT:
        reason = "the output hardly varies between samples beside its size: rounding alone could hide a fault"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, tolerance)
    return OutputVerdict(Verdict.PASSED, "", metrics, tolerance)


def tolerance_of_constant(metrics: Metrics, work: Workload) -> float:
    """The largest absolute difference that rounding explains in an output that never varies."""
    return SAFETY_FP32 * UNIT_ROUNDOFF_FP32 * work.growth * max(metrics.magnitude, float(np.finfo(np.float32).tiny))


def fault(reference: np.ndarray, candidate: np.ndarray | None) -> str:
    """What forbids any comparison of the two (missing, another shape, not finite), in words; empty if nothing does."""
    if candidate is None:
        return "the artifact has no such output"
    if reference.shape != candidate.shape:
        return f"shape {candidate.shape[1:]} a sample; the model gives {reference.shape[1:]}"
    if not np.isfinite(reference).all():
        return "the model itself gives NaN or infinity on these inputs"
    if not np.isfinite(candidate).all():
        bad = int(np.count_nonzero(~np.isfinite(candidate)))
        return f"{bad} of {candidate.size} values are NaN or infinity; the model's are finite"
    return ""
