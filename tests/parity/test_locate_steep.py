"""A sound file of a net that makes roundings large is searched, lowered as by default, and given no layer."""

from __future__ import annotations

from pathlib import Path

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
