"""The verdict: what fails before anything is measured, what passes, and what cannot be known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exporter.parity.check import check, run_in_batches
from exporter.parity.metrics import compare
from exporter.parity.verdict import OwnError, Verdict, Workload, judge

WORK = Workload(contractions=20, fan_in=576)
OWN = OwnError(1e-6, 1e-6)
RANDOM = np.random.default_rng(3)
SCORES = RANDOM.standard_normal((50, 10)).astype(np.float32)


def verdict(candidate: np.ndarray | None, reference: np.ndarray = SCORES, own_error: float | None = 1e-6) -> Verdict:
    """Of a model that computes in float32 with that error, or one whose error is not known."""
    own = None if own_error is None else OwnError(own_error, own_error)
    return judge(reference, candidate, own, WORK).verdict


def test_the_same_array_passes() -> None:
    assert verdict(SCORES.copy()) is Verdict.PASSED


def test_what_is_missing_fails() -> None:
    assert judge(SCORES, None, OWN, WORK).reason == "the artifact has no such output"
    assert verdict(None) is Verdict.FAILED


def test_another_shape_fails_even_where_it_would_broadcast() -> None:
    assert verdict(SCORES[:, :1]) is Verdict.FAILED
    assert verdict(SCORES.T.copy()) is Verdict.FAILED


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_non_finite_value_fails_before_any_metric(bad: float) -> None:
    candidate = SCORES.copy()
    candidate[7, 3] = bad
    result = judge(SCORES, candidate, OWN, WORK)
    assert (result.verdict, result.metrics) == (Verdict.FAILED, None)
    assert "1 of 500 values are NaN or infinity" in result.reason


def test_a_model_that_gives_nan_itself_is_not_passed() -> None:
    reference = SCORES.copy()
    reference[0, 0] = np.nan
    assert verdict(reference.copy(), reference) is Verdict.FAILED


@pytest.mark.parametrize("size", [1e-6, 0.006, 1.0, 1e6])
def test_the_verdict_does_not_depend_on_the_size_of_the_output(size: float) -> None:
    """An output of 0.006 passes atol=1e-4 whatever happens; here a fault of 0.1% fails and rounding passes."""
    reference = SCORES * np.float32(size)
    rounding = reference * np.float32(1 + 2**-22)
    fault = reference.copy()
    fault[:, 4] *= np.float32(1.001)
    assert verdict(rounding, reference, own_error=1e-6 * size) is Verdict.PASSED
    assert verdict(fault, reference, own_error=1e-6 * size) is Verdict.FAILED
    assert verdict(fault, reference, own_error=None) is Verdict.FAILED


def test_a_constant_output_is_not_informative() -> None:
    constant = np.full((50, 10), 0.1, np.float32)
    assert verdict(constant.copy(), constant, own_error=0.0) is Verdict.NOT_INFORMATIVE
    assert verdict(constant.copy(), constant, own_error=None) is Verdict.NOT_INFORMATIVE


def test_a_constant_output_with_another_constant_fails() -> None:
    constant = np.full((50, 10), 0.1, np.float32)
    assert verdict(constant * np.float32(1.01), constant) is Verdict.FAILED


def test_an_output_that_ignores_its_input_is_not_passed() -> None:
    """The elements differ, but no sample from another: a candidate that ignores its input would pass."""
    fixed = np.tile(SCORES[:1], (50, 1))
    assert verdict(fixed.copy(), fixed) is Verdict.NOT_INFORMATIVE


def test_noise_beside_a_large_constant_is_not_informative() -> None:
    shaky = (1000 + RANDOM.standard_normal((50, 10)) * 1e-3).astype(np.float32)
    assert verdict(shaky.copy(), shaky, own_error=1e-4) is Verdict.NOT_INFORMATIVE


def test_a_float16_model_is_allowed_its_own_error() -> None:
    half = SCORES.astype(np.float16).astype(np.float32)
    own = float(np.abs(half - SCORES).max())
    assert judge(half, SCORES, OwnError(own, 1e-7), WORK).verdict is Verdict.PASSED
    assert judge(half, SCORES, OwnError(1e-7, 1e-7), WORK).verdict is Verdict.FAILED
    assert judge(half, half + np.float32(2 * own), OwnError(own, 1e-7), WORK).verdict is Verdict.FAILED


def test_a_resize_is_allowed_its_coordinates() -> None:
    moved = SCORES + np.float32(5e-5)
    assert verdict(moved) is Verdict.FAILED
    resized = Workload(20, 576, resized_side=64)
    assert judge(SCORES, moved, OWN, resized).verdict is Verdict.PASSED


def test_a_tolerance_that_is_not_a_number_passes_nothing() -> None:
    nan = OwnError(math.nan, math.nan)
    assert judge(SCORES, -5 * SCORES, nan, WORK).verdict is Verdict.FAILED


def test_metrics_are_what_they_say() -> None:
    reference = np.array([[1.0, 2.0], [3.0, -2.0]])
    candidate = np.array([[1.5, 2.0], [3.0, -2.5]])
    metrics = compare(reference, candidate)
    assert (metrics.max_abs, metrics.mean_abs) == (0.5, 0.25)
    assert metrics.spread == pytest.approx(math.sqrt((1 + 4) / 2))
    assert metrics.magnitude == pytest.approx(math.sqrt(18 / 4))
    assert metrics.relative == pytest.approx(0.5 / metrics.spread)
    assert metrics.sqnr_db == pytest.approx(10 * math.log10((18 / 4) / (0.5 / 4)))
    assert metrics.cosine == pytest.approx(19.5 / math.sqrt(18 * 21.5))
    assert metrics.agreement == 1.0
    assert compare(reference, candidate[:, ::-1]).agreement == 0.0
    exact = compare(reference, reference)
    assert (exact.sqnr_db, exact.max_abs, exact.relative) == (None, 0.0, 0.0)


@pytest.mark.parametrize("batch", [None, 1, 4, 7, 50, 64])
def test_batches_cover_every_sample_once_and_in_order(batch: int | None) -> None:
    sizes = []

    class Doubling:
        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            sizes.append(len(inputs["x"]))
            return {"y": inputs["x"] * 2}

    result = run_in_batches(Doubling(), {"x": SCORES}, batch)
    np.testing.assert_array_equal(result["y"], SCORES * 2)
    assert set(sizes) == ({batch} if batch else {1, 32, 17})


def test_names_are_matched_by_position_and_a_missing_output_fails() -> None:
    from exporter.parity.check import Reference

    reference = Reference({"in-put": SCORES}, {"a": SCORES, "b": SCORES * 2}, {"a": OWN, "b": OWN}, WORK, "", "")

    class Half:
        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"a": inputs["in_put"]}

    verdicts = check(Half(), reference, {"in-put": "in_put", "a": "a", "b": "b"}, None)
    assert [each.verdict for each in verdicts.values()] == [Verdict.PASSED, Verdict.FAILED]
