"""How near two tensors are, and which of several are as near as the nearest; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

_AS_NEAR: Final = 2  # times the least error
_EQUAL: Final = 0.1  # of the error that is allowed


def as_near(least: float, allowed: float) -> float:
    """The largest error that is as near as the `least`, or as good as equal to it where much is allowed."""
    return max(_AS_NEAR * least, _EQUAL * allowed)


def nearest(errors: Sequence[tuple[float, float]]) -> list[int]:
    """Places of those as near as the nearest, of errors and what is allowed of each. Where much is allowed, as in 8
    bits, a sum without its bias agrees with the one that has it too, and is not that."""
    least = min((error for error, _ in errors), default=0.0)
    return [place for place, (error, allowed) in enumerate(errors) if error <= as_near(least, allowed)]


def moments(value: np.ndarray) -> tuple[float, float]:
    """Mean and deviation, in float64: half precision overflows in a sum of squares."""
    return float(np.mean(value, dtype=np.float64)), float(np.std(value, dtype=np.float64))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference; infinite where it is not finite."""
    found = float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))
    return found if np.isfinite(found) else np.inf
