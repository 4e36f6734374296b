"""Judges what a candidate gave, by output and case, against a record. NumPy only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from converters.artifact import Precision
from exporter.parity.cases import SCALED_CASE, Case
from exporter.parity.flips import Flip, find_flips
from exporter.parity.gates import Gates, judge_quantised
from exporter.parity.metrics import Metrics, compare
from exporter.parity.record import Record
from exporter.parity.tolerances import THROUGHOUT, Overrides, own_error, tolerance
from exporter.parity.verdict import (
    INFORMATIVE_LIMIT,
    OutputVerdict,
    Tolerance,
    Verdict,
    fault,
    tolerance_of_constant,
)

Arrays = Mapping[str, np.ndarray]

WHOLE: Final = "all"
"""The case of an output without a batch: it cannot be told apart by samples."""

FLOATS: Final = (Precision.FP32, Precision.FP16)


@dataclasses.dataclass(frozen=True, slots=True)
class Criteria:
    """What is asked of an artifact.

    precision: its own. overrides: by output; the name "" stands for all others. clipped: the cases that lie outside
    what its quantised inputs can hold, and by how much, in words. altered: those of which its inputs hold other values,
    so that nothing is said of them. half: for fp16, what of it is rounded
    (`exporter.parity.tolerances`).
    """

    precision: Precision
    overrides: Mapping[str, Overrides] = dataclasses.field(default_factory=dict)
    clipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    altered: Mapping[str, str] = dataclasses.field(default_factory=dict)
    half: tuple[str, ...] = THROUGHOUT

    def of(self, output: str) -> Overrides:
        """The overrides of one output: its own, and those of all where it has none."""
        own, common = self.overrides.get(output, Overrides()), self.overrides.get("", Overrides())
        names = [field.name for field in dataclasses.fields(Overrides)]
        return Overrides(**{n: getattr(own, n) if getattr(own, n) is not None else getattr(common, n) for n in names})


@dataclasses.dataclass(frozen=True, slots=True)
class CaseVerdict:
    """One output in one case.

    Attributes:
        samples: how many.
        verdict: with metrics against the truth (or the recorded outputs, where there is none).
        flips: of class scores.
        vs_reference: the largest difference from the recorded outputs; None where it cannot be had.
        own_errors: by level of precision, the largest distance from the truth that is known for it.
        overrides: what the user asked for instead, in words.
    """

    output: str
    case: str
    samples: int
    verdict: OutputVerdict
    flips: tuple[Flip, ...] = ()
    vs_reference: float | None = None
    own_errors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    overrides: str = ""


def judge_outputs(record: Record, given: Arrays, criteria: Criteria) -> list[CaseVerdict]:
    """Every output of the record in every case. `given`: real numbers, by the record's names."""
    found = []
    for name, expected in record.expected.items():
        value = given.get(name)
        batched = len(expected) == record.samples
        reason = fault(expected, value) if value is None or value.shape != expected.shape else ""
        for case in record.cases if batched and not reason else (None,):
            if reason:
                verdict = OutputVerdict(Verdict.FAILED, reason, None, None)
                found.append(CaseVerdict(name, WHOLE, record.samples, verdict))
            else:
                assert value is not None
                found.append(_judge(record, name, case, value, criteria))
    return found


def _judge(record: Record, output: str, case: Case | None, value: np.ndarray, criteria: Criteria) -> CaseVerdict:
    rows = slice(None) if case is None else case.rows
    expected, given = record.expected[output][rows], value[rows]
    overrides = criteria.of(output)
    verdict = _verdict(record, output, case, given, criteria)
    flips: tuple[Flip, ...] = ()
    if verdict.metrics is not None:
        noise = _expected_noise(verdict, overrides, criteria.precision)
        if overrides.bounds and criteria.precision in FLOATS and verdict.metrics.spread > 0:
            # What is asked for says what may pass, not by how much scores are off without any fault.
            due = tolerance(record, output, case, verdict.metrics, _half(criteria))
            noise = due.relative * verdict.metrics.spread
        flips = find_flips(expected, given, noise, 0 if case is None else case.start)
    verdict = _with_minima(verdict, overrides, criteria, output)
    if case is not None and case.real and case.name in criteria.clipped:  # as on the device, which clips them too
        reason = "; ".join(filter(None, [verdict.reason, criteria.clipped[case.name]]))
        verdict = dataclasses.replace(verdict, reason=reason)
    levels = {level: own_error(record, level, output, case) for level in record.noise}
    recorded = record.outputs[output][rows]
    finite = verdict.metrics is not None and np.isfinite(recorded).all()
    return CaseVerdict(
        output,
        WHOLE if case is None else case.name,
        len(expected),
        verdict,
        flips,
        float(np.max(np.abs(given.astype(np.float64) - recorded.astype(np.float64)), initial=0.0)) if finite else None,
        {level: error for level, error in levels.items() if error is not None and math.isfinite(error)},
        str(overrides),
    )


