"""Layers with weights that Keras 3 no longer has, from files of real old Kerases."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from converters.errors import ModelError
from exporter import rescue

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _compare(model: keras.Model, data: Path) -> None:
    with np.load(data) as stored:
        inputs = [stored[name] for name in sorted(stored) if name.startswith("x")]
        expected = [stored[name] for name in sorted(stored) if name.startswith("y")]
    made = keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    assert len(made) == len(expected)
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_cudnn_layers_become_those_that_any_machine_runs(tmp_path: Path) -> None:
    made = rescue(FIXTURES / "cudnn" / "cudnn.h5", tmp_path / "new.keras")
    again = keras.models.load_model(tmp_path / "new.keras")
    _compare(again, FIXTURES / "cudnn" / "cudnn.npz")
    kinds = [type(layer).__name__ for layer in again.layers]
    assert kinds == ["InputLayer", "Bidirectional", "LSTM", "GRU"]
    assert [note for note in made.notes if "CuDNNLSTM" in note and "became LSTM" in note]


def test_a_bias_of_another_size_is_refused(tmp_path: Path) -> None:
    content = (FIXTURES / "cudnn" / "cudnn.h5").read_bytes()
    (tmp_path / "odd.h5").write_bytes(content)
    with h5py.File(tmp_path / "odd.h5", "r+") as file:
        group = file["model_weights"]["gru"]
        name = next(each for each in group.attrs["weight_names"] if "bias" in str(each))
        bias = group[name][()]
        del group[name]
        group[name] = bias[:-2]
    with pytest.raises(ModelError, match=r"weight .*bias"):
        rescue(tmp_path / "odd.h5")
