"""Which range of numbers each tensor is stored in: from what it takes on calibration data. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import numpy as np

from converters.errors import ModelError

Method = Literal["minmax", "mse"]
Range = tuple[float, float]

LEVELS: Final = {"int8": 255, "int16x8": 65534}
"""Steps between the ends of a tensor's range, by precision."""

BINS: Final = 2048
"""Of a histogram: eight to each of 256 steps."""

_NARROW: Final = 0.001
"""Of a range, relative to its larger end: below it the edges of the bins are not all apart in float32."""

_CUTS: Final = np.linspace(1.0, 0.4, 31)
"""What parts of each end of a range are tried by `mse`."""


@dataclasses.dataclass(slots=True)
class Seen:
    """What one tensor took: its smallest and largest value, how often each BINS-th of that range, and the sum over all
    calls of its means by channel."""

    low: float
    high: float
    counts: np.ndarray
    total: np.ndarray


class Observer:
    """Looks at every tensor of a float model while it runs on the calibration data, twice.

    First `limits` for all samples, then `count` for the same samples again.

    Args:
        channels: the axis of the channels, by which means are taken; of tensors of one axis, that one.
    """

    def __init__(self, channels: int = -1) -> None:
        self.seen: dict[str, Seen] = {}
        self._channels = channels
        self._calls = 0

    def limits(self, tensors: Mapping[str, np.ndarray], sample: str) -> None:
        """Widen the ranges by one call's tensors.

        Raises:
            ModelError: a tensor with NaN or infinity in it, naming the first.
        """
        self._calls += 1
        for name, value in tensors.items():
            low, high = float(value.min(initial=np.inf)), float(value.max(initial=-np.inf))
            if not np.isfinite(low + high):
                raise ModelError(
                    f"on {sample} of the calibration data, which is finite, the model itself computes "
                    f"{'NaN' if np.isnan(value).any() else 'infinity'} in {name!r}; no range could hold that"
                )
            mean = self._mean(value)
            seen = self.seen.setdefault(name, Seen(low, high, np.zeros(BINS, np.int64), np.zeros(len(mean))))
            seen.total += mean
            seen.low, seen.high = min(seen.low, low), max(seen.high, high)

    def _mean(self, value: np.ndarray) -> np.ndarray:
        if value.ndim > 1 and self._channels != -1:
            value = np.moveaxis(value, self._channels, -1)
        mean: np.ndarray = value.reshape(-1, value.shape[-1] if value.ndim else 1).mean(axis=0, dtype=np.float64)
        return mean

    def count(self, tensors: Mapping[str, np.ndarray], sample: str = "") -> None:
        """Add one call's tensors to the histograms."""
        for name, value in tensors.items():
            seen = self.seen[name]
            if seen.high > seen.low:
                if seen.high - seen.low < _NARROW * max(-seen.low, seen.high):
                    value = value.astype(np.float64)  # float32 has not as many numbers there as there are bins
                seen.counts += np.histogram(value, BINS, (seen.low, seen.high))[0]

    def means(self) -> dict[str, np.ndarray]:
        """The mean of every tensor by its channels."""
        return {name: seen.total / self._calls for name, seen in self.seen.items()}

    def taken(self) -> dict[str, Range]:
        """The smallest and largest value of every tensor."""
        return {name: (seen.low, seen.high) for name, seen in self.seen.items()}

    def ranges(self, method: Method, *, levels: int = 255, symmetric: bool = False) -> dict[str, Range]:
        """The range of every tensor.

        Args:
            method: `minmax` holds all that was seen. `mse` is the range whose expected squared error is least: what is
                cut off at its ends against the steps of what is left, s^2 / 12 each.
            levels: steps between the ends.
            symmetric: zero is stored as 0, so that both ends are of the same size (int16).
        """
        return {name: _range(seen, method, levels, symmetric) for name, seen in self.seen.items()}


def _range(seen: Seen, method: Method, levels: int, symmetric: bool) -> Range:
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)  # zero must be representable: padding is
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    if method == "minmax" or seen.high <= seen.low:
        return low, high
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    values = (edges[1:] + edges[:-1]) / 2
    ends: Iterable[Range]
    if symmetric:
        ends = [(low * cut, high * cut) for cut in _CUTS]
    else:
        ends = [(low * lower, high * upper) for lower in (_CUTS if low < 0 else (1.0,)) for upper in _CUTS]
    best = min(ends, key=lambda end: _squared_error(values, seen.counts, end, levels))
    return float(best[0]), float(best[1])


def _squared_error(values: np.ndarray, counts: np.ndarray, end: Range, levels: int) -> float:
    low, high = end
    cut = np.maximum(low - values, 0) + np.maximum(values - high, 0)
    step = (high - low) / levels
    return float(np.sum(counts * np.where(cut > 0, cut**2, step**2 / 12)))
