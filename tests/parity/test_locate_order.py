"""Files that compute the same in another order or shape: a sound one is given no layer, a faulty one the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.parity.gates import Gates
from exporter.parity.locate import Profile
from exporter.quantisation.options import QuantisationOptions
from exporter.runtimes.table import runtime
from exporter.source import load_source

IMAGES = np.random.default_rng(5).uniform(0, 1, (40, 12, 12, 3)).astype(np.float32)
RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


def found(right: Any, exported: Any, form: str, precision: str, folder: Path) -> Profile:
    asked = QuantisationOptions(calibration=IMAGES, force=True, gates=Gates(0.0, -100.0))
    more: dict[str, Any] = {"verify": False} if precision == "fp32" else {"quantisation": asked}
    options = ExportOptions((form,), precision=precision, output=folder, **more)
    (artifact,) = export(exported, options).artifacts
    with runtime(RUNTIMES[form]).open(artifact) as session:
        return LayerSearch(load_source(right), {"image": IMAGES[:8]}).profile(artifact, session)


def as_trained(model: Any) -> Any:
    """With normalisations of unlike channels, biases and weights that are not zero."""
    random = np.random.default_rng(2)
    ranges = {"gamma": (0.5, 1.5), "beta": (-0.3, 0.3), "moving_mean": (-0.2, 0.2), "moving_variance": (0.05, 0.6)}
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(random.uniform(*ranges[weight.name], weight.shape))
        elif weight.name == "bias":
            weight.assign(random.uniform(-0.2, 0.2, weight.shape))
    return model


@pytest.mark.parametrize("largest", [1.5, 2.5])
def test_a_gate_whose_product_with_a_gain_is_rounded(largest: float, tmp_path: Path) -> None:
    """Of x * gate * gain, where a normalisation is behind a spatial gate, a file has x * (gate * gain)."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(16, 3, name="conv")(image)
    y = layers.ReLU(name="middle")(layers.BatchNormalization(name="first")(x))
    x = layers.Concatenate(name="both")([x, layers.Conv2D(8, 3, padding="same", name="more")(y)])
    gate = layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="gate")(x)
    x = layers.BatchNormalization(name="behind")(layers.Multiply(name="gated")([x, gate]))
    x = layers.Conv2D(8, 1, name="last")(layers.ReLU(name="act")(x))
    x = layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x))
    model = as_trained(keras.Model(image, x, name="gain"))
    model.get_layer("behind").gamma.assign(np.logspace(0.5 - largest, largest, 24))
    profile = found(model, model, "onnx", "int8", tmp_path)
    assert profile.divergence is None
    assert [row.layer for row in profile.rows if row.finding == "LEAVES"] == []


@pytest.mark.parametrize(("form", "precision"), [("tflite", "dynamic"), ("tflite", "fp16"), ("onnx", "fp32")])
def test_heads_that_stand_side_by_side_with_their_bias(form: str, precision: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Reshape((25, 32), name="tokens")(layers.Conv2D(32, 4, strides=2, name="patch")(image))
    x = layers.MultiHeadAttention(2, 12, name="heads")(x, x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    model = as_trained(keras.Model(image, layers.Dense(5, name="scores")(x), name="attention"))
    assert found(model, model, form, precision, tmp_path).divergence is None


@pytest.mark.parametrize("form", RUNTIMES)
def test_a_normalisation_in_front_of_a_leaky_relu(form: str, tmp_path: Path) -> None:
    """What it should leave as it is, a wrong value of the other sign is not."""

    def model() -> Any:
        keras.utils.set_random_seed(1)
        image = keras.Input((12, 12, 3), name="image")
        x = layers.BatchNormalization(name="norm")(layers.Conv2D(16, 3, use_bias=False, name="conv")(image))
        x = layers.Conv2D(8, 3, name="last")(layers.LeakyReLU(0.1, name="act")(x))
        return as_trained(keras.Model(image, layers.GlobalAveragePooling2D(name="pool")(x), name="leaky"))

    other = model()
    norm = other.get_layer("norm")
    norm.moving_mean.assign(norm.moving_mean.numpy()[::-1])
    norm.moving_variance.assign(norm.moving_variance.numpy()[::-1])
    divergence = found(model(), other, form, "fp32", tmp_path).divergence
    assert divergence is not None
    assert (divergence.layer, "scale and offset only" in divergence.reason) == ("norm", True)


def test_what_a_range_has_clipped_a_copy_in_wider_steps_has_lost_too(tmp_path: Path) -> None:
    """In front of a concatenation LiteRT brings both parts to one scale. Of other samples than those of the calibration
    some values lie beyond the range of the first."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu", name="small")(image)
    y = layers.Conv2D(8, 3, activation="tanh", name="middle")(image)
    y = layers.Conv2D(8, 1, kernel_initializer=keras.initializers.RandomNormal(0, 20.0), name="large")(y)
    x = layers.Conv2D(8, 3, name="last")(layers.Concatenate(name="both")([x, y]))
    model = keras.Model(image, layers.GlobalAveragePooling2D(name="pool")(x), name="copies")
    few = np.repeat(IMAGES[:5], 4, axis=0)
    asked = QuantisationOptions(calibration=few, methods=("minmax",), force=True, gates=Gates(0.0, -100.0))
    options = ExportOptions(("tflite",), precision="int16x8", quantisation=asked, output=tmp_path)
    (artifact,) = export(model, options).artifacts
    with runtime("litert").open(artifact) as session:
        profile = LayerSearch(load_source(model), {"image": IMAGES[16:40]}).profile(artifact, session)
    assert any(row.tensor.endswith("_requantized") for row in profile.rows)
    assert profile.divergence is None
    assert [row.layer for row in profile.rows if row.finding == "LEAVES"] == []
