"""What arithmetic a Keras model holds, told from its layers: where no TensorFlow graph is at hand."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
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


@contextlib.contextmanager
def means_counted() -> Iterator[list[int]]:
    """Inside, every mean that Keras computes adds to the list how many values it is of.

    Models are functions: layers of anybody's take means in their own calls, where no graph tells of them.
    """
    from keras.src import backend

    counts: list[int] = []
    given = backend.numpy.mean

    def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        sizes = tuple(x.shape)
        axes = range(len(sizes)) if axis is None else (axis,) if isinstance(axis, int) else axis
        counts.append(math.prod(int(sizes[each] or 1) for each in axes))
        return given(x, axis=axis, keepdims=keepdims)

    backend.numpy.mean = mean
    try:
        yield counts
    finally:
        backend.numpy.mean = given


def _side(operation: Any) -> int:
    """The largest size but that of batch and channels which it reads; both orders of axes are allowed for."""
    found = keras.tree.flatten(getattr(operation, "input", ()))
    return max((int(size or 0) for tensor in found for size in tuple(tensor.shape)[1:-1]), default=0)
