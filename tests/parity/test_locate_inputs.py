"""With two inputs, a layer that reads one of them is named itself; and the input, if it is taken wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source


def model(larger: float = 1.0, times: float = 1.0) -> Any:
    import keras

    keras.utils.set_random_seed(4)
    layers = keras.layers
    image, numbers = keras.Input((8, 8, 3), name="image"), keras.Input((7,), name="numbers")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(image)
    weighing = layers.Dense(8, activation="sigmoid", name="weighing")
    given = numbers * times if times != 1 else numbers
    x = layers.Multiply(name="weighed")([layers.GlobalAveragePooling2D(name="pool")(x), weighing(given)])
    made = keras.Model([image, numbers], layers.Dense(3, name="scores")(x))
    weighing.kernel.assign(weighing.kernel.numpy() * larger)
    return made


@pytest.fixture(scope="module")
def search() -> LayerSearch:
    source = load_source(model())
    return LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])


@pytest.mark.parametrize(
    ("changed", "layer", "reason"),
    [({"larger": 1.01}, "weighing", ""), ({"times": 255.0}, "numbers", "it is multiplied by 255")],
)
def test_the_layer_or_the_input_is_named(
    changed: dict[str, float], layer: str, reason: str, search: LayerSearch, tmp_path: Path
) -> None:
    for artifact in export(
        model(**changed), ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False)
    ).artifacts:
        with runtime({"tflite": "litert", "onnx": "onnxruntime"}[artifact.format]).open(artifact) as session:
            found = search.profile(artifact, session).divergence
        assert found is not None
        assert (found.layer, found.reason) == (layer, reason)