def _verdict(record: Record, output: str, case: Case | None, given: np.ndarray, criteria: Criteria) -> OutputVerdict:
    rows = slice(None) if case is None else case.rows
    expected = record.expected[output][rows]
    real = case is None or case.real
    overrides = criteria.of(output)
    if not real and not np.isfinite(expected).all():
        return OutputVerdict(Verdict.NOT_INFORMATIVE, "the model itself gives NaN or infinity here", None, None)
    reason = fault(expected, given)
    if not reason and case is not None and case.name in criteria.altered:
        return OutputVerdict(Verdict.NOT_INFORMATIVE, criteria.altered[case.name], compare(expected, given), None)
    if not real and not reason and case is not None and case.name in criteria.clipped:
        reason = criteria.clipped[case.name]
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, compare(expected, given), None)
    if reason:
        return OutputVerdict(Verdict.FAILED, reason + _overflow(record, output, case, criteria), None, None)
    if overrides.bounds:
        return _bounded(expected, given, overrides)
    if criteria.precision in FLOATS:
        return _judge_float(record, output, case, given, criteria)
    gates = Gates(
        **{
            name: value
            for name, value in (("agreement", overrides.min_agreement), ("sqnr_db", overrides.min_sqnr))
            if value is not None
        }
    )
    if real:
        found = judge_quantised(expected, given, gates)
        return found if overrides.min_agreement is not None else _lone_near_tie(expected, given, found, gates)
    reason = "quantised artifacts are judged on what they were calibrated for; these figures are shown only"
    return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, compare(expected, given), None)


def _lone_near_tie(expected: np.ndarray, given: np.ndarray, found: OutputVerdict, gates: Gates) -> OutputVerdict:
    """The verdict, without a miss that is none: where the least agreement lets not one of so few samples through (16 on
    an emulated processor), a single one that turned at a near tie says nothing of a share."""
    metrics, few = found.metrics, len(expected) * (1 - gates.agreement) < 1
    if found.verdict is not Verdict.FAILED or metrics is None or metrics.agreement is None or not few:
        return found
    least = gates.sqnr_db
    if metrics.sqnr_db is None or metrics.sqnr_db < least:
        return found
    flips = find_flips(expected, given, _quantised_noise(metrics, least), 0)
    if len(flips) > 1 or not flips[0].near_tie:
        return found
    reason = f"one of {len(expected)} samples turned, at a near tie: too few for a share of {gates.agreement:.0%}"
    return OutputVerdict(Verdict.PASSED, reason, metrics, None)


def _judge_float(
    record: Record, output: str, case: Case | None, given: np.ndarray, criteria: Criteria
) -> OutputVerdict:
    expected = record.expected[output][slice(None) if case is None else case.rows]
    metrics = compare(expected, given)
    if metrics.relative is None:
        if metrics.max_abs > _constant(record, metrics, criteria.precision):
            return OutputVerdict(Verdict.FAILED, "the reference is constant and the candidate is not it", metrics, None)
        reason = "the output is the same for every sample, so that a fault need not show"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, None)
    allowed = tolerance(record, output, case, metrics, _half(criteria))
    if not metrics.relative <= allowed.relative:  # so that a tolerance that is not a number passes nothing
        reason = f"differs by {metrics.relative:.2g} of the output's spread, {_times(metrics, allowed)}"
        if record.truth is None and case is not None and case.name == SCALED_CASE:
            reason += ", which does not count: no float64 truth tells what rounding does to inputs so scaled"
            return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, allowed)
        return OutputVerdict(Verdict.FAILED, reason, metrics, allowed)
    if allowed.relative > INFORMATIVE_LIMIT:
        reason = "rounding alone moves the output by so much of its spread that it could hide a fault"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, allowed)
    return OutputVerdict(Verdict.PASSED, "", metrics, allowed)


