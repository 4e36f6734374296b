"""Calibration data that converters swallow, or die of: refused before anything is converted, with what was seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import CalibrationError, ModelError, OptionError, WorkerError
from exporter import ExportOptions, QuantisationOptions, export, quantize
from exporter.quantisation.preprocess import PRESETS

Images = np.ndarray


@pytest.fixture(scope="module")
def model() -> Any:
    """Takes 0..255 by its Rescaling layer; its BatchNormalization holds the statistics of the images below."""
    import keras

    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3), name="image")
    norm = keras.layers.BatchNormalization(name="norm")
    x = norm(keras.layers.Conv2D(6, 3, name="conv")(keras.layers.Rescaling(1 / 255)(image)))
    made = keras.Model(image, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)), name="net")
    before = np.asarray(keras.Model(image, norm.input)(good()))
    norm.set_weights([np.ones(6), np.zeros(6), before.mean((0, 1, 2)), before.var((0, 1, 2))])
    return made


def good(count: int = 60) -> Images:
    """Images with more red than blue, 0..255."""
    random = np.random.default_rng(3)
    smooth = random.uniform(0, 255, (count, 2, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return (smooth * [1.0, 0.6, 0.2]).astype(np.float32)


def refused(model: Any, data: Any, out: Path, match: str, **asked: Any) -> None:
    """Quantising must fail with this message, one line, before a file or folder is there."""
    options = ExportOptions(("tflite",), "int8", output=out, quantisation=QuantisationOptions(data, **asked))
    with pytest.raises(CalibrationError, match=match) as caught:
        quantize(model, options)
    assert "\n" not in str(caught.value)
    assert not out.exists()


def changed(change: Callable[[Images], Any]) -> Any:
    images = good()
    result = change(images)
    return images if result is None else result


def _nan(images: Images) -> None:
    images[7, 2, 3, 0] = np.nan


def _infinite(images: Images) -> None:
    images[9] = np.inf


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (changed(_nan), r"sample 7 holds NaN \(1 of 192 values\).*expected finite"),
        (changed(_infinite), r"sample 9 holds infinity \(192 of 192"),
        (good()[:0], "empty; expected 100 samples or more"),
        (iter(()), "the calibration data are empty"),
        (good(9), "9 are too few to find ranges from; expected 10 or more"),
        (good().transpose(0, 3, 1, 2), "shape 3x8x8 a sample; expected 8x8x3: these are NCHW and the model takes NHWC"),
        (good()[:, :4], "shape 4x8x3 a sample; expected 8x8x3"),
        (good()[0], "shape 8x3 a sample; expected 8x8x3: this is one sample without its batch"),
        (good().astype(np.uint8), "uint8 where input 'image' takes float32; if these are pixels"),
        (good() * 0 + 128, "60 of 60 samples of input 'image' are constant, such as sample 0"),
        (good() / 255, r"values of input 'image' are 0\S*\.\.(0\.99|1)\S*; expected 0\.\.255 .*--preprocess"),
        (good() - 128, r"values of input 'image' are -1\d\d.*expected 0\.\.255"),
        (good()[..., ::-1], "with red and blue exchanged the data are .* times nearer .* record of 'norm'"),
        ({"picture": good(), "other": good()}, "arrays: holds picture, other; expected: image"),
        (object(), "calibration data are a path, an array, .*; got object"),
    ],
    ids=lambda value: value[:28] if isinstance(value, str) else "",
)
def test_refused_with_what_was_seen(model: Any, tmp_path: Path, data: Any, match: str) -> None:
    refused(model, data, tmp_path / "out", match)


def test_the_record_of_batchnorm_tells_a_wrong_range(tmp_path: Path) -> None:
    """Without a Rescaling layer nothing says 0..1 but what the model recorded in training."""
    import keras

    keras.utils.set_random_seed(6)
    image = keras.Input((8, 8, 3), name="image")
    norm = keras.layers.BatchNormalization(name="norm")
    made = keras.Model(image, keras.layers.Flatten()(norm(keras.layers.Conv2D(4, 3)(image))), name="bare")
    before = np.asarray(keras.Model(image, norm.input)(good() / 255))
    norm.set_weights([np.ones(4), np.zeros(4), before.mean((0, 1, 2)), before.var((0, 1, 2))])
    refused(
        made, good(), tmp_path / "out", r"vary 2\d\d times as much as the training data did, by the record of 'norm'"
    )


def test_files_that_hold_no_samples(model: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "cut.tfrecord").write_bytes(b"\x01" * 40)
    (tmp_path / "notes.txt").write_text("no samples")
    for name, match in {
        "empty": "holds no images; looked for .avif, .bmp",
        "absent": "no such file or folder of calibration data",
        "objects.npy": "it holds pickled Python objects, which are never loaded",
        "cut.npy": "cannot be read as arrays",
        "cut.npz": "cannot be read as arrays",
        "images": "broken.png: cannot be read as an image",
        "cut.tfrecord": "cannot be read as a TFRecord",
        "notes.txt": "not known as calibration data; give a folder of images, or a file of .npy",
    }.items():
        refused(model, tmp_path / name, tmp_path / "out", match)


def test_images_without_a_formula_are_refused(tmp_path: Path) -> None:
    import keras
    from PIL import Image

    Image.fromarray(good()[0].astype(np.uint8)).save(tmp_path / "one.png")
    image = keras.Input((8, 8, 3), name="image")
    bare = keras.Model(image, keras.layers.Conv2D(2, 3)(image), name="bare")
    refused(bare, tmp_path / "one.png", tmp_path / "out", "how pixels become the numbers of input 'image' is not known")
    refused(bare, None, tmp_path / "out", "int8 needs samples like those that bare will see: give --calibration")


def test_what_is_forced_is_still_said(model: Any, tmp_path: Path) -> None:
    asked = QuantisationOptions(good(9), force=True, methods=("minmax",))
    result = quantize(model, ExportOptions(("tflite",), "int8", output=tmp_path, quantisation=asked))
    assert [text.split(":")[0] for text in result.warnings] == ["forced"]
    assert "9 are too few" in result.warnings[0]


def test_a_model_that_gives_nan_on_finite_data_is_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3), name="image")
    rooted = keras.Model(image, keras.ops.sqrt(keras.layers.Conv2D(2, 3, name="c")(image) - 1e6), name="rooted")
    asked = QuantisationOptions(good(), preprocess=PRESETS["bytes"], methods=("minmax",))
    options = ExportOptions(("tflite",), "int8", output=tmp_path, quantisation=asked)
    with pytest.raises(ModelError, match=r"on sample \d+ of the calibration data, .* computes NaN in '"):
        quantize(rooted, options)
    assert not list(tmp_path.iterdir())


def test_a_converter_that_dies_is_an_error_of_its_own(tmp_path: Path) -> None:
    """As a NaN pixel ends the stock converter's process: this one survives, says so, and goes on."""
    from converters.quantise import flatbuffer
    from converters.quantise.child import Child

    artifact = export(None, ExportOptions(("tflite",), output=tmp_path, verify=False, lower=False)).artifacts[0]
    graph = flatbuffer.describe(artifact.path.read_bytes())
    ranges = {tensor.name: (-1.0, 1.0) for tensor in graph.computed() if tensor.dtype == "float32"}
    given = {"source": str(artifact.path), "target": str(tmp_path / "q.tflite"), "precision": "int8", "io": "int8"}
    with Child("tflite") as child:
        assert child._process is not None
        os.kill(child._process.pid, signal.SIGSEGV)
        with pytest.raises(WorkerError, match="the tflite converter died of SIGSEGV"):
            child.run("tflite", ranges=ranges, **given)
        assert child.run("tflite", ranges=ranges, **given)["bytes"] > 50_000


