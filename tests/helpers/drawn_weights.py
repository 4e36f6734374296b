"""Random weights where Keras would begin with zeros and ones, which hide faults."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["drawn"]


def drawn(model: Any, *, offsets: float = 0.0) -> Any:
    """The model itself, its scales and variances drawn from 0.5 to 1.5, other vectors with that standard deviation.

    With `offsets` 0 other vectors stay as they are. Kernels keep what their initialiser drew.
    """
    random = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif offsets and len(weight.shape) == 1:
            weight.assign(random.normal(0, offsets, weight.shape))
    return model
