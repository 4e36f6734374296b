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
