"""From times to a claim: medians, ratios, their intervals, and when no difference may be claimed.

The unit of evidence is a **launch**: all artifacts opened anew, each in a fresh process, and timed in turns. Times
within a launch are not independent of each other (the machine drifts; where a process's memory came to lie stays as it
is until it ends), so hundreds of inferences of one launch are one observation: the median over its rounds of the ratio
within each round. docs/performance.md has the derivation.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Final

CONFIDENCE: Final = 0.95

LAUNCHES: Final = 6
"""The fewest for an interval at CONFIDENCE: 1 - 2 / 2**6 = 96.9%; five give 93.8%."""


class Difference(enum.StrEnum):
    """What may be said of one artifact beside another."""

    FASTER = "faster"
    SLOWER = "slower"
    NOT_RESOLVED = "no difference resolved"
    TOO_FEW = "not judged: too few launches"


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A median over launches, and an interval that holds the true median with probability `confidence` or more.

    `low`, `high` and `confidence` are None with fewer than LAUNCHES launches.
    """

    median: float
    low: float | None
    high: float | None
    confidence: float | None


def estimate(launches: Sequence[float]) -> Estimate:
    """The median of one figure a launch, with its sign interval (order statistics).

    The interval runs from the k-th smallest to the k-th largest of n figures. It misses the true median only if fewer
    than k of them fall on one side of it; independent figures fall on either side with probability 1/2, so that has
    probability 2 P(B(n, 1/2) < k) at most, whatever their distribution. k is the largest that keeps this within
    1 - CONFIDENCE.

    Raises:
        ValueError: no figures.
    """
    if not launches:
        raise ValueError("an estimate needs at least one launch")
    ordered = sorted(launches)
    count = len(ordered)
    rank, miss = _rank(count)
    if rank == 0:
        return Estimate(_median(ordered), None, None, None)
    return Estimate(_median(ordered), ordered[rank - 1], ordered[count - rank], 1 - miss)


def paired_ratio(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Estimate:
    """How many times as long the first takes as the second: one sequence of times a launch, one time a round.

    Rounds are paired: both artifacts had their turn in each. Ratios are averaged as logarithms, so that the estimate of
    second to first is exactly the inverse.

    Raises:
        ValueError: the two do not have the same rounds, or none.
    """
    logs = []
    for mine, other in zip(first, second, strict=True):
        logs.append(_median(sorted(math.log(a / b) for a, b in zip(mine, other, strict=True))))
    found = estimate(logs)
    return Estimate(math.exp(found.median), _exp(found.low), _exp(found.high), found.confidence)


def difference(ratio: Estimate) -> Difference:
    """What a ratio allows to say: a difference only where the whole interval lies on one side of 1."""
    if ratio.low is None or ratio.high is None:
        return Difference.TOO_FEW
    if ratio.high < 1:
        return Difference.FASTER
    return Difference.SLOWER if ratio.low > 1 else Difference.NOT_RESOLVED


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("there is no median of nothing")
    return _median(sorted(values))


def middle_mean(values: Sequence[float]) -> float:
    """The mean of the middle half: as safe from outliers as a median, and finer than a clock that counts whole units.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("there is no mean of nothing")
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _rank(count: int) -> tuple[int, float]:
    """The rank k of the interval's ends and its probability to miss; 0 where even k = 1 misses too often."""
    rank, miss, tail = 0, 1.0, 0.0
    for below in range(count // 2):
        tail += math.comb(count, below) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            break
        rank, miss = below + 1, 2 * tail
    return rank, miss


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
