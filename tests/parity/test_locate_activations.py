"""An activation that is another one, or none, is named, not the convolution that became one operation with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.parity.locate import Divergence
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source

RUNTIMES = {"tflite": "litert", "onnx": "onnxruntime"}


def model(activation: str = "swish", top: int = 0, factor: float = 1.0) -> Any:
    """Normalised with statistics, with a border of its own in front of the last convolution."""
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = keras.Input((10, 8, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(image)
    norm = layers.BatchNormalization(name="norm")
    x = layers.Activation(activation, name="act")(norm(x))
    x = layers.Conv2D(12, 3, padding="same", name="second")(x)
    x = layers.ZeroPadding2D(((top, 1 - top), (top, 1 - top)), name="border")(x)
    last = layers.Conv2D(8, 3, strides=2, name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(last(x))
    made = keras.Model(image, layers.Dense(4, name="scores")(x))
    random = np.random.default_rng(0)
    norm.set_weights([random.uniform(*ends, 16) for ends in ((0.8, 2), (-1, 1), (-0.1, 0.1), (0.02, 0.2))])
    kernel = last.kernel.numpy()
    last.kernel.assign(kernel * np.float32(factor))
    return made


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a ReLU": ("act", {"activation": "relu"}),
    "another smooth one": ("act", {"activation": "hard_swish"}),
    "none": ("act", {"activation": "linear"}),
    "the border at other sides": ("border", {"top": 1}),
    "all weights behind a border": ("last", {"factor": 1.01}),
}


@pytest.fixture(scope="module")
def search() -> LayerSearch:
    source = load_source(model())
    return LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])


def named(search: LayerSearch, faulty: Any, folder: Path) -> dict[str, Divergence | None]:
    found = {}
    for artifact in export(faulty, ExportOptions(tuple(RUNTIMES), output=folder, verify=False)).artifacts:
        with runtime(RUNTIMES[artifact.format]).open(artifact) as session:
            found[artifact.format] = search.profile(artifact, session).divergence
    return found


def test_nothing_is_named_in_a_sound_file(search: LayerSearch, tmp_path: Path) -> None:
    assert named(search, model(), tmp_path) == {"tflite": None, "onnx": None}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_layer_at_fault_is_named(fault: str, search: LayerSearch, tmp_path: Path) -> None:
    layer, changed = FAULTS[fault]
    found = named(search, model(**changed), tmp_path)
    assert {name: each and each.layer for name, each in found.items()} == {"tflite": layer, "onnx": layer}
