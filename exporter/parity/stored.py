"""Between real numbers and the integers that a quantised tensor stores. NumPy only."""

from __future__ import annotations

import numpy as np

from converters.artifact import TensorSpec


def to_stored(real: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Real numbers as `spec` stores them: round(real / scale) + zero_point, half to even, clipped to the type.

    Integers without a scale stand for themselves; a tensor of floats is cast only.
    """
    if spec.scale is None and not (real.dtype.kind == "f" and np.dtype(spec.dtype).kind in "iu"):
        return real.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    codes = np.rint(real.astype(np.float64) / (spec.scale or 1.0)) + (spec.zero_point or 0)
    clipped: np.ndarray = np.clip(codes, limits.min, limits.max)
    return clipped.astype(spec.dtype)


def to_real(stored: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The float32 numbers that stored integers stand for: scale * (stored - zero_point); without scale, as they are."""
    if spec.scale is None:
        return stored
    return ((stored.astype(np.float64) - (spec.zero_point or 0)) * spec.scale).astype(np.float32)
