"""Attention on a map that goes below zero, as behind a linear bottleneck, keeps what is below zero in int8."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
from keras import layers

from drawn_weights import drawn
from exporter import CBAM, ExportOptions, export
from exporter.quantisation.options import QuantisationOptions


def test_the_model_as_it_is(tmp_path: Path) -> None:
    """REDUCE_MAX and CONCATENATION have one scale for all that they read and give: -2 dB with that of the maximum."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = CBAM("paper", name="attention")(layers.Conv2D(16, 3, padding="same", name="linear")(image))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Conv2D(8, 3, name="conv")(x))
    model = drawn(keras.Model(image, x, name="net"))
    images = np.random.default_rng(5).normal(0, 1, (60, 12, 12, 3)).astype(np.float32)
    asked = QuantisationOptions(calibration=images, methods=("minmax",))
    options = ExportOptions(("tflite",), precision="int8", quantisation=asked, output=tmp_path, lower=False)
    (artifact,) = export(model, options).artifacts
    assert artifact.metadata["quantisation"]["form"] == "as it is"
    assert artifact.metadata["quantisation"]["sqnr_db"] > 20