def _half(criteria: Criteria) -> tuple[str, ...]:
    return criteria.half if criteria.precision is Precision.FP16 else ()


def _constant(record: Record, metrics: Metrics, precision: Precision) -> float:
    half = 2.0**13 if precision is Precision.FP16 else 1.0  # the ratio of the units of roundoff
    return half * tolerance_of_constant(metrics, record.workload)


def _times(metrics: Metrics, allowed: Tolerance) -> str:
    assert metrics.relative is not None
    return f"{metrics.relative / allowed.relative:.3g} x the tolerance" if allowed.relative > 0 else "where none is due"


def _bounded(expected: np.ndarray, given: np.ndarray, overrides: Overrides) -> OutputVerdict:
    metrics = compare(expected, given)
    words = Overrides(overrides.atol, overrides.rtol)
    limit = math.nan
    if overrides.rtol is None and metrics.spread > 0:
        limit = (overrides.atol or 0.0) / metrics.spread
    allowed = Tolerance(limit, f"{words}, asked for in the place of the derived tolerance")
    wrong = overrides.exceeded(expected, given)
    if wrong:
        reason = f"{wrong} of {given.size} values are further off than {words}"
        return OutputVerdict(Verdict.FAILED, reason, metrics, allowed)
    return OutputVerdict(Verdict.PASSED, "", metrics, allowed)


def _with_minima(verdict: OutputVerdict, overrides: Overrides, criteria: Criteria, output: str) -> OutputVerdict:
    """The least that the user asks for, on top of the verdict. A figure that an output does not have fails where it was
    asked for by the output's name."""
    metrics = verdict.metrics
    if metrics is None or verdict.verdict is Verdict.FAILED:
        return verdict
    minima = [("cosine", overrides.min_cosine, metrics.cosine)]
    if criteria.precision in FLOATS or overrides.bounds:
        minima += [("top-1 agreement", overrides.min_agreement, metrics.agreement)]
        minima += [("SQNR", overrides.min_sqnr, math.inf if metrics.max_abs == 0 else metrics.sqnr_db)]
    for what, least, value in minima:
        if least is not None and value is None and output in criteria.overrides:
            reason = f"a least {what} was asked for, and this output has none"
            return dataclasses.replace(verdict, verdict=Verdict.FAILED, reason=reason)
        if least is not None and value is not None and not value >= least:
            reason = f"{what} {value:.6g}, below the {least:g} that was asked for"
            return dataclasses.replace(verdict, verdict=Verdict.FAILED, reason=reason)
    return verdict


def _expected_noise(verdict: OutputVerdict, overrides: Overrides, precision: Precision) -> float:
    """By how much one score may be off without any fault.

    Float: the tolerance. Quantised: the deviation that the least accepted SQNR leaves, sigma = rms / 10^(dB/20); one in
    twenty differences of two scores is beyond 2 sqrt(2) sigma, hence sqrt(2) sigma for each.
    """
    metrics = verdict.metrics
    assert metrics is not None
    if precision in FLOATS and verdict.tolerance is not None and math.isfinite(verdict.tolerance.relative):
        return verdict.tolerance.relative * metrics.spread
    return _quantised_noise(metrics, overrides.min_sqnr if overrides.min_sqnr is not None else Gates().sqnr_db)


def _quantised_noise(metrics: Metrics, decibels: float) -> float:
    return math.sqrt(2) * metrics.magnitude / 10 ** (decibels / 20)


def _overflow(record: Record, output: str, case: Case | None, criteria: Criteria) -> str:
    if criteria.precision is not Precision.FP16 or "fp16" not in record.noise or "fp16" not in criteria.half:
        return ""
    errors = record.noise["fp16"][output]
    rows = slice(None) if case is None else case.rows
    return "" if np.isfinite(errors[rows]).all() else "; its activations overflow float16 on these inputs"
