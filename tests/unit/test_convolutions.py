"""Convolutions in the form their target was measured to run fastest: equal ones only, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from converters.deploy.lower import Lowered, Target, lower
from converters.errors import OptionError
from drawn_weights import drawn
from exporter import ExportOptions

LIMIT = 1e-12


def _net(body: Callable[[Any], Any], shape: tuple[int | None, ...] = (12, 10, 48)) -> Any:
    keras.utils.set_random_seed(1)
    image = keras.Input(shape)
    return drawn(keras.Model(image, body(image)), offsets=0.2)


def _rules(lowered: Lowered) -> list[tuple[str, ...]]:
    return [rewrite.rules for rewrite in lowered.rewrites]


def _conv(**options: Any) -> Any:
    return layers.Conv2D(56, 3, **{"padding": "same", **options})


def _same(lowered: Lowered, model: Any) -> bool:
    random = np.random.default_rng(3)
    given = random.normal(0, 1, (2, *(size or 16 for size in model.inputs[0].shape[1:]))).astype(np.float32)
    pairs = zip(keras.tree.flatten(lowered.model(given)), keras.tree.flatten(model(given)), strict=True)
    return all(np.abs(a - b).max() < 2e-5 * np.abs(b).max() for a, b in ((np.array(a), np.array(b)) for a, b in pairs))


def _normalised(x: Any) -> Any:
    return layers.ReLU(6.0)(layers.BatchNormalization()(_conv(use_bias=False)(x)))


def _scaled_only(x: Any) -> Any:
    return layers.Activation("relu")(layers.BatchNormalization(center=False)(_conv()(x)))


def _leaky(x: Any) -> Any:
    return layers.ReLU(negative_slope=0.1)(layers.BatchNormalization(scale=False, epsilon=0.1)(_conv()(x)))


def _activated(x: Any) -> Any:
    return layers.BatchNormalization()(_conv(activation="softmax")(x))


def _branches(x: Any) -> Any:
    made = layers.BatchNormalization()(_conv()(x))
    return [layers.ReLU()(made), made]


def _called_twice(x: Any) -> Any:
    conv = layers.Conv2D(48, 3, padding="same", activation="relu")
    return conv(conv(x))


def _gelu(x: Any) -> Any:
    return keras.ops.gelu(_conv()(x))


@pytest.mark.parametrize(
    ("body", "convolutions", "left"),
    [
        (_normalised, 1, []),
        (_scaled_only, 1, []),
        (_leaky, 1, []),
        (_activated, 1, [layers.BatchNormalization]),
        (_branches, 1, [layers.ReLU]),
        (_called_twice, 2, []),
        (_gelu, 1, []),
    ],
)
@pytest.mark.parametrize("rows", [12, 7])
def test_a_3x3_convolution_is_computed_by_winograd(body: Any, convolutions: int, left: list[type], rows: int) -> None:
    model = _net(body, (rows, 10, 48))
    lowered = lower(model, Target.LITERT_FLOAT)
    assert _rules(lowered) == [("winograd",)] * convolutions
    assert lowered.error <= LIMIT
    assert _same(lowered, model)
    folded = layers.BatchNormalization, layers.ReLU, layers.Activation
    assert [type(each) for each in lowered.model.layers if isinstance(each, folded)] == left
    kernels = {tuple(each.kernel_size) for each in lowered.model.layers if type(each) is layers.Conv2D}
    assert kernels == {(1, 3)}


def test_channels_first_too() -> None:
    def body(x: Any) -> Any:
        made = layers.BatchNormalization(axis=1)(_conv(data_format="channels_first", use_bias=False)(x))
        return layers.ReLU()(made)

    image = keras.Input((48, 12, 10))
    model = drawn(keras.Model(image, body(image)), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert ("winograd",) in _rules(lowered)
    assert lowered.error <= LIMIT
    turned = [each for each in lowered.model.operations if type(each).__name__ == "Transpose"]
    assert len(turned) == 2  # of the image, and of the result


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (_conv(strides=2), (12, 10, 48)),
        (_conv(dilation_rate=2), (12, 10, 48)),
        (_conv(groups=2), (12, 10, 48)),
        (_conv(padding="valid"), (12, 10, 48)),
        (layers.Conv2D(56, 5, padding="same"), (12, 10, 48)),
        (layers.Conv2D(32, 3, padding="same"), (12, 10, 48)),
        (_conv(), (12, 10, 32)),
        (_conv(), (5, 10, 48)),
        (_conv(), (None, None, 48)),
    ],
)
def test_others_stay_as_they_are(body: Any, shape: tuple[int | None, ...]) -> None:
    assert not lower(_net(body, shape), Target.LITERT_FLOAT).rewrites


def test_what_stands_before_another_reader_or_counts_otherwise_is_not_folded() -> None:
    def another_axis(x: Any) -> Any:
        return layers.BatchNormalization(axis=2)(_conv()(x))

    def training(x: Any) -> Any:
        return layers.BatchNormalization()(_conv()(x), training=True)

    for body in (another_axis, training):
        lowered = lower(_net(body), Target.LITERT_FLOAT)
        assert any(isinstance(each, layers.BatchNormalization) for each in lowered.model.layers)


@pytest.mark.parametrize("target", [each for each in Target if each is not Target.LITERT_FLOAT])
def test_no_other_target_has_winograd(target: Target) -> None:
    assert not lower(_net(_normalised), target).rewrites


def test_it_can_be_declined() -> None:
    assert not lower(_net(_normalised), Target.LITERT_FLOAT, without=("winograd",)).rewrites
    with pytest.raises(OptionError, match="--no-winograd is for --format tflite"):
        ExportOptions(("onnx",), winograd=False)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(3, 3), (7, 7), (5, 5), (4, 4), (1, 3), (3, 6), (9, 9)])
@pytest.mark.parametrize("rows", [1, 2])
def test_columns_of_an_image_are_paired(padding: str, size: tuple[int, int], rows: int) -> None:
    model = _net(layers.Conv2D(8, size, strides=2, padding=padding, activation="relu"), (13, 16, 3))
    if rows == 1:  # Keras has it, TensorFlow on the CPU not for every kernel; only columns are paired
        model = _net(layers.Conv2D(8, size, strides=(1, 2), padding=padding), (13, 16, 3))
    lowered = lower(model, Target.LITERT_INT8)
    assert _rules(lowered) == [("paired-columns",)]
    assert lowered.error <= LIMIT
    assert _same(lowered, model)


@pytest.mark.parametrize(
    "padding", [((0, 1), (0, 1)), ((1, 1), (1, 1)), ((3, 3), (3, 3)), ((2, 0), (2, 5)), ((0, 0), (0, 3))]
)
@pytest.mark.parametrize("size", [3, 4, 7])
def test_columns_are_paired_before_they_are_padded(padding: Any, size: int) -> None:
    """XNNPACK pads within the convolution, but for a Reshape between the two."""

    def body(image: Any) -> Any:
        return layers.Conv2D(8, size, strides=2)(layers.ZeroPadding2D(padding)(image))

    model = _net(body, (13, 16, 3))
    lowered = lower(model, Target.LITERT_INT8)
    assert _rules(lowered) == [("paired-columns",)]
    assert lowered.error <= LIMIT
    assert _same(lowered, model)
    assert not [each for each in lowered.model.layers if isinstance(each, layers.ZeroPadding2D)]


def test_a_padding_that_others_take_too_keeps_its_columns_single() -> None:
    def body(image: Any) -> Any:
        padded = layers.ZeroPadding2D(1)(image)
        kept = layers.GlobalAveragePooling2D()(padded)
        return [kept, layers.Conv2D(8, 3, strides=2)(padded)]

    assert not lower(_net(body, (16, 16, 3)), Target.LITERT_INT8).rewrites


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv2D(8, 3, strides=2), (16, 15, 3)),
        (layers.Conv2D(8, 3), (16, 16, 3)),
        (layers.Conv2D(8, 2, strides=2), (16, 16, 3)),
        (layers.Conv2D(8, 3, strides=2), (16, 16, 5)),
        (layers.Conv2D(8, 3, strides=2, groups=2), (16, 16, 4)),
        (layers.Conv2D(8, 3, strides=2), (16, None, 3)),
    ],
)
def test_other_columns_are_not_paired(layer: Any, shape: tuple[int | None, ...]) -> None:
    assert not lower(_net(layer, shape), Target.LITERT_INT8).rewrites
