"""Layers with weights that Keras 3 no longer has, from files of real old Kerases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from converters.errors import ModelError
from exporter import rescue

FIXTURES = Path(__file__).parents[1] / "fixtures" / "gone"


def _compare(model: keras.Model, data: Path) -> None:
    with np.load(data) as stored:
        inputs = [stored[name] for name in sorted(stored) if name.startswith("x")]
        expected = [stored[name] for name in sorted(stored) if name.startswith("y")]
    made = keras.tree.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False))
    assert len(made) == len(expected)
    for ours, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_cudnn_layers_become_those_that_any_machine_runs(tmp_path: Path) -> None:
    made = rescue(FIXTURES / "cudnn.h5", tmp_path / "new.keras")
    again = keras.models.load_model(tmp_path / "new.keras")
    _compare(again, FIXTURES / "cudnn.npz")
    kinds = [type(layer).__name__ for layer in again.layers]
    assert kinds == ["InputLayer", "Bidirectional", "LSTM", "GRU"]
    assert [note for note in made.notes if "CuDNNLSTM" in note and "became LSTM" in note]


def test_a_bias_of_another_size_is_refused(tmp_path: Path) -> None:
    content = (FIXTURES / "cudnn.h5").read_bytes()
    (tmp_path / "odd.h5").write_bytes(content)
    with h5py.File(tmp_path / "odd.h5", "r+") as file:
        group = file["model_weights"]["gru"]
        name = next(each for each in group.attrs["weight_names"] if "bias" in str(each))
        bias = group[name][()]
        del group[name]
        group[name] = bias[:-2]
    with pytest.raises(ModelError, match=r"weight .*bias"):
        rescue(tmp_path / "odd.h5")


@pytest.mark.parametrize("form", ["h5", "keras"])
def test_locally_connected_layers_become_slices_and_a_matrix_for_each_place(form: str, tmp_path: Path) -> None:
    made = rescue(FIXTURES / f"local.{form}", tmp_path / "new.keras")
    again = keras.models.load_model(tmp_path / "new.keras")
    _compare(again, FIXTURES / "local.npz")
    assert again.get_layer("line").kernel.shape == (4, 9, 4)
    assert again.get_layer("inner").get_layer("plane").kernel.shape == (7, 4, 12, 3)
    assert sum("became slices and an EinsumDense" in note for note in made.notes) == 3


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("implementation", 2, "implementation='2'"),
        ("padding", "same", "padding='same'"),
        ("data_format", "channels_first", "data_format='channels_first'"),
        ("kernel_size", [100], "smaller than its window"),
        ("kernel_size", [100_000], "kernel_size"),
        ("strides", [0], "strides"),
        ("odd", 1, "odd='1'"),
    ],
)
def test_other_kinds_of_locally_connected_layers_are_refused(key: str, value: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd.h5").write_bytes((FIXTURES / "local.h5").read_bytes())
    with h5py.File(tmp_path / "odd.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        line = next(each for each in config["config"]["layers"] if each["name"] == "line")
        line["config"][key] = value
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=f"LocallyConnected1D 'line' .*{said}"):
        rescue(tmp_path / "odd.h5")
