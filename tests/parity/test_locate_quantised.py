"""A sound quantised file is given no layer for what its runtime does otherwise than the model."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import numpy_helper

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.parity.gates import Gates
from exporter.quantisation.options import QuantisationOptions
from exporter.runtimes.table import runtime
from exporter.source import load_source

IMAGES = np.random.default_rng(5).uniform(0, 1, (40, 12, 12, 3)).astype(np.float32)


def test_a_softmax_of_16_bits_over_many_classes(tmp_path: Path) -> None:
    """LiteRT gives each of them a least share, which the largest lose."""
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(16, 3, activation="relu", name="conv")(image))
    scores = layers.Dense(1000, kernel_initializer=keras.initializers.RandomNormal(0, 8.0), name="scores")(x)
    model = keras.Model(image, layers.Softmax(name="classes")(scores), name="many")
    asked = QuantisationOptions(calibration=IMAGES, methods=("minmax",), force=True, gates=Gates(0.0, 0.0))
    options = ExportOptions(("tflite",), precision="int16x8", quantisation=asked, output=tmp_path)
    (artifact,) = export(model, options).artifacts
    with runtime("litert").open(artifact) as session:
        found = LayerSearch(load_source(model), {"image": IMAGES[:8]}).profile(artifact, session)
    (last,) = [row for row in found.rows if row.layer == "classes"]
    assert (found.divergence, last.matched) == (None, "value")
    assert last.total is not None
    assert last.allowed is not None
    assert last.total > 3 * last.allowed


def test_a_range_that_clips_is_named_as_that(tmp_path: Path) -> None:
    keras.utils.set_random_seed(6)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, name="second")(layers.Conv2D(8, 3, activation="tanh", name="first")(image))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x), name="two")
    asked = QuantisationOptions(calibration=IMAGES, methods=("minmax",), force=True, gates=Gates(0.0, 0.0))
    (artifact,) = export(
        model, ExportOptions(("onnx",), precision="int8", quantisation=asked, output=tmp_path)
    ).artifacts
    content = onnx.load(artifact.path)
    (stored,) = (each for each in content.graph.node if each.op_type == "QuantizeLinear" and "anh" in each.input[0])
    (scale,) = (each for each in content.graph.initializer if each.name == stored.input[1])
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / 2, scale.name))
    onnx.save(content, artifact.path)
    with runtime("onnxruntime").open(artifact) as session:
        found = LayerSearch(load_source(model), {"image": IMAGES[:8]}).profile(artifact, session).divergence
    assert found is not None
    assert (found.layer, "which clips" in found.reason) == ("first", True)


def _activation(kind: str) -> layers.Layer:
    return {
        "prelu": layers.PReLU(shared_axes=[1, 2], name="behind"),
        "layer": layers.LayerNormalization(name="behind"),
        "group": layers.GroupNormalization(2, name="behind"),
    }[kind]


@pytest.mark.parametrize("kind", ["prelu", "layer", "group"])
def test_constants_that_are_folded_into_no_product_are_rounded_as_well(kind: str, tmp_path: Path) -> None:
    """ONNX Runtime's quantiser rounds slopes and gains to 8 bits; a squared difference becomes two operations."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, name="second")(_activation(kind)(layers.Conv2D(8, 3, name="first")(image)))
    model = keras.Model(image, layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(x)), name=kind)
    random = np.random.default_rng(0)
    for weight in model.weights:  # as of a trained one: no gain is 1, no slope 0
        if weight.name in ("alpha", "beta", "bias", "gamma"):
            weight.assign(weight.numpy() + random.uniform(0.05, 0.4, weight.shape))
    asked = QuantisationOptions(calibration=IMAGES, methods=("minmax",), force=True)
    options = ExportOptions(("onnx",), precision="int8", quantisation=asked, output=tmp_path)
    (artifact,) = export(model, options).artifacts
    with runtime("onnxruntime").open(artifact) as session:
        found = LayerSearch(load_source(model), {"image": IMAGES[:8]}).profile(artifact, session)
    assert found.divergence is None
    assert [row.layer for row in found.rows if row.finding == "LEAVES"] == []


def test_a_zero_point_that_is_some_steps_off_is_seen_behind_weights_that_allow_more(tmp_path: Path) -> None:
    keras.utils.set_random_seed(6)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, name="second")(layers.Conv2D(8, 3, name="first")(image))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x), name="two")
    asked = QuantisationOptions(calibration=IMAGES, methods=("minmax",), force=True, gates=Gates(0.0, 0.0))
    options = ExportOptions(("onnx",), precision="int8", quantisation=asked, output=tmp_path)
    (artifact,) = export(model, options).artifacts
    content = onnx.load(artifact.path)
    first = next(each for each in content.graph.node if each.op_type == "Conv").output[0]
    stored = next(each for each in content.graph.node if each.op_type == "QuantizeLinear" and each.input[0] == first)
    read = next(each for each in content.graph.node if each.input and each.input[0] == stored.output[0])
    (zero,) = (each for each in content.graph.initializer if each.name == read.input[2])
    value = numpy_helper.to_array(zero)
    content.graph.initializer.append(numpy_helper.from_array(np.asarray(value + 5, value.dtype), "other"))
    read.input[2] = "other"
    onnx.save(content, artifact.path)
    with runtime("onnxruntime").open(artifact) as session:
        found = LayerSearch(load_source(model), {"image": IMAGES[:8]}).profile(artifact, session).divergence
    assert found is not None
    assert found.layer == "first"


@pytest.mark.parametrize(("form", "precision"), [("tflite", "fp16"), ("onnx", "int8")])
def test_weights_of_several_heads_are_rounded_as_well(form: str, precision: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Reshape((25, 8), name="tokens")(layers.Conv2D(8, 4, strides=2, name="patch")(image))
    x = layers.MultiHeadAttention(2, 4, name="heads")(x, x)
    model = keras.Model(image, layers.Dense(5, name="scores")(layers.GlobalAveragePooling1D()(x)), name="attention")
    asked = QuantisationOptions(calibration=IMAGES, force=True, gates=Gates(0.0, 0.0))
    options = ExportOptions((form,), precision=precision, quantisation=asked, output=tmp_path)
    (artifact,) = export(model, options).artifacts
    with runtime({"tflite": "litert", "onnx": "onnxruntime"}[form]).open(artifact) as session:
        found = LayerSearch(load_source(model), {"image": IMAGES[:8]}).profile(artifact, session)
    assert found.divergence is None
