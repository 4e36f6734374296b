"""How far two arrays lie apart, in the units of the reference's own spread. NumPy only."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np

CONSTANT: Final = 1e-12
"""An output that varies by less, relative to its size, is constant but for the rounding of float64."""


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """A candidate's output beside the reference's, over all samples. A figure that does not exist is None.

    Attributes:
        max_abs, mean_abs: of the differences, in the output's own units.
        spread: how much the reference varies from sample to sample: per element, the standard deviation over the
            samples; of these the root mean square. With one sample, the deviation over its elements. 0 for what varies
            by less than CONSTANT of its size.
        magnitude: root mean square of the reference.
        relative: max_abs / spread; None where the spread is 0.
        cosine: of the two as flat vectors; None where one of them is 0.
        sqnr_db: 10 log10(signal power / error power); None where there is no error (infinite) or no signal.
        agreement: for class scores (rank 2, two columns or more), the share of samples with the same top-1; else None.
    """

    max_abs: float
    mean_abs: float
    spread: float
    magnitude: float
    relative: float | None
    cosine: float | None
    sqnr_db: float | None
    agreement: float | None


def compare(reference: np.ndarray, candidate: np.ndarray) -> Metrics:
    """Metrics of a finite candidate of the reference's shape, samples first. Computed in float64."""
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    error = np.abs(got - ref)
    signal, noise = float(np.mean(ref**2)), float(np.mean(error**2))
    magnitude = math.sqrt(signal)
    spread = _spread(ref)
    spread = spread if spread > CONSTANT * magnitude else 0.0
    norms = float(np.linalg.norm(ref) * np.linalg.norm(got))
    max_abs = float(error.max(initial=0.0))
    return Metrics(
        max_abs=max_abs,
        mean_abs=float(error.mean()),
        spread=spread,
        magnitude=magnitude,
        relative=max_abs / spread if spread > 0 else None,
        cosine=float(np.vdot(ref, got)) / norms if norms > 0 else None,
        sqnr_db=10 * math.log10(signal / noise) if noise > 0 and signal > 0 else None,
        agreement=float(np.mean(ref.argmax(1) == got.argmax(1))) if ref.ndim == 2 and ref.shape[1] > 1 else None,
    )


def _spread(reference: np.ndarray) -> float:
    if len(reference) > 1:
        return math.sqrt(float(np.mean(reference.var(axis=0))))
    return float(reference.std())
