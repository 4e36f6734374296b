"""What a Keras model weighs and costs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from converters.cost import cost
from converters.errors import ModelError


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
    return ModelSummary(
        trainable=sum(math.prod(weight.shape) for weight in model.trainable_weights),
        total=model.count_params(),
        multiply_adds=cost(trace(model)).multiply_adds,
    )


def trace(model: Any) -> Any:
    """The concrete function of one call in inference form, with batch 1 where the batch is open.

    Raises:
        ModelError: an input has an open size other than its batch; or the model has no known inputs.
    """
    import tensorflow as tf

    if keras.config.backend() != "tensorflow":
        raise ModelError(f"a model is traced with Keras on TensorFlow; the backend is {keras.config.backend()}")

    def spec(tensor: Any) -> Any:
        batch, *sizes = tensor.shape
        if None in sizes:
            raise ModelError(
                f"the input {tensor.name!r} of {model.name!r} has open sizes {tuple(tensor.shape)}; "
                f"its multiply-adds need a fixed height and width"
            )
        return tf.TensorSpec((batch or 1, *sizes), tensor.dtype, name=tensor.name)

    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ModelError(f"{model.name!r} has no known inputs; build it by a call before it is measured")
    if hasattr(model, "operations"):
        inputs = model.input  # as the functional model was given them: a tensor, a list or a dict
    elif len(inputs) == 1:
        inputs = inputs[0]
    specs = keras.tree.map_structure(spec, inputs)
    return tf.function(lambda image: model(image, training=False)).get_concrete_function(specs)
