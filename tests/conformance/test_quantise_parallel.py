"""Graphs of which TensorFlow's quantiser leaves parts in float, or in which it takes two layers' biases for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.artifact import Precision
from exporter import ExportOptions, quantize
from exporter.quantisation.options import QuantisationOptions


def _gates_beside_each_other(x: Any) -> Any:
    squeeze, excite = layers.Dense(8, "leaky_relu", use_bias=False), layers.Dense(16, use_bias=False)
    vectors = [excite(squeeze(pool(x))) for pool in (layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D())]
    channel = layers.Reshape((1, 1, 16))(layers.Activation("sigmoid")(layers.Add()(vectors)))
    pools = layers.Concatenate()([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)])
    return layers.Add()([x * channel, x * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(pools)])


def _equal_biases(x: Any) -> Any:
    ones = {"padding": "same", "bias_initializer": keras.initializers.Constant(0.3), "activation": "relu"}
    return layers.Conv2D(16, 3, **ones)(layers.Conv2D(16, 3, **ones)(x) * 0.05)


@pytest.mark.parametrize("body", [_gates_beside_each_other, _equal_biases])
def test_it_is_wholly_int8_and_right(body: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3), batch_size=1)
    x = layers.Conv2D(16, 3, padding="same", activation="relu6")(inputs)
    model = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(body(x))))
    samples = np.random.default_rng(0).normal(size=(120, 12, 12, 3)).astype(np.float32)
    calibrated = QuantisationOptions(calibration=samples, force=True)
    result = quantize(
        model, ExportOptions(formats=("tflite",), precision=Precision.INT8, output=tmp_path, quantisation=calibrated)
    )
    (output,) = result.reports[0].outputs.values()
    assert output.metrics.sqnr_db > 25