@pytest.mark.slow
def test_the_nan_pixel_still_kills_the_stock_converter(tmp_path: Path) -> None:
    """The reason for all of this; should TensorFlow mend it, the checks stay right, and this test says so."""
    source = export(None, ExportOptions(("saved_model",), output=tmp_path, verify=False)).artifacts[0].path
    code = f"""
import numpy as np, tensorflow as tf
images = np.zeros((5, 1, 28, 28, 1), np.float32)
images[2, 0, 3, 3, 0] = np.nan
converter = tf.lite.TFLiteConverter.from_saved_model({str(source)!r}, signature_keys=["serving_default"])
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ({{"image": image}} for image in images)
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.convert()
"""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert ran.returncode < 0, ran.stderr[-500:]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (
            {"precision": "int16x8", "formats": ("onnx",)},
            "onnx cannot be written in int16x8; it can in: fp32, fp16, dyn",
        ),
        ({"precision": "int8", "formats": ("saved_model",)}, "saved_model cannot be written in int8; it can in: fp32"),
        ({"io": "int16"}, "tflite int8 has inputs and outputs of int8 or uint8 or float32; got int16"),
        ({"methods": ("entropy",)}, "--ranges for tflite are minmax, mse; got entropy"),
        ({"precision": "fp16", "max_drop": 0.01}, "--max-drop is for int8"),
        ({"max_drop": 1.5}, "--max-drop takes a share from 0 to below 100%; got 150.00%"),
        ({"activations": "int4"}, "--activations takes uint8 or int8; got 'int4'"),
        ({"precision": "fp32", "seed": 3}, "^--seed is for another --precision than fp32"),
        ({"precision": "fp32", "force": True, "methods": ("mse",)}, "^--force, --ranges are for another --precision"),
        ({"precision": "fp32", "calibration": np.zeros((20, 4))}, "^--calibration is for another --precision"),
    ],
)
def test_options_that_do_not_go_together(asked: dict[str, Any], match: str) -> None:
    given = {"formats": ("tflite",), "precision": "int8", **asked}
    export_options = {name: given.pop(name) for name in ("formats", "precision")}
    with pytest.raises(OptionError, match=match):
        ExportOptions(**export_options, quantisation=QuantisationOptions(**given))
