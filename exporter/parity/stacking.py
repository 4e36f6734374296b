"""Which rows of a tensor belong to which sample of a call, where it holds several rows of each; NumPy only.

A gate's MLP that is called once on both pooled vectors holds them behind one another in the batch: 2 N rows for N
samples. A dense layer over a map holds the pixels of the first sample, then those of the next.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

Rows = Literal["one", "together", "in turn"]
"""One for each sample; all of the first sample, then all of the next; or the first of each sample, then the second."""

_NEAR: Final = 0.1
"""Of what exchanging the samples changes in a tensor, how far its rows may be from having been exchanged alike."""

_ROUNDED: Final = 1e-5
"""The same of its largest number: a product of several rows may be summed in another order by each row's place."""


def rows_of(value: np.ndarray, rolled: np.ndarray, batch: int) -> Rows | None:
    """How a tensor holds the samples of one call; None where it holds them in no known way, or mixes them.

    Args:
        value: as it is computed.
        rolled: the same with each sample in the place of the one behind it, and the last one first.
        batch: samples of the call. Of one, everything is that sample's, with no axis for it too.
    """
    if batch == 1:
        return "one" if value.shape[:1] == (1,) else "together"
    if value.ndim == 0 or value.shape != rolled.shape or not len(value) or len(value) % batch:
        return None
    # A number that is not finite is a fault to be found, and tells nothing here.
    value, rolled = (np.where(np.isfinite(each), each, 0.0).astype(np.float64) for each in (value, rolled))
    ways: tuple[Rows, ...] = ("one",) if len(value) == batch else ("in turn", "together")
    size = float(np.max(np.abs(value), initial=0.0))
    found: Rows | None = None
    nearest = np.inf
    for way in ways:
        one, other = by_sample(value, batch, way), by_sample(rolled, batch, way)
        off = float(np.max(np.abs(other - np.roll(one, 1, axis=0)), initial=0.0))
        changed = float(np.max(np.abs(other - one), initial=0.0))
        if off < nearest and off <= _NEAR * changed + _ROUNDED * size:
            found, nearest = way, off
    return found


def by_sample(value: np.ndarray, batch: int, rows: Rows) -> np.ndarray:
    """The tensor with the samples first, and the rows of each behind that."""
    if rows == "one":
        return value
    if batch == 1:
        return value[None]
    if rows == "together":
        return value.reshape(batch, len(value) // batch, *value.shape[1:])
    return value.reshape(len(value) // batch, batch, *value.shape[1:]).swapaxes(0, 1)


def as_called(value: np.ndarray, rows: Rows) -> np.ndarray:
    """What `by_sample` was made from: the rows in the order in which the call holds them."""
    if rows == "one":
        return value
    if len(value) == 1:
        first: np.ndarray = value[0]
        return first
    ordered = value if rows == "together" else value.swapaxes(0, 1)
    return ordered.reshape(-1, *ordered.shape[2:])
