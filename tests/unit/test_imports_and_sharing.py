"""Imports inside a Lambda's function, and functions that use one value many times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue


def _rescued(tmp_path: Path, text: str) -> tuple[Any, Any]:
    """What a function given as text makes of an input of shape (8, 8, 4), saved and opened again, and its row."""
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.Lambda(_by_name, name="odd", output_shape=(8, 8, 4))(inputs))
    model.save(tmp_path / "old.keras")
    made = rescue(tmp_path / "old.keras", tmp_path / "new.keras", functions={"odd": text}, overwrite=True)
    return keras.models.load_model(tmp_path / "new.keras"), made.replaced[0]


def _by_name(x: Any) -> Any:
    return x


IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype("float32")


def _space_to_depth(x: Any) -> Any:
    """As in every port of YOLO v2."""
    import tensorflow as tf

    return tf.nn.space_to_depth(x, block_size=2)


def _from_keras(x: Any) -> Any:
    from math import sqrt

    import numpy as np
    import tensorflow.keras.backend as K  # noqa: N812
    from keras import ops as o

    return o.abs(x) * sqrt(4) + K.epsilon() + np.float32(1)


def _of_another(x: Any) -> Any:
    import os

    return x * os.cpu_count()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_space_to_depth, lambda x: x.reshape(2, 4, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, 4, 16)),
        (_from_keras, lambda x: np.abs(x) * 2 + 1e-7 + 1),
    ],
)
def test_what_a_function_imports_is_the_library_of_that_name(function: Any, expected: Any, tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 4))
    shape = tuple(expected(IMAGES).shape[1:])
    model = keras.Model(inputs, layers.Lambda(function, name="odd", output_shape=shape)(inputs))
    made = rescue(model, tmp_path / "new.keras")
    again = keras.models.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(again.predict(IMAGES, verbose=0), expected(IMAGES), rtol=1e-6, atol=1e-6)
    assert made.replaced[0].assumptions in ((), ("K.epsilon() is 1e-07, Keras's default",))


def test_an_import_of_anything_else_is_refused_by_name() -> None:
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.Lambda(_of_another, name="odd")(inputs))
    with pytest.raises(LambdaRefusedError, match=r"'odd': .*it imports 'os', a module that is not known"):
        rescue(model)


def test_a_value_that_is_used_twice_line_after_line_is_one_part(tmp_path: Path) -> None:
    """Written out without a name for it, 24 lines would be 83,886,077 parts."""
    lines = "\n".join("    x = x + K.tanh(x)" for _ in range(24))
    model, row = _rescued(tmp_path, f"def f(x):\n{lines}\n    return x")
    expected = IMAGES
    for _ in range(24):
        expected = expected + np.tanh(expected)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, rtol=1e-5)
    assert sum(type(layer).__name__ == "Tanh" for layer in model.operations) == 24
    assert row.source.startswith("lambda x: (v")
    assert row.source.count("K.tanh(") == 24


def test_too_long_and_too_deep_a_function_is_refused_in_numbers_that_mean_something(tmp_path: Path) -> None:
    deep = "\n".join("    x = x + K.tanh(x)" for _ in range(90))
    with pytest.raises(Exception, match=r"its calls are nested 183 deep; at most 100 levels are read"):
        _rescued(tmp_path, f"def f(x):\n{deep}\n    return x")
