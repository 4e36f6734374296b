"""Sound files whose roundings are large, or made large by the net, are searched as by default and given no layer."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.runtimes.table import runtime
from exporter.source import load_source
from steep_net import steep


@pytest.mark.parametrize("form", ["tflite", "onnx"])
def test_a_steep_net_is_searched(form: str, tmp_path: Path) -> None:
    model = steep()
    inputs = {"image": np.random.default_rng(1).normal(0, 1, (8, 12, 16, 16)).astype(np.float32)}
    (artifact,) = export(model, ExportOptions((form,), output=tmp_path, verify=False)).artifacts
    assert set(artifact.metadata["lowered"]["rewrites"]) == {"first", "second"}
    with runtime({"tflite": "litert", "onnx": "onnxruntime"}[form]).open(artifact) as session:
        found = LayerSearch(load_source(model), inputs).profile(artifact, session)
    assert found.divergence is None
    assert [line.tensor is not None for line in found.gates] == [True] * 4


def test_a_softmax_over_many_classes_is_added_up_one_by_one(tmp_path: Path) -> None:
    """LiteRT's sum is off by more than TensorFlow's, which adds by halves: 2.5 times what is allowed without that."""
    scores = keras.Input((20_000,), name="scores")
    model = keras.Model(scores, keras.layers.Softmax(name="shares")(scores))
    inputs = {"scores": np.random.default_rng(4).normal(0, 4, (8, 20_000)).astype(np.float32)}
    (artifact,) = export(model, ExportOptions(("tflite",), output=tmp_path, verify=False)).artifacts
    with runtime("litert").open(artifact) as session:
        found = LayerSearch(load_source(model), inputs).profile(artifact, session)
    assert found.divergence is None
    assert [row.layer for row in found.rows] == ["shares"]
