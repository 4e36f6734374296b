"""Files that are wrong where figures of whole tensors do not show it, and right ones that look wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers
from onnx import helper, numpy_helper

from converters.errors import ModelError, OptionError
from exporter import ExportOptions, ReferenceOptions, VerifyOptions, export, reference, verify
from exporter.bundling import bundle
from exporter.checking import write_json
from exporter.parity.gates import Gates, judge_quantised
from exporter.parity.verdict import Verdict
from exporter.runtimes.onnx_precision import precision_of


def net(end: str = "scores") -> keras.Model:
    keras.utils.set_random_seed(5)
    image = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu", name="conv")(image))
    x = layers.Dense(12, kernel_initializer=keras.initializers.RandomNormal(0, 3.0), name="scores")(x)
    x = {"scores": lambda: x, "label": lambda: keras.ops.argmax(x, axis=-1), "mask": lambda: x > 0}[end]()
    return keras.Model(image, x, name="net")


def bare(model: keras.Model, folder: Path, change: Any = None, batch: Any = 1) -> Path:
    """An ONNX file without a sidecar, changed."""
    (artifact,) = export(model, ExportOptions(("onnx",), output=folder, verify=False, batch=batch)).artifacts
    content = onnx.load(artifact.path)
    if change is not None:
        change(content.graph)
    onnx.save(content, folder / "bare.onnx")
    return folder / "bare.onnx"


def verdicts(path: Path, against: Any) -> dict[str, str]:
    found = verify([path], against, VerifyOptions(causes=False, locate=False)).result["verification"]
    return {row["case"]: row["verdict"] for row in found}


@pytest.mark.parametrize("end", ["label", "mask"])
def test_whole_numbers_and_truth_values_are_recorded_and_read(end: str, tmp_path: Path) -> None:
    model, random = net(end), np.random.default_rng(0)
    np.save(tmp_path / "own.npy", random.random((20, 8, 8, 3)) * random.random((20, 1, 1, 3)))
    reference(model, tmp_path / "ref.npz", ReferenceOptions(inputs=tmp_path / "own.npy"))
    assert verdicts(bare(model, tmp_path), tmp_path / "ref.npz")["inputs"] == "PASSED"


def test_labels_are_right_or_wrong_however_near_their_numbers_are() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 200)
    assert judge_quantised(labels, labels.copy(), Gates()).verdict is Verdict.PASSED
    few = np.where(np.arange(200) < 3, labels + 500, labels)
    assert judge_quantised(labels, few, Gates()).verdict is Verdict.PASSED
    found = judge_quantised(labels, labels + 1, Gates())
    assert (found.verdict, found.reason) == (
        Verdict.FAILED,
        "0.00% of its whole numbers are right, below 98.00%",
    )
    assert found.metrics is not None
    assert found.metrics.sqnr_db is not None
    assert found.metrics.sqnr_db > 50


def test_a_constant_is_no_quantised_regressor() -> None:
    random = np.random.default_rng(0)
    degrees = 300 + random.normal(0, 0.1, (64, 1))
    found = judge_quantised(degrees, np.full((64, 1), 300.0), Gates())
    assert found.verdict is Verdict.FAILED
    assert "a constant would be as near" in found.reason
    assert judge_quantised(degrees, degrees + random.normal(0, 0.07, (64, 1)), Gates()).verdict is Verdict.FAILED
    assert judge_quantised(degrees, degrees + random.normal(0, 0.02, (64, 1)), Gates()).verdict is Verdict.PASSED


def test_scores_that_one_scale_with_boxes_rounds_away_are_missed() -> None:
    random = np.random.default_rng(0)
    head = np.concatenate([random.uniform(0, 640, (16, 64, 4)), random.uniform(0.3, 0.8, (16, 64, 2))], axis=-1)
    found = judge_quantised(head, np.rint(head / 2.5) * 2.5, Gates())
    assert (found.verdict, found.reason[:58]) == (
        Verdict.NOT_INFORMATIVE,
        "2 of 6 columns hold one value in the artifact: column 4 is",
    )
    apart = np.concatenate([np.rint(head[..., :4] / 2.5) * 2.5, np.rint(head[..., 4:] * 255) / 255], axis=-1)
    assert judge_quantised(head, apart, Gates()).verdict is Verdict.PASSED


def test_one_sample_alone_is_run_where_the_batch_is_open(tmp_path: Path) -> None:
    def squeeze(graph: Any) -> None:
        last = graph.output[0]
        graph.node[-1].output[0] = "inner"
        graph.node.append(helper.make_node("Squeeze", ["inner"], [last.name]))
        del last.type.tensor_type.shape.dim[:]

    model = net()
    assert verdicts(bare(model, tmp_path, batch=None), model)["inputs"] == "PASSED"
    assert set(verdicts(bare(model, tmp_path, squeeze, batch=None), model).values()) == {"FAILED"}


def test_one_quantised_pair_and_one_half_constant_make_no_quantised_file(tmp_path: Path) -> None:
    def at_the_input(graph: Any) -> None:
        name = graph.input[0].name
        for each in graph.node:
            each.input[:] = ["read" if one == name else one for one in each.input]
        graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "scale"))
        graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
        graph.initializer.append(numpy_helper.from_array(np.zeros((2, 2), np.float16), "unused"))
        graph.node.insert(0, helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["read"]))
        graph.node.insert(0, helper.make_node("QuantizeLinear", [name, "scale", "zero"], ["stored"]))

    assert precision_of(bare(net(), tmp_path, at_the_input).read_bytes()) == "fp32"


def test_what_a_file_of_bytes_cannot_hold_is_not_judged(tmp_path: Path) -> None:
    def take_bytes(graph: Any) -> None:
        name = graph.input[0].name
        for each in graph.node:
            each.input[:] = ["read" if one == name else one for one in each.input]
        graph.node.insert(0, helper.make_node("Cast", [name], ["read"], to=onnx.TensorProto.FLOAT))
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8

    model = net()
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.float32)
    np.save(tmp_path / "own.npy", images)
    record = reference(model, options=ReferenceOptions(inputs=tmp_path / "own.npy"))
    found = verdicts(bare(model, tmp_path, take_bytes), record)
    assert (found["inputs"], found["noise"], found["scaled"]) == ("PASSED", "NOT INFORMATIVE", "NOT INFORMATIVE")


def test_a_file_with_two_signatures_is_refused_by_what_it_has(tmp_path: Path) -> None:
    import tensorflow as tf

    class Two(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), name="image")])  # type: ignore[untyped-decorator]
        def one(self, image: Any) -> dict[str, Any]:
            return {"scores": tf.reduce_mean(image, (1, 2))}

        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), name="image")])  # type: ignore[untyped-decorator]
        def other(self, image: Any) -> dict[str, Any]:
            return {"scores": tf.reduce_max(image, (1, 2))}

    module = Two()
    tf.saved_model.save(module, str(tmp_path / "saved"), {"one": module.one, "other": module.other})
    made = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), signature_keys=["one", "other"]).convert()
    (tmp_path / "two.tflite").write_bytes(made)
    found = verify([tmp_path / "two.tflite"], net(), VerifyOptions(causes=False, locate=False)).result
    assert {row["reason"] for row in found["verification"]} == {
        "it has 2 signatures, 'one', 'other'; a file with one is expected"
    }


def test_results_of_two_files_of_one_name_are_not_merged(tmp_path: Path) -> None:
    model = net()
    record = reference(model)
    path = bare(model, tmp_path)
    write_json(verify([path], record, VerifyOptions(causes=False, locate=False)).result, tmp_path / "old.json")
    content = onnx.load(path)
    content.producer_name = "a later build"
    onnx.save(content, path)
    with pytest.raises(
        ModelError, match=r"bare\.onnx: the results are of two files of that name \(sha256 [0-9a-f]{12} "
    ):
        verify([path], record, VerifyOptions(causes=False, locate=False, merge=(tmp_path / "old.json",)))


def test_a_bundle_does_not_leave_weights_behind(tmp_path: Path) -> None:
    model = net()
    path = bare(model, tmp_path)
    content = onnx.load(path)
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 200}
    onnx.save(content, tmp_path / "apart.onnx", **options)
    with pytest.raises(OptionError, match=r"apart\.onnx: keeps its weights in weights\.bin, and a bundle takes single"):
        bundle([tmp_path / "apart.onnx"], reference(model), tmp_path / "device.pyz")
