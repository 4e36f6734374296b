"""What arithmetic a Keras model holds, told from its layers: where no TensorFlow graph is at hand."""

from __future__ import annotations

import math
from typing import Any

import keras


def layer_arithmetic(model: Any) -> tuple[int, int, int]:
    """How many contractions a model holds, the largest number of products in a sum, and the largest side, in pixels,
    that an interpolating resize reads (0 without one).

    As `converters.cost.arithmetic`, but from layers: one that is called twice counts once, and a product that is
    written as an operation (`keras.ops.matmul`) not at all.
    """
    contractions = largest = side = 0
    for layer in model._flatten_layers(include_self=False):
        if list(layer._flatten_layers(include_self=False, recursive=False)):
            continue
        for weight in layer.weights:
            if "kernel" in weight.name and len(weight.shape) > 1:
                contractions += 1
                taps = weight.shape[:2] if "depthwise" in weight.name else weight.shape[:-1]
                largest = max(largest, math.prod(taps))
        if getattr(layer, "interpolation", "nearest") != "nearest":
            side = max(side, _side(layer))
    for operation in getattr(model, "operations", ()):
        if not isinstance(operation, keras.layers.Layer) and "Resize" in type(operation).__name__:
            side = max(side, _side(operation))
    return contractions, largest, side


def _side(operation: Any) -> int:
    """The largest size but that of batch and channels which it reads; both orders of axes are allowed for."""
    found = keras.tree.flatten(getattr(operation, "input", ()))
    return max((int(size or 0) for tensor in found for size in tuple(tensor.shape)[1:-1]), default=0)
