"""A sound float16 file is given no layer for the constants that no product reads: slopes, and parts of a bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    keras.utils.set_random_seed(6)
    layers = keras.layers
    image = keras.Input((8, 6, 3), name="image")
    slopes = layers.PReLU(shared_axes=[1, 2], name="slopes")
    x = slopes(layers.Conv2D(8, 3, padding="same", name="conv")(image))
    cell = layers.GRU(5, unroll=True, name="cell")
    made = keras.Model(image, layers.Dense(3, name="scores")(cell(layers.Reshape((8, 48))(x))))
    random = np.random.default_rng(1)
    for layer in (slopes, cell):
        layer.set_weights([random.uniform(-0.5, 0.5, each.shape) for each in layer.get_weights()])
    return made


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_sound_file_agrees(form: str, model: Any, tmp_path: Path) -> None:
    source = load_source(model)
    search = LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])
    asked = ExportOptions((form,), precision="fp16", output=tmp_path)
    (artifact,) = export(model, asked).artifacts
    with runtime({"tflite": "litert", "onnx": "onnxruntime"}[form]).open(artifact) as session:
        found = search.profile(artifact, session)
    assert found.divergence is None
    assert {"slopes", "cell/gru_cell"} <= {row.layer for row in found.rows}


def test_large_values_and_a_softmax_over_many_agree(tmp_path: Path) -> None:
    """Their squares are beyond half precision; and ONNX Runtime's softmax reads scores that it did not round."""
    import keras

    keras.utils.set_random_seed(2)
    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu", kernel_initializer=keras.initializers.RandomNormal(0, 200.0))(image)
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(0.01)(x))
    wide = layers.Dense(1000, kernel_initializer=keras.initializers.RandomNormal(0, 2.0), name="scores")(x)
    made = keras.Model(image, layers.Softmax(name="classes")(wide))
    images = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 3)).astype(np.float32)
    (artifact,) = export(made, ExportOptions(("onnx",), precision="fp16", output=tmp_path)).artifacts
    with runtime("onnxruntime").open(artifact) as session:
        found = LayerSearch(load_source(made), {"image": images}).profile(artifact, session)
    assert (found.divergence, found.unmatched) == (None, ())
    assert {row.matched for row in found.rows} == {"value"}
