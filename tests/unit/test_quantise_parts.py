"""The parts of a quantisation by themselves: ranges, floors, corrections, splitting, preprocessing, reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import TensorSpec
from converters.errors import ModelError, OptionError
from converters.quantise import flatbuffer
from converters.quantise.correct import mean_shift
from converters.quantise.flatbuffer import Graph, Operation, Tensor
from converters.quantise.floors import floored
from converters.quantise.ranges import Observer
from converters.quantise.split import split_pools
from exporter import ExportOptions, export
from exporter.quantisation.preprocess import PRESETS, Preprocessing, chosen, known
from exporter.quantisation.recorded import Record
from exporter.quantisation.samples import SampleSet, divide
from exporter.quantisation.sources import Wanted, read

IMAGE = TensorSpec("image", (1, 6, 8, 3), "float32", "NHWC")


def observed(values: np.ndarray) -> Observer:
    observer = Observer()
    for place, value in enumerate(values):
        observer.limits({"x": value}, f"sample {place}")
    for value in values:
        observer.count({"x": value})
    return observer


def test_a_range_narrower_than_the_steps_of_float32_is_counted() -> None:
    values = np.float32(1) + np.arange(4, dtype=np.float32) * np.finfo(np.float32).eps
    observer = observed(values)
    assert observer.seen["x"].counts.sum() == 4
    assert observer.ranges("mse")["x"][1] > 0


def test_minmax_holds_everything_and_zero() -> None:
    values = np.random.default_rng(0).uniform(3, 5, (20, 50))
    assert observed(values).ranges("minmax")["x"] == (0.0, values.max())
    low, high = observed(-values).ranges("minmax", symmetric=True)["x"]
    assert (low, high) == (-values.max(), values.max())
    np.testing.assert_allclose(observed(values).means()["x"], values.mean(axis=0))


def test_mse_cuts_a_lone_outlier_and_is_better_by_it() -> None:
    values = np.random.default_rng(1).normal(size=(50, 4000))
    values[3, 7] = 9.0
    observer = observed(values)
    errors = {}
    for method in ("minmax", "mse"):
        low, high = observer.ranges(method)["x"]
        step = (high - low) / 255
        stored = np.clip(np.rint((values - low) / step), 0, 255) * step + low
        errors[method] = float(np.mean((stored - values) ** 2))
    assert observer.ranges("mse")["x"][1] < 8
    assert errors["mse"] < 0.9 * errors["minmax"]


def test_what_is_not_finite_is_named() -> None:
    with pytest.raises(ModelError, match=r"on sample 1 of the calibration data.* computes infinity in 'x'"):
        observed(np.array([[1.0], [np.inf]]))


def test_a_collapsed_range_is_widened_to_what_its_sum_can_tell_apart() -> None:
    def tensor(name: str, shape: tuple[int, ...], constant: bool = False) -> Tensor:
        return Tensor(name, shape, "float32", constant, (), ())

    x, w, y, z = tensor("x", (1, 4)), tensor("w", (4, 4), True), tensor("y", (1, 4)), tensor("z", (1, 4))
    dense, add = Operation("FULLY_CONNECTED", (x, w), (y,)), Operation("ADD", (y, x), (z,))
    graph = Graph((dense, add), (x,), (z,))
    ranges = {"x": (-1.0, 1.0), "y": (0.0, 4e-12), "z": (-1.0, 1.0)}
    wide, names = floored(graph, ranges, {"w": np.full((4, 4), 0.5)}, 255)
    assert names == ("y",)
    assert wide["x"] == ranges["x"]
    # A step of y is a 64th of x's step times w's, and no finer than a 512th of the sum's step.
    assert wide["y"][1] / 255 == pytest.approx(max(2 / 255 * 0.5 / 127 / 64, 2 / 255 / 512))
    symmetric, _ = floored(graph, {name: (-high, high) for name, (_, high) in ranges.items()}, {}, 65534)
    assert all(low == -high for low, high in symmetric.values())


@pytest.mark.parametrize(("shape", "axis"), [((5, 3, 3, 4), 0), ((1, 3, 3, 8), 3), ((6, 4), 0)])
def test_the_shift_of_rounded_weights_is_what_a_constant_input_shows(shape: tuple[int, ...], axis: int) -> None:
    weights = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    channels = 8 if axis == 3 else 4
    mean = np.random.default_rng(3).uniform(size=channels)
    others = tuple(each for each in range(len(shape)) if each != axis)
    scale = np.abs(weights).max(axis=others, keepdims=True) / 127
    error = np.rint(weights / scale) * scale - weights
    expected = (error * mean).sum(axis=others)
    np.testing.assert_allclose(mean_shift(weights, mean, axis), expected, rtol=1e-4, atol=1e-8)
    assert mean_shift(weights, np.ones(channels + 1), axis) is None


def test_pooled_maps_convolved_apart_are_the_same_function(tmp_path: Path, digits: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter

    options = ExportOptions(("tflite",), output=tmp_path, verify=False, lower=False)
    content = export("cbam-mnist", options).artifacts[0].path.read_bytes()
    split = split_pools(content)
    assert split is not None
    kinds = [operation.name for operation in flatbuffer.describe(split).operations]
    assert "CONCATENATION" not in kinds
    assert kinds.count("CONV_2D") == 3 + 2 * 3
    assert split_pools(split) is None
    outputs = []
    for each in (content, split):
        runner = Interpreter(model_content=each).get_signature_runner("serving_default")
        outputs.append(np.concatenate([runner(image=image[None])["predictions"] for image in digits[:20]]))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=2e-6)


def test_presets_are_those_of_keras_applications() -> None:
    from keras.applications import imagenet_utils

    pixels = np.random.default_rng(4).integers(0, 256, (2, 5, 5, 3)).astype(np.float32)
    for name in ("tf", "torch", "caffe"):
        ordered = pixels[..., ::-1] if PRESETS[name].order == "bgr" else pixels
        wanted = imagenet_utils.preprocess_input(pixels.copy(), data_format="channels_last", mode=name)
        np.testing.assert_allclose(PRESETS[name].apply(ordered), wanted, atol=2e-5)
    assert PRESETS["tf"].range == (-1.0, 1.0)


def test_a_formula_is_asked_for_or_read_from_the_model() -> None:
    import keras

    nothing = {"preprocess": None, "scale": None, "mean": None, "std": None}
    assert chosen(nothing, {"order": None}) is None
    assert chosen({**nothing, "scale": 0.5, "mean": (1.0,)}, {}) == Preprocessing(0.5, (1.0,))
    with pytest.raises(OptionError, match="--preprocess torch sets scale, mean and std; leave out --scale"):
        chosen({**nothing, "preprocess": "torch", "scale": 2.0}, {})
    with pytest.raises(OptionError, match="go with --preprocess or --scale"):
        chosen(nothing, {"order": "bgr"})
    image = keras.Input((6, 8, 3))
    norm = keras.layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)
    found = known(keras.Model(image, norm(image)), False)
    assert found is not None
    assert found.range == (0.0, 255.0)
    assert known(keras.Model(image, keras.layers.Conv2D(2, 3)(image)), False) is None


def test_images_of_many_kinds(tmp_path: Path) -> None:
    from PIL import Image

    colour = np.zeros((12, 16, 3), np.uint8)
    colour[..., 0], colour[:6, :, 1] = 200, 100
    base = Image.fromarray(colour)
    (tmp_path / "below").mkdir()
    base.save(tmp_path / "a.png")
    base.save(tmp_path / "b.JPG", quality=100, subsampling=0)
    base.save(tmp_path / "below" / "c.webp", lossless=True)
    base.save(tmp_path / "d.tiff")
    base.save(tmp_path / "e.bmp")
    turned = base.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise to be upright
    turned.save(tmp_path / "f.png", exif=exif)
    clear = base.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "g.png")
    Image.fromarray((np.full((12, 16), 0.5) * 65535).astype(np.uint16)).save(tmp_path / "h.png")
    (tmp_path / "notes.txt").write_text("no image")
    found = read(tmp_path, Wanted((IMAGE,), PRESETS["bytes"]))
    assert found.names == ("a.png", "b.JPG", "below/c.webp", "d.tiff", "e.bmp", "f.png", "g.png", "h.png")
    images = found.arrays["image"]
    for place in (1, 2, 3, 4, 5):
        assert np.abs(images[place] - images[0]).max() <= (4 if place == 1 else 0), found.names[place]
    np.testing.assert_array_equal(images[6], 255)  # transparent is over white
    np.testing.assert_array_equal(images[7], 127)  # 32767 of 65535
    grey = TensorSpec("image", (1, 1, 6, 8), "float32", "NCHW")
    luma = read(tmp_path / "a.png", Wanted((grey,), PRESETS["unit"])).arrays["image"]
    assert luma.shape == (1, 1, 6, 8)
    assert luma[0, 0, 5, 0] == pytest.approx(round(0.299 * 200) / 255)
    bgr = read(tmp_path / "a.png", Wanted((IMAGE,), Preprocessing(order="bgr"))).arrays["image"]
    np.testing.assert_array_equal(bgr[0], images[0][..., ::-1])


def test_records_and_data_sets(tmp_path: Path) -> None:
    import tensorflow as tf

    values = np.random.default_rng(5).uniform(size=(12, 6, 8, 3)).astype(np.float32)
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        for value in values:
            numbers = tf.train.Feature(float_list=tf.train.FloatList(value=value.reshape(-1)))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"image": numbers})).SerializeToString())
    wanted = Wanted((IMAGE,), None)
    labelled = tf.data.Dataset.from_tensor_slices((values, np.arange(12))).batch(5)
    for source in (tmp_path / "x.tfrecord", labelled, iter(values), values, {"image": values}):
        found: Any = read(source, wanted)
        np.testing.assert_array_equal(found.arrays["image"], values)
    assert len(read(values, Wanted((IMAGE,), None, most=4, seed=1))) == 4


def test_a_division_has_no_sample_twice_and_follows_its_seed() -> None:
    names = tuple(f"sample {place}" for place in range(64))
    every = SampleSet({"x": np.arange(64.0)[:, None]}, "numbers", names)
    parts = divide(every, None, 3)
    sets = [set(each.names) for each in (parts.calibrate, parts.choose, parts.verify)]
    assert [len(each) for each in sets] == [40, 12, 12]
    assert len(set.union(*sets)) == 64
    assert divide(every, None, 3).calibrate.names == parts.calibrate.names
    assert divide(every, None, 4).calibrate.names != parts.calibrate.names
    assert len(divide(every, 7, 3).calibrate) == 7
    other = SampleSet({"x": np.arange(10.0)[:, None]}, "others", tuple(f"other {place}" for place in range(10)))
    held = divide(every, None, 3, other)
    assert [len(each) for each in (held.calibrate, held.choose, held.verify)] == [64, 2, 8]


def test_data_that_fit_as_they_are_are_not_called_swapped() -> None:
    assert Record("bn", 1.3, 0.01, 0.001).faults() == []
    assert Record("bn", 1.3, 0.5, 0.4).faults() == []
    assert "red and blue exchanged" in Record("bn", 1.3, 0.5, 0.01).faults()[0]
    assert "vary 0.004 times" in Record("bn", 0.004, 0.5, 0.01).faults()[0]
