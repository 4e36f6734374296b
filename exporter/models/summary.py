"""What a Keras model weighs and costs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from converters.cost import cost
from converters.trace import trace_keras


@dataclasses.dataclass(frozen=True, slots=True)
class ModelSummary:
    """Sizes of a Keras model.

    Attributes:
        trainable: weights that training would change, in numbers.
        total: all weights, BatchNormalization's statistics included, as Keras's `count_params` counts them.
        multiply_adds: of the convolutions and matrix products of one call on one example, attention included.
    """

    trainable: int
    total: int
    multiply_adds: int


def summarise(model: Any) -> ModelSummary:
    """The sizes of a built Keras model, from a trace with batch 1 (or its own batch, where that is fixed).

    Raises:
        ModelError: an input has an open size other than its batch, or a shape inside is not static.
    """
    return ModelSummary(*count_parameters(model), cost(trace_keras(model).function).multiply_adds)


def count_parameters(model: Any) -> tuple[int, int]:
    """Trainable and all weights of a built Keras model, in numbers."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights), model.count_params()
