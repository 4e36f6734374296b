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
"""Between the expected rounding error of an output and the largest one that is still taken for rounding.

Two factors of about 3: the largest of up to 1e6 nearly normal errors is under 5 standard deviations where the formula
gives an upper estimate of one, and the reference rounds as often as the candidate. docs/decisions.md has the errors
measured on every backbone: none reaches a tenth of the tolerance, and one weight off by 1% exceeds it.
"""

INFORMATIVE_LIMIT: Final = 0.05
"""A tolerance of more than a twentieth of the output's spread would pass visible faults: then nothing is claimed."""


class Verdict(enum.StrEnum):
    """The outcome for one output. Only FAILED fails a run."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_INFORMATIVE = "NOT INFORMATIVE"


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """The arithmetic behind an output: how many contractions (convolutions, matrix products) feed it at most, and the
    largest number of products summed into one element."""

    contractions: int
    fan_in: int


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


def fp32_tolerance(work: Workload, metrics: Metrics) -> Tolerance:
    """Tolerance for float32 against float32, both of which only round.

    A sum of n products in any order carries a relative rounding error that grows as u sqrt(n), u = 2^-24 (probabilistic
    analysis: Higham and Mary 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4), and the
    errors of L layers one after the other add up as sqrt(L). The error is in proportion to the values, not to how they
    differ between samples, hence the factor magnitude / spread where that is above 1.
    """
    growth = math.sqrt(max(1, work.fan_in) * max(1, work.contractions))
    scale = max(1.0, metrics.magnitude / metrics.spread) if metrics.spread > 0 else math.inf
    return Tolerance(
        SAFETY_FP32 * UNIT_ROUNDOFF_FP32 * growth * scale,
        f"{SAFETY_FP32:g} x 2^-24 x sqrt({work.fan_in} products x {work.contractions} layers)"
        + (f" x {scale:.2g} (size/spread)" if scale > 1 else ""),
    )


def judge(reference: np.ndarray, candidate: np.ndarray | None, work: Workload) -> OutputVerdict:
    """Judge one float output over all samples (axis 0).

    What is missing, of another shape, or non-finite where the reference is finite fails before anything is measured.
    """
    fault = _fault(reference, candidate)
    if fault:
        return OutputVerdict(Verdict.FAILED, fault, None, None)
    assert candidate is not None
    metrics = compare(reference, candidate)
    tolerance = fp32_tolerance(work, metrics)
    if metrics.spread == 0:
        if metrics.max_abs > tolerance_of_constant(metrics, work):
            return OutputVerdict(Verdict.FAILED, "the reference is constant and the candidate is not it", metrics, None)
        return OutputVerdict(
            Verdict.NOT_INFORMATIVE, "the output is the same for every sample: nothing could fail", metrics, None
        )
    assert metrics.relative is not None
    if metrics.relative > tolerance.relative:
        return OutputVerdict(
            Verdict.FAILED, f"differs by {metrics.relative:.2g} of the output's spread", metrics, tolerance
        )
    if tolerance.relative > INFORMATIVE_LIMIT:
        reason = "the output hardly varies between samples beside its size: rounding alone could hide a fault"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, tolerance)
    return OutputVerdict(Verdict.PASSED, "", metrics, tolerance)


def tolerance_of_constant(metrics: Metrics, work: Workload) -> float:
    """The largest absolute difference that rounding explains in an output that never varies."""
    growth = math.sqrt(max(1, work.fan_in) * max(1, work.contractions))
    return SAFETY_FP32 * UNIT_ROUNDOFF_FP32 * growth * max(metrics.magnitude, float(np.finfo(np.float32).tiny))


def _fault(reference: np.ndarray, candidate: np.ndarray | None) -> str:
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
