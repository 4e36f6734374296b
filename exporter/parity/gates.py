"""When a quantised artifact may stand for the float model: by what it decides, not by rounding, which it exceeds.

Every figure here has its reason beside it; the float tolerances are in `exporter.parity.verdict`.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from exporter.parity.metrics import Metrics, compare
from exporter.parity.verdict import OutputVerdict, Verdict, fault

MIN_AGREEMENT: Final = 0.98
"""Share of samples with the same top-1. Over 1,000 samples the standard error of a share of 0.98 is 0.44 points, and a
sound int8 net agrees on 98.8% or more (findings, section 3): what lies below has lost more than its near ties."""

MIN_SQNR_DB: Final = 20.0
"""Error power a hundredth of the signal's. Eight bits over a full range give 6.02 * 8 + 1.76 = 50 dB a tensor; dozens
of tensors, each with a range some times its deviation, end at 24 to 35 dB in sound nets (findings, section 3), and the
faults that were found there (clipped maps, wrong bias, wrong calibration range) all below 20."""


MAX_SHARE: Final = 0.5
"""Of what an output varies by from sample to sample, what its errors may be, as root mean squares. For an output around
0 the SQNR of 20 dB allows 0.1; at 1 a constant would be as near. Measured on 68 landmarks, sigmoids: 0.09 in a sound
int8 file (52.7 dB), 0.78 with RGB for BGR (34.2 dB)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Gates:
    """The least that is accepted: `agreement` as a share, `sqnr_db` in dB."""

    agreement: float = MIN_AGREEMENT
    sqnr_db: float = MIN_SQNR_DB

    def __str__(self) -> str:
        return f"agreement >= {self.agreement:.2%}, SQNR >= {self.sqnr_db:g} dB"


def judge_quantised(reference: np.ndarray, candidate: np.ndarray | None, gates: Gates) -> OutputVerdict:
    """Judge one output, given in real numbers, samples first. Agreement counts where the output is class scores."""
    reason = fault(reference, candidate)
    if reason:
        return OutputVerdict(Verdict.FAILED, reason, None, None)
    assert candidate is not None
    metrics = compare(reference, candidate)
    if metrics.relative is None:
        reason = "the output is the same for every sample, so that a fault need not show"
        return OutputVerdict(Verdict.NOT_INFORMATIVE, reason, metrics, None)
    if reference.dtype.kind != "f":
        return _judge_whole_numbers(reference, candidate, metrics, gates)
    reason = _misses(metrics, gates)
    if reason:
        return OutputVerdict(Verdict.FAILED, reason, metrics, None)
    found = _beside_what_varies(metrics, gates)
    lost = _lost_columns(reference, candidate) if found.verdict is Verdict.PASSED else ""
    return OutputVerdict(Verdict.NOT_INFORMATIVE, lost, metrics, None) if lost else found


def _lost_columns(reference: np.ndarray, candidate: np.ndarray) -> str:
    """Columns of the last axis that are one value in the artifact and not in the model, in words: scores beside boxes
    in pixels, which one scale for all of them rounds to 0. Not of class scores, whose top-1 is held against."""
    if reference.ndim < 3 or not 1 < reference.shape[-1] <= _COLUMNS:
        return ""
    due = reference.reshape(-1, reference.shape[-1]).astype(np.float64)
    have = candidate.reshape(due.shape)
    varies = due.std(axis=0) > _VARIES * np.sqrt(np.mean(due**2, axis=0))
    lost = np.flatnonzero(varies & (np.ptp(have, axis=0) == 0))
    if not lost.size:
        return ""
    which = f"column {lost[0]} is {have[0, lost[0]]:.3g}, and {due[:, lost[0]].min():.3g}..{due[:, lost[0]].max():.3g}"
    holds = "holds" if lost.size == 1 else "hold"
    return f"{lost.size} of {due.shape[1]} columns {holds} one value in the artifact: {which} in the model"


_COLUMNS: Final = 256
_VARIES: Final = 0.05  # of its size, by which a column of the model has to vary to be missed


def _judge_whole_numbers(reference: np.ndarray, candidate: np.ndarray, metrics: Metrics, gates: Gates) -> OutputVerdict:
    """Labels and masks: how far off a wrong one is says nothing."""
    same = float(np.mean(reference == np.rint(candidate.astype(np.float64))))
    reason = (
        "" if same >= gates.agreement else f"{same:.2%} of its whole numbers are right, below {gates.agreement:.2%}"
    )
    return OutputVerdict(Verdict.FAILED if reason else Verdict.PASSED, reason, metrics, None)


def _beside_what_varies(metrics: Metrics, gates: Gates) -> OutputVerdict:
    """The verdict where the gates are met: SQNR counts what all samples share as signal, and an output that lies far
    from 0 and varies little meets it with a constant."""
    error = 0.0 if metrics.sqnr_db is None else metrics.magnitude * 10 ** (-metrics.sqnr_db / 20)
    share = error / metrics.spread
    if gates.sqnr_db <= 0 or share <= MAX_SHARE:
        return OutputVerdict(Verdict.PASSED, "", metrics, None)
    reason = f"its errors are {share:.2g} of what samples differ by (root mean squares)"
    if share >= 1:
        return OutputVerdict(Verdict.FAILED, f"{reason}: a constant would be as near", metrics, None)
    reason += f"; SQNR {metrics.sqnr_db:.1f} dB is that of what they share"
    # Where top-1 is right as well, the scores tell the samples apart all the same.
    verdict = Verdict.FAILED if metrics.agreement is None else Verdict.NOT_INFORMATIVE
    return OutputVerdict(verdict, reason, metrics, None)


def _misses(metrics: Metrics, gates: Gates) -> str:
    if metrics.sqnr_db is None and metrics.max_abs > 0:
        return "the reference is zero and the artifact is not"
    if metrics.sqnr_db is not None and not metrics.sqnr_db >= gates.sqnr_db:
        return f"SQNR {metrics.sqnr_db:.1f} dB, below {gates.sqnr_db:g} dB"
    if metrics.agreement is not None and not metrics.agreement >= gates.agreement:
        return f"top-1 agrees on {metrics.agreement:.2%}, below {gates.agreement:.2%}"
    return ""
