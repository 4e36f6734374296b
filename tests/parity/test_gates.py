"""Quantised outputs are judged by what they decide, after everything that fails outright."""

import re

import numpy as np
import pytest

from converters.artifact import TensorSpec
from exporter.parity.gates import Gates, judge_quantised
from exporter.parity.stored import to_real, to_stored
from exporter.parity.verdict import Verdict

SCORES = np.random.default_rng(0).normal(size=(200, 10))


def noisy(decibels: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=SCORES.shape)
    return SCORES + noise * np.sqrt(np.mean(SCORES**2) / np.mean(noise**2)) * 10 ** (-decibels / 20)


@pytest.mark.parametrize(
    ("candidate", "verdict", "words"),
    [
        (noisy(40), Verdict.PASSED, ""),
        (noisy(19), Verdict.FAILED, "SQNR 19.0 dB, below 20 dB"),
        (np.where(np.arange(200)[:, None] < 100, SCORES, np.nan), Verdict.FAILED, "NaN or infinity"),
        (SCORES[:, :9], Verdict.FAILED, r"shape \(9,\) a sample"),
        (None, Verdict.FAILED, "no such output"),
        (SCORES, Verdict.PASSED, ""),
    ],
)
def test_verdict(candidate, verdict, words):
    outcome = judge_quantised(SCORES, candidate, Gates())
    assert outcome.verdict is verdict
    assert re.search(words, outcome.reason)


def test_agreement_counts_where_sqnr_is_high():
    near = SCORES.copy()
    near[:, 1] = near[:, 0] + 1e-4  # a near tie of the first two, turned by next to nothing
    turned = near.copy()
    turned[:, 1] -= 2e-4
    outcome = judge_quantised(near, turned, Gates())
    assert outcome.verdict is Verdict.FAILED
    assert "top-1 agrees on" in outcome.reason
    assert judge_quantised(near, turned, Gates(agreement=0.1)).verdict is Verdict.PASSED


def test_constant_reference_claims_nothing():
    same = np.ones((5, 3))
    assert judge_quantised(same, same + 0.1, Gates()).verdict is Verdict.NOT_INFORMATIVE


@pytest.mark.parametrize(("dtype", "zero"), [("int8", -3), ("uint8", 128), ("int16", 0)])
def test_stored_and_back(dtype, zero):
    spec = TensorSpec("x", (1, 4), dtype, scale=0.25, zero_point=zero)
    real = np.array([[0.0, 0.25, -1.0, 1e6]], np.float32)
    stored = to_stored(real, spec)
    assert stored.dtype == dtype
    assert stored[0, 0] == zero
    assert stored[0, 3] == np.iinfo(dtype).max
    np.testing.assert_array_equal(to_real(stored, spec)[0, :3], real[0, :3])


def test_float_is_cast_only():
    spec = TensorSpec("x", (1, 4), "float32")
    assert to_stored(np.ones((1, 4)), spec).dtype == "float32"
