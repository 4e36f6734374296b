"""Layers that a Lambda makes and calls, conditions on tensors, names that are looked up: as Keras computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue

IMAGE, STEPS = (6, 4, 3), (6, 4)


def named(tensor: Any) -> Any:
    return tensor


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], Path]:
    folder, made = tmp_path_factory.mktemp("old"), {}
    for shape in (IMAGE, STEPS):
        inputs = keras.Input(shape)
        model = keras.Model(inputs, layers.Lambda(named, name="odd", output_shape=shape)(inputs))
        made[shape] = folder / f"{len(shape)}.keras"
        model.save(made[shape])
    return made


def _values(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(3, *shape)).astype("float32")


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("layers.Concatenate(axis=-1)([x, x * 2])", IMAGE),
        ("layers.Add()([x, x, x])", IMAGE),
        ("layers.Average()([x, x * 3])", IMAGE),
        ("layers.Flatten()(x)", IMAGE),
        ("layers.Reshape((2, -1))(x)", IMAGE),
        ("layers.Permute((2, 1))(x)", STEPS),
        ("layers.ZeroPadding2D(((1, 2), (0, 3)))(x)", IMAGE),
        ("layers.Cropping2D(1)(x)", IMAGE),
        ("layers.Cropping1D((1, 2))(x)", STEPS),
        ("layers.UpSampling2D(2)(x)", IMAGE),
        ("layers.UpSampling2D((1, 2), interpolation='nearest')(x)", IMAGE),
        ("layers.UpSampling1D(3)(x)", STEPS),
        ("layers.MaxPooling2D(padding='same')(x)", IMAGE),
        ("layers.AveragePooling2D((3, 2), strides=1, padding='same')(x)", IMAGE),
        ("layers.MaxPool1D(3)(x)", STEPS),
        ("layers.GlobalAveragePooling2D(keepdims=True)(x)", IMAGE),
        ("layers.GlobalMaxPooling1D()(x)", STEPS),
        ("layers.LeakyReLU(0.2)(x)", STEPS),
        ("layers.ReLU(1.0, 0.1, 0.2)(x)", STEPS),
        ("layers.Softmax(axis=1)(x)", STEPS),
        ("layers.Activation('tanh')(x)", STEPS),
    ],
)
def test_a_layer_inside_computes_what_keras_does(text: str, shape: tuple[int, ...], files: Any) -> None:
    values = _values(shape)
    expected = eval(text, {"layers": layers, "x": ops.convert_to_tensor(values)})  # noqa: S307 - this test's own text
    made = rescue(files[shape], functions={"odd": f"lambda x: {text}"})
    np.testing.assert_allclose(np.asarray(made.model(values)), np.asarray(expected), rtol=1e-5, atol=1e-6)


def _either(sign: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda v: v * 2 if sign * v.sum() > 0 else v * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2, lambda: x * 3)", _either(1)),
        ("tf.cond(tf.reduce_sum(x) < 0, true_fn=lambda: x * 2, false_fn=lambda: x * 3)", _either(-1)),
        ("K.switch(K.sum(x) > 0, lambda: x * 2, lambda: x * 3)", _either(1)),
        ("tf.cond(True, lambda: x[:, :2], lambda: x)", lambda v: v[:, :2]),
        ("tf.cond(tf.constant(False), lambda: x[:, :2], lambda: x)", lambda v: v),
        ("getattr(tf.nn, 'relu')(x)", lambda v: np.maximum(v, 0)),
        ("x * (2.0 if hasattr(x, 'shape') else 1.0)", lambda v: v * 2),
        ("tf.identity(x, name='{}_{n}'.format('out', n=1))", lambda v: v),
        ("x * {'a_1': 3.0}['{0}_{1}'.format('a', 1)]", lambda v: v * 3),
    ],
)
def test_what_is_decided(text: str, expected: Any, files: Any) -> None:
    values = _values(STEPS)
    made = rescue(files[STEPS], functions={"odd": f"lambda x: {text}"})
    for each in (values, -values):
        np.testing.assert_allclose(np.asarray(made.model(each)), expected(each), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers.Dense(4)(x)", "keras.layers.Dense"),
        ("layers.Dropout(0.5)(x)", "keras.layers.Dropout"),
        ("layers.TFSMLayer('x')(x)", "TFSMLayer"),
        ("layers.Flatten()(tf.cast(x, 'int32'))", "int32 tensor"),
        ("layers.Flatten()(x, 1)", "more than its inputs"),
        ("layers.Flatten(name=x)", "a layer Flatten"),
        ("layers.MaxPooling1D(pool_size=x)(x)", "pool_size=a tensor"),
        ("layers.UpSampling2D(2)(x)", "UpSampling2D|resize_images|shape"),
        ("tf.cond(x > 0, lambda: x, lambda: x)", "not one truth value"),
        ("tf.cond(tf.reduce_sum(x), lambda: x, lambda: -x)", "not one truth value"),
        ("tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: x[:, :1])", "chooses between"),
        ("tf.cond(tf.reduce_sum(x) > 0, x, x)", "two functions"),
        ("getattr(K, '__dict__')", "__dict__"),
        ("getattr(tf, 'py_function')(x)", "py_function"),
        ("getattr(x, 'shape')", "getattr"),
        ("getattr(tf.nn, 'gone', tf.nn.relu)(x)", "getattr"),
        ("x if hasattr(tf, 'gone') else -x", "hasattr"),
        ("tf.identity(x, name='{:9999999999}'.format(1))", "formats the text"),
        ("tf.identity(x, name='{0.real}'.format(1))", "formats the text"),
        ("tf.identity(x, name='{}'.format(0.1))", "formats the text"),
        ("tf.identity(x, name='{}{}'.format(1))", "formats the text"),
    ],
)
def test_what_is_not_known_is_refused(text: str, said: str, files: Any) -> None:
    with pytest.raises(LambdaRefusedError, match=said):
        rescue(files[STEPS], functions={"odd": f"lambda x: {text}"})


def test_layers_of_keras_3_whose_config_looks_like_an_operations_are_layers(tmp_path: Path) -> None:
    inputs = keras.Input(IMAGE)
    doubled = layers.Lambda(lambda t: t * 2)(layers.SpatialDropout2D(0.3)(inputs))
    model = keras.Model(inputs, layers.Multiply()([ops.multiply(doubled, doubled), inputs]))
    model.save(tmp_path / "old.h5")
    made = rescue(tmp_path / "old.h5", tmp_path / "new.keras")
    values = _values(IMAGE)
    np.testing.assert_allclose(np.asarray(made.model(values)), np.asarray(model(values)), rtol=1e-6)
