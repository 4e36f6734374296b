"""Rescue, through its public doors: models of this Keras, and small configs in the forms that older ones wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers, ops

from converters.errors import ModelError, OptionError, OutputError
from converters.lambdas.rewrite import LambdaRefusedError
from exporter import RescueOptions, load_model, rescue
from exporter.cli import cbam

SCALE = 2.5


def _helper(tensor: Any, times: int = 3) -> Any:
    return ops.mean(tensor, axis=-1, keepdims=True) * times


def _named(tensor: Any) -> Any:
    return _helper(tensor) + SCALE


def _model(function: Any, **more: Any) -> keras.Model:
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    return keras.Model(inputs, layers.Lambda(function, name="odd", **more)(x), name="net")


def _images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 6, 6, 3)).astype("float32")


def _same(one: Any, other: Any) -> None:
    images = _images()
    for a, b in zip(keras.tree.flatten(one(images)), keras.tree.flatten(other(images)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-6)


@pytest.fixture
def lambda_file(tmp_path: Path) -> Path:
    model = _model(lambda t, k=2.0: ops.max(t, axis=3, keepdims=True) * k)
    model.save(tmp_path / "old.keras")
    return tmp_path / "old.keras"


def test_the_rescued_file_opens_in_plain_keras_without_this_package(lambda_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.keras"
    made = rescue(lambda_file, target)
    (row,) = made.replaced
    assert (row.layer, row.became) == ("odd", "ops.multiply(ops.max(t, axis=3, keepdims=True), 2.0)")
    assert row.source == "lambda t, k: ops.max(t, axis=3, keepdims=True) * k  # k=2.0"
    images = _images()
    np.save(tmp_path / "images.npy", images)
    # -I: neither the working directory nor this package's folder is on the path; an import of ours would fail.
    code = (
        "import sys; sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(lambda name, *rest: "
        "(_ for _ in ()).throw(ImportError(name)) if name.split('.')[0] in ('converters', 'exporter') else None)}));"
        "import keras, numpy as np; model = keras.models.load_model(sys.argv[1]);"
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))"
    )
    arguments = [str(target), str(tmp_path / "images.npy"), str(tmp_path / "out.npy")]
    subprocess.run([sys.executable, "-I", "-c", code, *arguments], check=True, capture_output=True)
    expected = made.model.predict(images, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-6)
    conv = made.model.get_layer("conv")
    features = np.asarray(ops.conv(images, conv.kernel) + conv.bias)
    np.testing.assert_allclose(expected, 2 * features.max(3, keepdims=True), rtol=1e-4, atol=1e-5)


def test_no_path_of_the_author_is_in_the_new_file(lambda_file: Path, tmp_path: Path) -> None:
    made = rescue(lambda_file, tmp_path / "new.keras")
    assert made.output is not None
    with zipfile.ZipFile(made.output) as archive:
        for name in archive.namelist():
            assert b"test_rescue" not in archive.read(name), name


def test_a_model_in_memory_gives_closures_globals_and_named_functions(tmp_path: Path) -> None:
    factor = 0.5
    inner = keras.Sequential([layers.Dense(4), layers.Lambda(lambda q: q * factor, name="half")], name="inner")
    inputs = keras.Input((6, 6, 3))
    x = inner(inputs)
    model = keras.Model(inputs, [layers.Lambda(_named, name="named", output_shape=(6, 6, 1))(x), ops.relu(x)[:, ::2]])
    made = rescue(model, tmp_path / "new.keras")
    assert [row.layer for row in made.replaced] == ["inner/half", "named"]
    _same(model, made.model)
    _same(model, keras.models.load_model(tmp_path / "new.keras"))
    assert any(isinstance(layer, layers.Lambda) for layer in inner.layers), "the model itself was changed"


def test_a_name_only_function_is_refused_until_its_source_is_given(tmp_path: Path) -> None:
    model = _model(_named, output_shape=(4, 4, 1))
    model.save(tmp_path / "old.keras")
    with pytest.raises(LambdaRefusedError, match=r"'odd'.*'_named'.*--function _named='lambda t: \.\.\.'"):
        rescue(tmp_path / "old.keras", tmp_path / "new.keras")
    assert not (tmp_path / "new.keras").exists()
    for key in ("_named", "odd"):
        text = "lambda t: tf.reduce_mean(t, -1, keepdims=True) * 3 + 2.5"
        _same(model, rescue(tmp_path / "old.keras", functions={key: text}).model)
    layer = layers.Lambda(_named, output_shape=(4, 4, 1))  # any layer object of the user's own does
    _same(model, rescue(tmp_path / "old.keras", functions={"_named": layer}).model)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("t * 2", "is no function"),
        ("lambda t: t *", "is not Python"),
        ("lambda t: (yield t)", "Yield"),
        ("lambda t: f'{t}'", "JoinedStr"),
        ("lambda " + "t" * 30_000 + ": 1", "characters long"),
        ("lambda t: " + "-" * 150 + "t", "nested"),
    ],
)
def test_a_source_that_is_no_plain_lambda_is_refused(lambda_file: Path, text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        rescue(lambda_file, functions={"odd": text})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lambda t: __import__('os').system('true')", "calls __import__, which runs code"),
        ("lambda t: t.__class__", "__class__"),
        ("lambda t: K.__dict__", "__dict__"),
        ("lambda t: tf.io.read_file('x')", "tf.io"),
        ("lambda t: open('x')", "'open'"),
        ("lambda t: tf.py_function(t)", "py_function"),
        ("lambda t: (lambda f: f(f))(lambda f: f(f))", "deep"),
        ("lambda t: t * 10 ** 10 ** 10", "bits"),
        ("lambda t: t + np.zeros((10 ** 6, 10 ** 6))", "larger than"),
        ("lambda t: t + sum([1] * 10 ** 9)", "larger than"),
        ("lambda t: t if K.sum(t) > 0 else -t", "only running"),
    ],
)
def test_what_is_not_on_the_list_is_refused(lambda_file: Path, text: str, said: str) -> None:
    with pytest.raises(LambdaRefusedError, match=said):
        rescue(lambda_file, functions={"odd": text})


def test_all_refusals_are_told_at_once(tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    one = layers.Lambda(lambda t: t + UNKNOWN_ONE, name="one", output_shape=(4,))(inputs)  # type: ignore[name-defined]  # noqa: F821
    two = layers.Lambda(lambda t: t + UNKNOWN_TWO, name="two", output_shape=(4,))(inputs)  # type: ignore[name-defined]  # noqa: F821
    keras.Model(inputs, [one, two, layers.Lambda(_named, name="three", output_shape=(1,))(inputs)]).save(
        tmp_path / "old.keras"
    )
    with pytest.raises(LambdaRefusedError) as caught:
        rescue(tmp_path / "old.keras", tmp_path / "new.keras")
    assert {row.layer for row in caught.value.refused} == {"one", "two", "three"}
    for word in ("UNKNOWN_ONE", "UNKNOWN_TWO", "_named"):
        assert word in str(caught.value)


def test_a_function_nobody_needs_is_refused(lambda_file: Path) -> None:
    with pytest.raises(OptionError, match=r"--function other: no Lambda.*odd"):
        rescue(lambda_file, functions={"other": "lambda t: t"})


@pytest.mark.parametrize("case", ["the input", "exists", "suffix", "folder", "link"])
def test_what_would_be_lost_is_not_written_over(lambda_file: Path, tmp_path: Path, case: str) -> None:
    target = {
        "the input": lambda_file,
        "exists": tmp_path / "there.keras",
        "suffix": tmp_path / "new.h5",
        "folder": tmp_path / "folder.keras",
        "link": tmp_path / "link.keras",
    }[case]
    (tmp_path / "there.keras").write_bytes(b"precious")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "link.keras").symlink_to(tmp_path / "there.keras")
    before = lambda_file.read_bytes()
    with pytest.raises(OutputError):
        rescue(lambda_file, target, overwrite=case in ("the input", "link"))
    assert lambda_file.read_bytes() == before
    assert (tmp_path / "there.keras").read_bytes() == b"precious"


def test_every_command_rescues_by_itself_and_says_so(lambda_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran = CliRunner().invoke(cbam, ["inspect", str(lambda_file)])
    assert ran.exit_code == 0, ran.output
    assert "replaced by operations, without running them: odd" in capfd.readouterr().err
    assert "lambda t, k: ops.max(t, axis=3, keepdims=True) * k" in ran.stdout
    _same(load_model(lambda_file), rescue(lambda_file).model)


def test_the_command_in_json(lambda_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.keras"
    ran = CliRunner().invoke(cbam, ["rescue", str(lambda_file), "-o", str(target), "--json"])
    assert ran.exit_code == 0, ran.output
    shown = json.loads(ran.stdout)
    assert shown["schema"] == "cbam-export/1"
    assert shown["output"] == str(target)
    assert set(shown["replaced"][0]) == {"layer", "source", "became", "assumptions"}
    assert shown["refused"] == []
    again = CliRunner().invoke(cbam, ["rescue", str(lambda_file), "-o", str(target), "--json"])
    assert again.exit_code == 2
    assert "exists already" in json.loads(again.stdout)["error"]["message"]


def test_a_refusal_in_json(tmp_path: Path) -> None:
    _model(_named, output_shape=(4, 4, 1)).save(tmp_path / "old.keras")
    target = tmp_path / "new.keras"
    ran = CliRunner().invoke(cbam, ["rescue", str(tmp_path / "old.keras"), "-o", str(target), "--json"])
    assert ran.exit_code == 2
    shown = json.loads(ran.stdout)
    assert shown["output"] is None
    assert shown["refused"][0]["layer"] == "odd"
    assert "--function _named=" in shown["refused"][0]["reason"]
    text = "_named=lambda t: ops.mean(t, -1, keepdims=True) * 3 + 2.5"
    done = CliRunner().invoke(cbam, ["rescue", str(tmp_path / "old.keras"), "-o", str(target), "--function", text])
    assert done.exit_code == 0, done.output
    assert target.exists()


def test_more_weights_than_the_file_holds_are_refused_before_they_take_memory(tmp_path: Path) -> None:
    _model(lambda t: t * 2).save(tmp_path / "old.keras")
    with zipfile.ZipFile(tmp_path / "old.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    text = members["config.json"].decode()
    assert '"filters": 4' in text
    members["config.json"] = text.replace('"filters": 4', '"filters": 4000000000').encode()
    with zipfile.ZipFile(tmp_path / "huge.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelError, match=r"asks for .* weights, and it holds 112"):
        rescue(tmp_path / "huge.keras")


def test_the_optimizer_is_kept_and_training_goes_on_as_it_would_have(tmp_path: Path) -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, name="first")(inputs)
    gate = layers.Lambda(lambda t: ops.sigmoid(ops.mean(t, axis=3, keepdims=True) * 2.0 - 1.0), name="gate")(x)
    x = layers.Flatten()(layers.Conv2D(2, 1, name="second")(x * gate))
    model = keras.Model(inputs, layers.Dense(1, name="head")(x))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    images, targets = _images(8), np.arange(8, dtype="float32")[:, None]
    model.fit(images, targets, epochs=2, verbose=0, shuffle=False)
    model.save(tmp_path / "old.keras")
    made = rescue(tmp_path / "old.keras", tmp_path / "new.keras")
    assert made.notes == ()
    again = keras.models.load_model(tmp_path / "new.keras")
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations) == 2
    for each in (model, again):
        each.fit(images, targets, epochs=1, verbose=0, shuffle=False)
    for name in ("first", "second", "head"):
        ours, theirs = again.get_layer(name).kernel, model.get_layer(name).kernel
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=1e-4, atol=1e-6)
    dropped = rescue(tmp_path / "old.keras", options=RescueOptions(keep_optimizer=False))
    assert not dropped.model.compiled
    assert dropped.notes == ()


def test_the_optimizer_of_an_hdf5_file_is_dropped_and_said_to_be(tmp_path: Path) -> None:
    inputs = keras.Input((6, 6, 3))
    scaled = layers.Lambda(lambda t: t * 2, name="odd")(inputs)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(scaled)))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.MeanSquaredError())
    targets = np.arange(8, dtype="float32")[:, None]
    model.fit(_images(8), targets, epochs=1, verbose=0)
    model.save(tmp_path / "old.h5")
    made = rescue(tmp_path / "old.h5", tmp_path / "new.keras")
    assert [note for note in made.notes if "loss and optimizer are dropped" in note]
    again = keras.models.load_model(tmp_path / "new.keras")
    assert not again.compiled
    again.compile("adam", "mse")
    again.fit(_images(8), targets, epochs=1, verbose=0)
