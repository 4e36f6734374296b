"""HDF5 files made to harm: more declared than stored, one text many times, names and tensors of the wrong kind."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from converters.errors import ModelError
from exporter import rescue

CONFIG = {
    "class_name": "Sequential",
    "config": [
        {"class_name": "Dense", "config": {"name": "dense", "units": 2, "batch_input_shape": [None, 3]}},
    ],
}


def model(change: Callable[[h5py.File], None] = lambda file: None) -> bytes:
    """A model as Keras 2 wrote it, changed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(CONFIG), b"2.4.0"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"dense"]
        group = weights.create_group("dense")
        group.attrs["weight_names"] = [b"dense/kernel:0", b"dense/bias:0"]
        group["dense/kernel:0"], group["dense/bias:0"] = np.ones((3, 2), "f4"), np.ones(2, "f4")
        change(file)
    return buffer.getvalue()


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        rescue(path, path.with_name("new.keras"))
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return message


def test_the_plain_model_is_rescued(tmp_path: Path) -> None:
    (tmp_path / "old.h5").write_bytes(model())
    assert rescue(tmp_path / "old.h5", tmp_path / "new.keras").output


def test_many_tensors_that_declare_much_and_store_nothing(tmp_path: Path) -> None:
    """Each is below the limit for one; together they let a config of 20 KB ask for gigabytes."""

    def change(file: h5py.File) -> None:
        for index in range(40):
            file.create_dataset(f"model_weights/dense/{index}", (2**20,), "f4", chunks=(2**16,))

    content = model(change)
    assert len(content) < 100_000
    assert "decompression bomb" in refusal(tmp_path / "old.h5", content)


def test_one_tensor_that_declares_a_quarter_of_a_gigabyte(tmp_path: Path) -> None:
    content = model(lambda file: file.create_dataset("model_weights/x", (2**26 - 1,), "f4", chunks=(2**16,)) and None)
    assert "declare 268435" in refusal(tmp_path / "old.h5", content)


def test_one_text_four_thousand_times(tmp_path: Path) -> None:
    """4,000 references to one text of 1 MB would be 4 GB in memory."""
    texts = ["y" * 1_000_000] + ["z"] * 3999
    content = bytearray(model(lambda file: file["model_weights"].attrs.create("odd", texts, dtype=h5py.string_dtype())))
    first, other = struct.pack("<I", 1_000_000), struct.pack("<I", 1)
    at = next(
        index for index in range(len(content)) if content[index:][:4] == first and content[index + 16 :][:4] == other
    )
    content[at : at + 16 * 4000] = content[at : at + 16] * 4000
    assert "memory" in refusal(tmp_path / "old.h5", bytes(content))


@pytest.mark.parametrize("kind", [h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype("f4")], ids=str)
def test_tensors_of_texts_and_references(tmp_path: Path, kind: Any) -> None:
    content = model(lambda file: file.create_dataset("model_weights/x", (4,), kind) and None)
    assert "texts or references" in refusal(tmp_path / "old.h5", content)


def _replace(file: h5py.File, name: str, value: Any) -> None:
    del file[name]
    file[name] = value


WRONG: dict[str, Callable[[h5py.File], None]] = {
    "names that are a number": lambda file: file["model_weights"].attrs.__setitem__("layer_names", 3),
    "weight names that are a number": lambda file: file["model_weights/dense"].attrs.__setitem__("weight_names", 3),
    "names that lead nowhere": lambda file: file["model_weights/dense"].attrs.__setitem__(
        "weight_names", [b"dense/kernel:0", b"nowhere"]
    ),
    "names that are no UTF-8": lambda file: file["model_weights"].attrs.__setitem__("layer_names", [b"\xff\xfe"]),
    "a tensor in the place of a layer": lambda file: _replace(file, "model_weights/dense", np.ones(3)),
    "a tensor in the place of all weights": lambda file: _replace(file, "model_weights", np.ones(3)),
    "texts of fixed length as weights": lambda file: _replace(
        file, "model_weights/dense/dense/bias:0", np.array([b"a", b"b"])
    ),
    "rows of fields as weights": lambda file: _replace(
        file, "model_weights/dense/dense/bias:0", np.zeros(2, [("a", "f4"), ("b", "i1")])
    ),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_stands_where_names_and_weights_belong(tmp_path: Path, change: Callable[[h5py.File], None]) -> None:
    refusal(tmp_path / "old.h5", model(change))


def test_an_input_layer_without_a_config(tmp_path: Path) -> None:
    layers = [{"class_name": "InputLayer", "name": "i", "inbound_nodes": []}]
    config = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [], "output_layers": []}}

    def change(file: h5py.File) -> None:
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), b"2.2.4-tf"

    assert "class_name and a config" in refusal(tmp_path / "old.h5", model(change))
