"""Which rows of a tensor are whose is found by exchanging the samples, whatever else is in it."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.parity.stacking import as_called, by_sample, rows_of

SAMPLES = np.random.default_rng(0).normal(size=(4, 3, 5))  # three rows of each


@pytest.mark.parametrize("way", ["together", "in turn"])
def test_rows_are_found_split_and_put_back(way: str) -> None:
    def called(samples: np.ndarray) -> np.ndarray:
        ordered = samples if way == "together" else samples.swapaxes(0, 1)
        return ordered.reshape(12, 5).copy()

    value, rolled = called(SAMPLES), called(np.roll(SAMPLES, 1, axis=0))
    found = rows_of(value, rolled, 4)
    assert found == way
    assert np.array_equal(by_sample(value, 4, found), SAMPLES)
    assert np.array_equal(as_called(SAMPLES, found), value)
    value[0, 0] = rolled[3 if way == "together" else 1, 0] = np.nan  # a fault is not to hide the tensor it is in
    assert rows_of(value, rolled, 4) == way


def test_what_mixes_samples_has_none() -> None:
    mixed = SAMPLES - SAMPLES[:1]
    assert rows_of(mixed, np.roll(SAMPLES, 1, axis=0) - SAMPLES[-1:], 4) is None
    turned = SAMPLES[:, 0, :4].T  # a row of each is a column
    assert rows_of(turned, np.roll(turned, 1, axis=1), 4) is None
    assert rows_of(SAMPLES[:3], SAMPLES[:3], 4) is None
    assert rows_of(np.float32(3), np.float32(3), 4) is None


def test_of_one_sample_everything_is_its_own() -> None:
    for value, rows, shape in (
        (np.ones((1, 2)), "one", (1, 2)),
        (np.ones((6, 2)), "together", (1, 6, 2)),
        (np.ones(()), "together", (1,)),
    ):
        found = rows_of(value, value, 1)
        assert found == rows
        assert by_sample(value, 1, found).shape == shape
        assert np.array_equal(as_called(by_sample(value, 1, found), found), value)
