"""Honest model files: what `read_trusted` gives of them, and that it lets them pass."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

from converters.lambdas import keras_names
from converters.lambdas.archive import is_saved_model, iter_layers, read_archive
from converters.lambdas.trust import check_trusted, read_trusted
from exporter.models.cbam import CBAM

REGISTERED = ("cbam_export>CBAM", "cbam_export>ChannelAttention", "cbam_export>SpatialAttention")

# Keras's TensorFlow backend hands its variables to NumPy 2 without a `copy` argument.


def functional() -> keras.Model:
    image = keras.Input((8, 8, 3), name="bild mit ß")
    x = kl.Conv2D(4, 3, kernel_initializer="he_normal", kernel_regularizer="l2", activation="relu")(image)
    x = kl.Conv2D(4, 3, activation=kl.LeakyReLU(), bias_constraint="non_neg", dtype="mixed_float16")(x)
    x = kl.SpectralNormalization(kl.Conv2D(2, 1))(x)
    x = kl.Dropout(0.3, seed=1)(x)
    x = kl.Reshape((-1, 2))(x)
    x = kl.TimeDistributed(kl.Dense(3))(x)
    x = kl.RNN([kl.LSTMCell(3), kl.GRUCell(2)], return_sequences=True)(x)
    x = kl.Bidirectional(kl.LSTM(3, name="inner"), name="both")(x)
    model = keras.Model(image, kl.Dense(2, name="日本")(x), name="functional")
    model.compile("adam", "mse", metrics=["accuracy"])
    return model


def sequential() -> keras.Model:
    stack = [kl.Resizing(4, 4), kl.Normalization(mean=0.1, variance=2.0), kl.Pipeline([kl.RandomFlip(seed=1)])]
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, kl.ReLU(), kl.Flatten(), kl.Softmax()], name="sequential")


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((3,)), kl.Dense(3, name="deep")], name="inner")
    inner.compile("sgd", keras.losses.MeanSquaredError(), metrics=[keras.metrics.AUC()])
    a = keras.Input((3,), name="a")
    middle = keras.Model(a, kl.Dense(3, name="mid")(inner(a)), name="middle")
    first, second = keras.Input((3,), name="first"), keras.Input((3,), name="second")
    return keras.Model({"first": first, "second": second}, {"out": kl.Add(name="add")([middle(first), middle(second)])})


def operations() -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = ops.max(image, axis=-1, keepdims=True)[:, ::2, ..., 0:1] / 2.0 + np.ones((1, 4, 8, 1), "float32")
    x = keras.activations.relu(ops.image.resize(x, (8, 8)))
    x = ops.einsum("bhwc,bhwd->bhwd", x, ops.where(x > 0, x, -x)) * ops.ones((1, 8, 8, 1))
    return keras.Model(image, ops.linalg.norm(ops.nn.silu(x), axis=-1))


def attention() -> keras.Model:
    image = keras.Input((8, 8, 16))
    return keras.Model(image, CBAM("paper", name="cbam")(image))


def quantized() -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), kl.Dense(8, name="dense")])
    model.quantize("int8", filters="dense")
    return model


MODELS = [functional, sequential, nested, operations, attention, quantized]


@pytest.mark.parametrize("build", MODELS)
def test_keras_files_pass(build, tmp_path):
    build().save(tmp_path / "model.keras")
    archive = read_trusted(tmp_path / "model.keras", REGISTERED)
    assert (archive.kind, archive.suffix, archive.keras_version) == ("keras", ".keras", keras.__version__)
    assert archive.compiled == (build is functional)
    keras.models.load_model(tmp_path / "model.keras", compile=False)  # what passes can be opened


@pytest.mark.parametrize("build", [functional, sequential, nested, attention])
def test_hdf5_files_pass(build, tmp_path):
    build().save(tmp_path / "model.h5")
    archive = read_trusted(tmp_path / "model.h5", REGISTERED)
    assert (archive.kind, archive.suffix, archive.keras_version) == ("hdf5", ".h5", keras.__version__)
    assert archive.config["class_name"] in keras_names.MODELS


def test_kind_is_found_by_content(tmp_path):
    sequential().save(tmp_path / "model.h5")
    shutil.move(tmp_path / "model.h5", tmp_path / "model.keras")
    archive = read_trusted(tmp_path / "model.keras")
    assert (archive.kind, archive.suffix) == ("hdf5", ".h5")


def test_iter_layers_goes_into_models_and_wrappers(tmp_path):
    for name in ("model.keras", "model.h5"):
        nested().save(tmp_path / name)
        paths = ["/".join(path) for path, _ in iter_layers(read_archive(tmp_path / name).config)]
        assert [path for path in paths if "input" not in path and path not in ("first", "second")] == [
            *("middle", "middle/a", "middle/inner", "middle/inner/deep", "middle/mid", "add")
        ]
    functional().save(tmp_path / "model.keras")
    found = dict(iter_layers(read_archive(tmp_path / "model.keras").config))
    assert found[("both", "forward_inner")]["class_name"] == "LSTM"
    assert found[("日本",)]["class_name"] == "Dense"
    assert found[("bild mit ß",)]["class_name"] == "InputLayer"


def test_iter_layers_reads_the_oldest_sequential_form():
    dense = {"class_name": "Dense", "config": {"name": "a/b", "units": 1}}
    config = {
        "class_name": "Sequential",
        "config": [dense, {"class_name": "TimeDistributed", "config": {"layer": dense}}],
    }
    assert [path for path, _ in iter_layers(config)] == [("a/b",), ("TimeDistributed",), ("TimeDistributed", "a/b")]


def test_iter_layers_gives_the_dicts_themselves():
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Dense", "config": {"name": "d"}}]}}
    next(iter_layers(config))[1]["config"]["units"] = 3
    assert config["config"]["layers"][0]["config"]["units"] == 3


def test_loss_and_optimizer_of_the_outermost_model_do_not_matter(tmp_path):
    path = tmp_path / "model.keras"
    sequential().save(path)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    config = json.loads(members["config.json"])
    config["compile_config"] = {"loss": {"module": "os", "class_name": "function", "config": "system"}}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    assert read_trusted(path).compiled
    keras.models.load_model(path, compile=False)


def test_registered_names_pass_and_others_do_not(tmp_path):
    attention().save(tmp_path / "model.keras")
    archive = read_archive(tmp_path / "model.keras")
    check_trusted(archive, REGISTERED)
    with pytest.raises(Exception, match=r"custom layer 'CBAM'.*layer 'cbam'"):
        check_trusted(archive)


def test_is_saved_model(tmp_path):
    assert not is_saved_model(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert is_saved_model(tmp_path)
    assert not is_saved_model(tmp_path / "saved_model.pb")


def test_a_model_without_weights_passes(tmp_path):
    keras.Sequential([keras.Input((3,)), kl.ReLU()]).save(tmp_path / "model.keras")
    assert read_trusted(tmp_path / "model.keras").kind == "keras"


def test_every_layer_of_keras_is_listed():
    own = {name for name, value in vars(kl).items() if inspect.isclass(value) and issubclass(value, kl.Layer)}
    assert own <= keras_names.LAYERS
    assert not own & (keras_names.RAW_LAYERS | keras_names.REMOVED_LAYERS)


def test_every_name_of_keras_is_listed():
    def classes(module: object) -> set[str]:
        return {value.__name__ for value in vars(module).values() if inspect.isclass(value)}

    bases = {"Initializer", "Regularizer", "Constraint", "Quantizer", "Optimizer", "OptimizerMap", "Loss", "Metric"}
    modules = (
        *(keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies, keras.quantizers),
        *(keras.optimizers, keras.losses, keras.metrics),
    )
    for module in modules:
        assert classes(module) - bases <= keras_names.CLASSES[module.__name__], module.__name__
    helpers = {"get", "serialize", "deserialize"}
    functions = {name for name, value in vars(keras.activations).items() if inspect.isfunction(value)}
    assert functions - helpers <= keras_names.ACTIVATIONS
    assert not keras_names.LOSS_FUNCTIONS & helpers


def test_operation_modules_hold_what_keras_operations_are_written_as():
    from keras.src.api_export import get_name_from_symbol

    pending, seen = [keras.Operation], set()
    while pending:
        for cls in pending.pop().__subclasses__():
            if cls not in seen and not issubclass(cls, kl.Layer):
                pending.append(cls)
                seen.add(cls)
    modules = {cls.__module__ for cls in seen if get_name_from_symbol(cls) is None and ".src.ops." in cls.__module__}
    assert modules <= keras_names.OPERATIONS


def test_reading_imports_neither_keras_nor_tensorflow(tmp_path):
    sequential().save(tmp_path / "model.keras")
    code = (
        "import sys; from converters.lambdas.trust import read_trusted; assert 'h5py' not in sys.modules\n"
        f"read_trusted({str(tmp_path / 'model.keras')!r})\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
