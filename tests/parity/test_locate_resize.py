"""A model that resizes a map between pixels is searched along its layers, behind the resize as in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.parity.locate import Finding, Profile
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = keras.Input((12, 10, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="down")(image)
    x = layers.UpSampling2D(2, interpolation="bilinear", name="up")(x)
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="middle")(x)
    x = layers.Resizing(17, 13, name="odd")(x)
    x = layers.Conv2D(8, 3, padding="same", name="behind")(x)
    return keras.Model(image, layers.Dense(4, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x)))


@pytest.fixture(scope="module")
def search(model: Any) -> LayerSearch:
    source = load_source(model)
    return LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])


def profiles(search: LayerSearch, model: Any, folder: Path) -> list[Profile]:
    found = []
    for artifact in export(model, ExportOptions(("tflite", "onnx"), output=folder, verify=False)).artifacts:
        with runtime({"tflite": "litert", "onnx": "onnxruntime"}[artifact.format]).open(artifact) as session:
            found.append(search.profile(artifact, session))
    return found


def test_a_sound_file_agrees(search: LayerSearch, model: Any, tmp_path: Path) -> None:
    for found in profiles(search, model, tmp_path):
        assert found.divergence is None
        assert {"up", "odd", "behind"} <= {row.layer for row in found.rows}
        assert {row.finding for row in found.rows} == {Finding.AGREES}


@pytest.mark.parametrize("layer", ["down", "behind"])
def test_a_weight_is_found_on_both_sides(layer: str, search: LayerSearch, model: Any, tmp_path: Path) -> None:
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kernel = copy.get_layer(layer).kernel
    kernel.assign(kernel.numpy() * 1.01)
    for found in profiles(search, copy, tmp_path):
        assert found.divergence is not None
        assert found.divergence.layer == layer


def test_another_way_to_resize_is_found(search: LayerSearch, model: Any, tmp_path: Path) -> None:
    import keras

    config = model.get_config()
    next(each for each in config["layers"] if each["name"] == "up")["config"]["interpolation"] = "nearest"
    copy = keras.Model.from_config(config)
    copy.set_weights(model.get_weights())
    for found in profiles(search, copy, tmp_path):
        assert found.divergence is not None
        # In ONNX the name of the other operation does not tell that it is that tensor.
        assert found.divergence.layer in ("up", "up + middle")
