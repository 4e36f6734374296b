"""Python's own constructs in a Lambda's function: what a rescued model computes is what the function computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue

MODE, SIZES = "Mean", (1, 2, 3)


def _extended(x: Any) -> Any:
    parts = [x]
    for size in SIZES:
        parts += [x * size, x + size]
    parts += (x,)
    return ops.concatenate(parts, axis=-1)


def _of_constants(x: Any) -> Any:
    if any(size > 2 for size in SIZES) and all([True, MODE.lower() == "mean"]):
        x = x * 2
    if MODE.upper().startswith("ME") and not any([]) and MODE.endswith("n"):
        x = getattr(tf.nn, f"relu{6}")(x)
    return tf.identity(x, name=f"{MODE}_{SIZES[0]}")


def _aliased(x: Any) -> Any:
    parts = [x]
    same = parts
    parts += [x]
    return ops.concatenate(same, axis=-1)


def _extended_by_a_tensor(x: Any) -> Any:
    parts = [x[:, 0]]
    parts += x[:, 1]
    return ops.concatenate(parts, axis=-1)


def _formatted(x: Any) -> Any:
    return tf.identity(x, name=f"{0.5}")


def _model(function: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input((3, 4), batch_size=2)
    return keras.Model(inputs, layers.Lambda(function, name="odd")(inputs))


@pytest.mark.parametrize("function", [_extended, _of_constants])
def test_computes_what_the_function_computes(function: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    made = rescue(_model(function)).model(x)
    np.testing.assert_allclose(np.asarray(made), np.asarray(function(x)), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_aliased, "a change of an object in place"),
        (_extended_by_a_tensor, "a change of an object in place"),
        (_formatted, "formats the text"),
    ],
)
def test_what_is_not_certain_is_refused(function: Callable[[Any], Any], said: str) -> None:
    inputs = keras.Input((3, 4), batch_size=2)
    layer = layers.Lambda(lambda x: x, name="odd")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(LambdaRefusedError, match=said):
        rescue(_saved_with(model, function))


def _saved_with(model: keras.Model, function: Callable[[Any], Any]) -> keras.Model:
    model.get_layer("odd").function = function
    return model
