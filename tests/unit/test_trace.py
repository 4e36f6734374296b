"""One inference function from any model: kinds of models, types, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from converters.errors import ModelError
from converters.trace import trace_keras
from converters.twin import twin
from exporter import ExportOptions, build_model, export
from exporter.parity.verdict import Verdict

layers = keras.layers


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x: Any) -> dict[str, Any]:  # without a training argument
        return {"scores": self.dense(x), "copy": x * 1.0}


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_a_model_of_another_type_is_exported_in_float32(policy: str, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model("cbam-small-cnn", input_shape=(24, 24, 3), classes=6, classifier_activation=None)
    finally:
        keras.config.set_dtype_policy(before)
    result = export(model, ExportOptions(formats=("onnx", "tflite"), output=tmp_path))
    for artifact, report in zip(result.artifacts, result.reports, strict=True):
        assert artifact.outputs[0].dtype == "float32"
        assert report.outputs["predictions"].verdict is Verdict.PASSED, report
    assert model.dtype_policy.name == policy


def test_a_subclassed_model_needs_its_shape(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 4), np.float32))
    with pytest.raises(ModelError, match="does not say what it takes; give its input shape"):
        export(model, ExportOptions(output=tmp_path))
    result = export(model, ExportOptions(formats=("onnx", "tflite"), input_shapes={"x": (4,)}, output=tmp_path))
    assert result.passed
    assert [spec.name for spec in result.artifacts[0].outputs] == ["copy", "scores"]
    with pytest.raises(ModelError, match="cannot take x"):
        export(model, ExportOptions(input_shapes={"x": (5,)}, output=tmp_path))


def test_names_are_those_of_the_layers_and_never_clash() -> None:
    image = keras.Input((4,), name="a")
    doubled = layers.Dense(2, name="d")(image)
    traced = trace_keras(keras.Model(image, [doubled, doubled, image]))
    assert [spec.name for spec in traced.outputs] == ["d", "d_1", "a_1"]
    unnamed = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    assert trace_keras(unnamed).inputs[0].name.startswith("input_layer")


def test_a_dict_of_outputs_keeps_its_keys() -> None:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    outputs = {"y": layers.Dense(2)(left), "x": layers.Dense(5)(right)}
    traced = trace_keras(keras.Model({"left": left, "right": right}, outputs))
    assert {spec.name: spec.shape for spec in traced.outputs} == {"y": (1, 2), "x": (1, 5)}


@pytest.mark.parametrize(("given", "expected"), [(None, 4), (1, 1), ("dynamic", None)])
def test_a_fixed_batch_is_kept_unless_another_is_asked_for(given: Any, expected: int | None) -> None:
    model = keras.Sequential([keras.Input((8,), batch_size=4), layers.Dense(3)])
    assert trace_keras(model, given).inputs[0].shape == (expected, 8)


def test_a_twin_that_is_another_model_is_no_truth(tmp_path: Path) -> None:
    """A layer whose config does not hold all of it: the tolerance must not grow by what its copy lacks."""

    @keras.saving.register_keras_serializable("tests")
    class Scaled(keras.layers.Layer):  # type: ignore[misc]
        factor = 1.0

        def call(self, x: Any) -> Any:
            return x * self.factor

    scaled = Scaled()
    scaled.factor = 1.001
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3), scaled])
    result = export(model, ExportOptions(output=tmp_path))
    assert "a layer's config does not hold all of it" in result.reference.source
    (output,) = result.reports[0].outputs.values()
    assert output.verdict is Verdict.PASSED
    assert output.tolerance.relative < 1e-4


def test_a_truth_that_is_not_a_number_is_none(tmp_path: Path) -> None:
    image = keras.Input((4,))
    constant = image * 0 + 0.1234567
    root = keras.ops.sqrt(keras.ops.mean(constant**2) - keras.ops.mean(constant) ** 2)
    model = keras.Model(image, layers.Dense(3)(image) + keras.ops.where(keras.ops.isnan(root), root, 0.0))
    result = export(model, ExportOptions(output=tmp_path))
    for output in result.reports[0].outputs.values():
        assert output.tolerance is None or np.isfinite(output.tolerance.relative)


@pytest.mark.parametrize("batch", [None, 3, "dynamic"])
def test_outputs_that_are_not_one_row_a_sample_are_compared_whole(batch: Any, tmp_path: Path) -> None:
    image = keras.Input((6,), name="x")
    dense = layers.Dense(12)(image)
    outputs = [keras.ops.reshape(dense, (-1, 3)), keras.ops.mean(dense), dense]
    result = export(
        keras.Model(image, outputs), ExportOptions(formats=("onnx", "tflite"), batch=batch, output=tmp_path)
    )
    samples = result.reference.samples
    assert len(next(iter(result.reference.outputs.values()))) >= 4 * samples  # all rows, not the first of each call
    for report in result.reports:
        assert {each.verdict for each in report.outputs.values()} == {Verdict.PASSED}, report


def test_a_model_without_an_input_shape_is_refused() -> None:
    with pytest.raises(ModelError, match="has no input shape yet"):
        trace_keras(keras.Sequential([layers.Dense(3)]))


def test_the_fingerprint_is_of_the_weights_alone() -> None:
    def model(name: str) -> Any:
        keras.utils.set_random_seed(5)
        return keras.Sequential([keras.Input((4,)), layers.Dense(3, name=name)])

    first, second = model("one"), model("two")
    assert trace_keras(first).fingerprint == trace_keras(second).fingerprint
    second.set_weights([weight + 1 for weight in second.get_weights()])
    assert trace_keras(first).fingerprint != trace_keras(second).fingerprint


def test_the_twin_is_the_model_in_float64(tiny: Any) -> None:
    image = np.random.default_rng(0).random((2, 12, 12, 3))
    double = twin(tiny, "float64")
    exact = double(image)
    assert {str(out.dtype.name) for out in exact} == {"float64"}
    for out, truth in zip(tiny(image.astype(np.float32)), exact, strict=True):
        error = np.abs(out.numpy() - truth.numpy()).max() / np.abs(truth.numpy()).max()
        assert 0 < error < 1e-5


@pytest.mark.parametrize(
    "make",
    [
        lambda: [keras.Input((7, 5)), layers.LSTM(6), layers.Dense(3)],
        lambda: [keras.Input((7,), dtype="int32"), layers.Embedding(10, 4), layers.GlobalAveragePooling1D()],
        lambda: [keras.Input((16, 16, 3), dtype="uint8"), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)],
        lambda: [keras.Input((16, 16, 3)), layers.RandomFlip(), layers.RandomRotation(0.1), layers.Conv2D(4, 3)],
        lambda: [keras.Input((16, 16, 3)), layers.Conv2DTranspose(4, 3, strides=2), layers.Resizing(20, 20)],
        lambda: [keras.Input((16, 16, 3)), layers.Conv2D(4, 3), layers.LayerNormalization(), layers.Flatten()],
    ],
    ids=["lstm", "embedding", "uint8", "augmentation", "resize", "layer-norm"],
)
def test_models_of_other_kinds_are_verified(make: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    result = export(keras.Sequential(make()), ExportOptions(formats=("onnx", "tflite"), output=tmp_path))
    for report in result.reports:
        assert {each.verdict for each in report.outputs.values()} == {Verdict.PASSED}, report
