"""Faults of which a file holds no tensor of their own: an order of axes, an activation, the layout of an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.runtimes.table import runtime
from exporter.source import load_source


def _net(
    *, turned: tuple[int, int, int] = (2, 1, 3), activation: str = "gelu", first: Callable[[Any], Any] | None = None
) -> Any:
    keras.utils.set_random_seed(3)
    image = keras.Input((10, 10, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescale")(first(image) if first else image)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(x)
    x = layers.Conv2D(12, 1, activation=activation, bias_initializer="normal", name="expand")(x)
    x = layers.Conv2D(6, 1, name="project")(x)
    x = layers.Permute(turned, name="order")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model(image, layers.Dense(4, name="scores")(x), name="net")


def _as_nchw(image: Any) -> Any:
    return layers.Reshape((10, 10, 3), name="other")(layers.Permute((3, 1, 2), name="axes")(image))


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "order": ({"turned": (1, 2, 3)}, "order", "axes in the order 1, 2, 3"),
    "sizes": ({"turned": (3, 2, 1)}, "order", "axes in the order 3, 2, 1"),
    "activation": ({"activation": "relu"}, "expand", "a ReLU in its place"),
    "NCHW": ({"first": _as_nchw}, "image", "NCHW image are read as NHWC"),
}


@pytest.fixture(scope="module")
def search() -> LayerSearch:
    images = np.random.default_rng(4).uniform(0, 255, (8, 10, 10, 3)).astype(np.float32)
    return LayerSearch(load_source(_net()), {"image": images})


@pytest.mark.parametrize("form", ["tflite", "onnx"])
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_named_alone(fault: str, form: str, search: LayerSearch, tmp_path: Path) -> None:
    changes, layer, reason = FAULTS[fault]
    (artifact,) = export(_net(**changes), ExportOptions((form,), output=tmp_path, verify=False)).artifacts
    with runtime({"tflite": "litert", "onnx": "onnxruntime"}[form]).open(artifact) as session:
        found = search.profile(artifact, session).divergence
    assert found is not None
    assert (found.layer, reason in found.reason) == (layer, True)


def test_the_sound_one_has_none(search: LayerSearch, tmp_path: Path) -> None:
    made = export(_net(), ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False))
    for artifact in made.artifacts:
        with runtime({"tflite": "litert", "onnx": "onnxruntime"}[artifact.format]).open(artifact) as session:
            assert search.profile(artifact, session).divergence is None
