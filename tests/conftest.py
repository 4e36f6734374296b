"""Models and helpers that several test files share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _tiny(size: int | None = 12) -> Any:
    """Every kind of layer an exporter stumbles over, in little: BatchNorm with statistics, depthwise, grouped, CBAM."""
    import keras

    from exporter.models.cbam import CBAM

    keras.utils.set_random_seed(7)
    layers = keras.layers

    def norm(x: Any) -> Any:
        return layers.BatchNormalization(
            beta_initializer="random_normal",
            gamma_initializer=keras.initializers.RandomUniform(0.5, 1.5),
            moving_mean_initializer="random_normal",
            moving_variance_initializer=keras.initializers.RandomUniform(0.5, 1.5),
        )(x)

    image = keras.Input((size, size, 3), name="image")
    x = layers.ReLU()(norm(layers.Conv2D(8, 3, padding="same", use_bias=False)(image)))
    x = layers.ReLU(6.0)(norm(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
    x = norm(layers.Conv2D(16, 3, strides=2, groups=4, padding="same")(x))
    x = layers.GaussianNoise(0.5)(layers.ReLU()(CBAM("timm", name="attention")(x)))
    pooled = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    scores = layers.Dense(5, activation="softmax", name="scores")(pooled)
    heat = layers.Conv2D(2, 1, name="heat")(x)
    return keras.Model(image, [scores, heat], name="tiny")


def _pair() -> Any:
    """Two inputs of different rank, two outputs, a shared layer, and operations instead of layers."""
    import keras

    keras.utils.set_random_seed(8)
    left, right = keras.Input((6,), name="left-in"), keras.Input((4, 6), name="right")
    shared = keras.layers.Dense(3, activation="tanh")
    mixed = keras.ops.mean(shared(right), axis=1) * shared(left)
    first = keras.layers.Dense(2, name="z_first")(mixed)
    second = keras.layers.Dense(4, name="a_second")(keras.ops.abs(mixed))
    return keras.Model([left, right], [first, second], name="pair")


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """1,000 test images, (N, 28, 28, 1) float32 in 0..1."""
    from exporter.models.zoo import ZOO

    return ZOO["cbam-mnist"].test_images()


@pytest.fixture(scope="session")
def tiny() -> Any:
    return _tiny()


@pytest.fixture(scope="session")
def open_size() -> Any:
    return _tiny(None)


@pytest.fixture(scope="session")
def pair() -> Any:
    return _pair()


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `cbam ARGS` in a process of its own, in an empty folder, where only what the package itself brings (and the
    extras named in `extras`) can be imported: tests must not pass for what they alone have installed, and TensorFlow
    and Keras import both, which takes a second, where they are there."""

    def run(*args: str | Path, extras: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
        absent = dict.fromkeys({"jax", "matplotlib"}.difference(extras))
        script = f"import sys; sys.modules.update({absent}); sys.argv[0] = 'cbam'"
        script += "; from exporter.cli import main; main()"
        options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300, **options}
        return subprocess.run([sys.executable, "-c", script, *map(str, args)], **options)

    return run
