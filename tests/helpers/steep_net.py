"""A net that makes small differences large, as deep ones do."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from drawn_weights import drawn
from exporter import CBAM

__all__ = ["steep"]


def steep() -> Any:
    """What is left between two blocks whose weights are alike to 1e-5: a rounding in one of them is a hundred thousand
    times as large there."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 16, 16), name="image")
    left = layers.Subtract(name="left")([CBAM("paper", name="first")(image), CBAM("paper", name="second")(image)])
    x = layers.Conv2D(4, 3, name="conv")(layers.Rescaling(1e5, name="large")(left))
    model = drawn(keras.Model(image, x, name="steep"))
    random = np.random.default_rng(2)
    first, second = (model.get_layer(name) for name in ("first", "second"))
    second.set_weights([each * (1 + 1e-5 * random.normal(size=each.shape)) for each in first.get_weights()])
    return model
