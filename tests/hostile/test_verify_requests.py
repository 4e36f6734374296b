"""What `cbam verify` and its fellows are asked for and cannot do is refused or told, never amended."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

from converters.errors import ModelError, OptionError, OutputError
from exporter import ExportOptions, ReferenceOptions, VerifyOptions, export, reference, verify
from exporter.bundling import bundle
from exporter.checking import check_json_target, write_json
from exporter.cli import cbam
from exporter.parity.text import lines
from exporter.parity.tolerances import Overrides


def small() -> keras.Model:
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    return keras.Model(image, layers.Dense(3, name="scores")(x), name="small")


def test_only_an_earlier_result_is_replaced(tmp_path: Path) -> None:
    model = small()
    (artifact,) = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False)).artifacts
    before = artifact.path.read_bytes()
    with pytest.raises(OutputError, match="is no result of a verification"):
        check_json_target(artifact.path)
    assert artifact.path.read_bytes() == before
    result = verify([artifact], reference(model), VerifyOptions(causes=False)).result
    write_json(result, tmp_path / "result.json")
    check_json_target(tmp_path / "result.json")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OutputError, match=r"mine\.json: exists"):
        check_json_target(tmp_path / "mine.json")


def test_a_runtime_that_cannot_run_a_file_is_told(tmp_path: Path) -> None:
    model = small()
    made = export(model, ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False)).artifacts
    options = VerifyOptions(runtimes=("litert-reference",), causes=False)
    found = verify(made, reference(model), options).result
    told = (
        f"{made[1].path} in litert-reference: not verified: it cannot run this file, which was verified in onnxruntime"
    )
    assert any(line.strip().startswith(told) for line in lines(found))
    opened = export(
        model, ExportOptions(("tflite",), output=tmp_path / "open", batch="dynamic", verify=False)
    ).artifacts
    with pytest.raises(OptionError, match="tflite-micro takes a fixed batch only"):
        verify(opened, reference(model), VerifyOptions(runtimes=("tflite-micro",)))


@pytest.mark.parametrize("command", ["quantize", "export"])
def test_a_precision_given_twice_is_refused(command: str) -> None:
    ran = CliRunner().invoke(cbam, [command, "cbam-mnist", "-p", "fp16", "-p", "int8"])
    assert ran.exit_code == 2
    assert "fp16 and int8 were given" in ran.output


@pytest.mark.parametrize("dtype", ["int32", "float32"])  # which is what Keras makes of an input by itself
def test_an_input_of_indices_is_drawn_from_all_that_an_embedding_knows(dtype: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    tokens = keras.Input((12,), dtype=dtype, name="tokens")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(50, 4, name="words")(tokens))
    model = keras.Model(tokens, layers.Dense(3, name="scores")(x), name="indices")
    record = reference(model)
    assert set(np.unique(record.inputs["tokens"])) == set(range(50))
    assert "whole numbers in 0..49" in record.cases[0].described
    words = model.get_layer("words")
    (table,) = words.get_weights()
    table[2:] *= -3
    words.set_weights([table])  # but for the rows that zeros and ones read
    artifacts = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False)).artifacts
    assert not verify(artifacts, record, VerifyOptions(causes=False, locate=False)).passed


def test_indices_that_an_embedding_does_not_know_are_told(tmp_path: Path) -> None:
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(50, 4)(tokens))
    model = keras.Model(tokens, layers.Dense(3)(x), name="indices")
    np.savez(tmp_path / "own.npz", tokens=np.full((20, 4), 87, np.int32))
    with pytest.raises(ModelError, match=r"own\.npz: input 'tokens' holds 87; .* knows 0\.\.49"):
        reference(model, options=ReferenceOptions(inputs=tmp_path / "own.npz"))


def test_the_same_result_is_not_merged_twice(tmp_path: Path) -> None:
    model = small()
    (artifact,) = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False)).artifacts
    result = verify([artifact], reference(model), VerifyOptions(causes=False)).result
    for name in ("one.json", "two.json"):
        write_json(result, tmp_path / name)
    with pytest.raises(ModelError, match=r"two\.json: holds the same result as .*one\.json"):
        verify([], None, VerifyOptions(merge=(tmp_path / "one.json", tmp_path / "two.json")))


def test_what_is_wrong_in_a_bundle_is_told_by_the_names_it_was_packed_under(tmp_path: Path) -> None:
    model = small()
    artifacts = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False)).artifacts
    path = bundle(artifacts, reference(model), tmp_path / "device.pyz")
    other = tmp_path / "other.pyz"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(other, "w") as changed:
        for each in whole.infolist():
            content = whole.read(each)
            changed.writestr(each, content + b"x" if each.filename == "artifacts/0" else content)
    ran = subprocess.run([sys.executable, str(other)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith(f"error: {artifacts[0].path}: ")
    assert "cbam-bundle-" not in ran.stderr


def test_what_is_asked_for_is_told_with_its_output_and_the_samples_that_are_used(tmp_path: Path) -> None:
    model = small()
    artifacts = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False)).artifacts
    asked = VerifyOptions(causes=False, samples=4, overrides={"": Overrides(atol=1e-3)})
    result = verify(artifacts, reference(model), asked).result
    told = "\n".join(lines(result))
    assert "  asked for of scores: --atol 0.001 (the largest difference is " in told
    assert f"  inputs: 4 of {reference(model).cases[0].described}" in told
