"""Additions behind convolutions, which tf2onnx takes for biases."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import onnx
import pytest
from keras import layers

from exporter import ExportOptions, export


def _gate(x: object) -> object:
    return layers.Conv2D(1, 3, padding="same", use_bias=False, activation="hard_sigmoid")(x)


def _three_pools(x: object) -> object:
    first, second = layers.Conv2D(4, 1, activation="relu"), layers.Conv2D(8, 1, bias_initializer="ones")
    pools = [layers.GlobalAveragePooling2D(keepdims=True)(x), layers.GlobalMaxPooling2D(keepdims=True)(x)]
    pools.append(keras.ops.std(x, axis=(1, 2), keepdims=True))
    return layers.Activation("sigmoid")(layers.Add()([second(first(pool)) for pool in pools]))


def _two_biases(x: object) -> object:
    return keras.ops.add(layers.Conv2D(8, 3, padding="same", bias_initializer="ones")(x), keras.ops.arange(8.0))


@pytest.mark.parametrize("body", [_gate, _three_pools, _two_biases])
def test_an_addition_behind_a_convolution_is_converted_and_the_layout_put_in_order(
    body: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = keras.Input((12, 12, 3), batch_size=1)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Multiply()([x, body(x)])))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        result = export(model, ExportOptions(formats=("onnx",), output=tmp_path, lower=False))
    assert result.passed
    assert not [record.getMessage() for record in caplog.records if "Failed to apply" in record.getMessage()]
    graph = onnx.load(next(tmp_path.glob("*.onnx"))).graph
    assert (
        sum(node.op_type == "Transpose" for node in graph.node) <= 2
    )  # at the input, and none in the middle of the map
