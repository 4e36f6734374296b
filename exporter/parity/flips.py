"""Samples on which a candidate decides otherwise than the model, and whether that says anything. NumPy only."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Flip:
    """One sample whose top-1 class is another.

    sample: its row among all samples. margin: by how much the model prefers its class over the candidate's.
    near_tie: the margin is within what the noise that is expected can turn.
    """

    sample: int
    expected: int
    given: int
    margin: float
    near_tie: bool

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def find_flips(expected: np.ndarray, given: np.ndarray, noise: float, start: int) -> tuple[Flip, ...]:
    """The flips of class scores (N, classes); none for what are no class scores.

    Args:
        noise: by how much one score may be off; a margin of twice that is a near tie, as two scores can be off.
        start: row of the first of these samples among all.
    """
    if expected.ndim != 2 or expected.shape[1] < 2:
        return ()
    top, other = expected.argmax(1), given.argmax(1)
    rows = np.flatnonzero(top != other)
    exact = expected.astype(np.float64)
    found = []
    for row in rows:
        margin = float(exact[row, top[row]] - exact[row, other[row]])
        found.append(Flip(start + int(row), int(top[row]), int(other[row]), margin, margin <= 2 * noise))
    return tuple(found)
