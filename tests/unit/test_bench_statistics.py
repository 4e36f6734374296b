"""What may be claimed from times: intervals that hold what they promise, and noise that is called noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from exporter.bench.statistics import (
    CONFIDENCE,
    LAUNCHES,
    Difference,
    difference,
    estimate,
    median,
    middle_mean,
    paired_ratio,
    quantile,
)

Rounds = list[list[float]]


def launches(
    random: np.random.Generator, factor: float, drift: Sequence[Sequence[float]], layout: float = 0.01
) -> Rounds:
    """Times of one artifact: what the machine does to all, what a launch's memory layout does to it, and jitter."""
    made = []
    for of_launch in drift:
        bias = math.exp(random.normal(0, layout))
        made.append([factor * bias * slow * math.exp(abs(random.normal(0, 0.02))) for slow in of_launch])
    return made


def drifting(random: np.random.Generator, count: int, rounds: int = 15) -> Rounds:
    """A machine whose speed wanders by a factor of up to three."""
    return [[math.exp(random.uniform(0, 1.1)) for _ in range(rounds)] for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "rank", "confidence"),
    [(6, 1, 1 - 2 / 64), (8, 1, 1 - 2 / 256), (9, 2, 1 - 2 * 10 / 512), (20, 6, 1 - 2 * 21700 / 2**20)],
)
def test_the_interval_is_the_sign_interval(count: int, rank: int, confidence: float) -> None:
    figures = [float(each) for each in range(count, 0, -1)]  # in no order that matters
    found = estimate(figures)
    assert (found.low, found.high) == (rank, count + 1 - rank)
    assert found.confidence == pytest.approx(confidence)
    assert confidence >= CONFIDENCE
    assert found.median == (count + 1) / 2


def test_fewer_launches_give_no_interval_and_no_claim() -> None:
    ratio = paired_ratio([[1.0, 1.0]] * (LAUNCHES - 1), [[9.0, 9.0]] * (LAUNCHES - 1))
    assert (ratio.low, ratio.high, ratio.confidence) == (None, None, None)
    assert ratio.median == pytest.approx(1 / 9)
    assert difference(ratio) is Difference.TOO_FEW


@pytest.mark.parametrize("count", [6, 9])
def test_equal_artifacts_are_told_apart_as_rarely_as_promised(count: int) -> None:
    random = np.random.default_rng(3)
    claimed, trials = 0, 1500
    for _ in range(trials):
        drift = drifting(random, count, rounds=5)
        ratio = paired_ratio(launches(random, 1.0, drift), launches(random, 1.0, drift))
        claimed += difference(ratio) is not Difference.NOT_RESOLVED
    assert ratio.confidence is not None
    promised = 1 - ratio.confidence
    spread = math.sqrt(promised * (1 - promised) / trials)
    # Neither more often, nor so rarely that the interval would be wider than it has to be.
    assert promised - 4 * spread <= claimed / trials <= promised + 4 * spread


def test_hundreds_of_inferences_of_one_launch_are_one_observation() -> None:
    """A bias that lasts for a launch must not be resolved, however many rounds repeat it."""
    random = np.random.default_rng(5)
    claimed = 0
    for _ in range(200):
        drift = drifting(random, LAUNCHES, rounds=40)
        ratio = paired_ratio(launches(random, 1.0, drift, 0.05), launches(random, 1.0, drift, 0.05))
        claimed += difference(ratio) is not Difference.NOT_RESOLVED
    assert claimed <= 16  # 3.1% of 200 are 6; a test over all rounds would claim nearly every time


def test_a_difference_is_found_while_the_machine_drifts() -> None:
    random = np.random.default_rng(4)
    for factor, expected in ((0.9, Difference.FASTER), (1.1, Difference.SLOWER)):
        drift = drifting(random, LAUNCHES)
        ratio = paired_ratio(launches(random, factor, drift), launches(random, 1.0, drift))
        assert difference(ratio) is expected
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.low <= ratio.median <= ratio.high
        assert ratio.median == pytest.approx(factor, rel=0.03)  # though the times themselves vary threefold


def test_a_ratio_the_other_way_round_is_the_inverse() -> None:
    random = np.random.default_rng(6)
    drift = drifting(random, 7)
    one, other = launches(random, 1.3, drift), launches(random, 1.0, drift)
    forth, back = paired_ratio(one, other), paired_ratio(other, one)
    assert forth.median * back.median == pytest.approx(1)
    assert forth.low is not None
    assert back.high is not None
    assert forth.low * back.high == pytest.approx(1)


def test_rounds_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        paired_ratio([[1.0]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="argument 2"):
        paired_ratio([[1.0, 2.0]], [[1.0]])
    for function in (estimate, median, middle_mean):
        with pytest.raises(ValueError, match=r"nothing|at least one"):
            function([])


def test_medians_quantiles_and_the_mean_of_the_middle() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5
    assert [quantile([4.0, 3.0, 2.0, 1.0], share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1, 1, 2, 3, 4]
    assert middle_mean([1000.0, 4.0, 5.0, 4.0, 5.0, 5.0, 4.0, 0.0]) == 4.5
