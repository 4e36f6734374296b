"""Every format of the table, on every kind of source: right names and shapes, a clean graph, a verified artifact."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converters.artifact import Artifact
from converters.errors import ModelError, OptionError, RuntimeUnavailableError
from exporter import ExportOptions, build_model, export
from exporter.formats import FORMATS
from exporter.parity.verdict import Verdict
from exporter.runtimes.onnx_runtime import newest_opset

# What an open size leaves in a graph; in one of a static batch none of them has a place.
SHAPE_OPERATIONS = {"Shape", "Gather", "SHAPE", "GATHER", "STRIDED_SLICE", "PACK", "REDUCE_PROD", "Slice", "Range"}


def onnx_operations(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def tflite_operations(path: Path) -> list[str]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return [op["op_name"] for op in interpreter._get_ops_details()]


def verified(result: Any) -> None:
    assert result.passed
    for report in result.reports:
        assert {v.verdict for v in report.outputs.values()} == {Verdict.PASSED}, report


@pytest.mark.parametrize("batch", [None, pytest.param(3, marks=pytest.mark.slow), "dynamic"])
def test_every_format_keeps_names_and_shapes_and_is_verified(tiny: Any, tmp_path: Path, batch: Any) -> None:
    result = export(tiny, ExportOptions(formats=tuple(FORMATS), batch=batch, output=tmp_path))
    verified(result)
    size = None if batch == "dynamic" else batch or 1
    for artifact in result.artifacts:
        assert [(s.name, s.shape, s.dtype) for s in artifact.inputs] == [("image", (size, 12, 12, 3), "float32")]
        outputs = [("scores", (size, 5)), ("heat", (size, 6, 6, 2))]
        assert [(s.name, s.shape) for s in artifact.outputs] == outputs
        assert Artifact.load(artifact.path) == artifact
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        name for row in FORMATS.values() for name in (f"tiny{row.suffix}", f"tiny{row.suffix}.json")
    )


def test_a_static_batch_leaves_no_shape_arithmetic_and_no_batchnorm(tiny: Any, tmp_path: Path) -> None:
    export(tiny, ExportOptions(formats=("onnx", "tflite"), output=tmp_path, lower=False, verify=False))
    in_onnx, in_tflite = onnx_operations(tmp_path / "tiny.onnx"), tflite_operations(tmp_path / "tiny.tflite")
    assert not SHAPE_OPERATIONS & {*in_onnx, *in_tflite}
    # Four convolutions of the net and one of CBAM; what BatchNorm did is in their weights, so that the only products
    # left are CBAM's two gates.
    assert (in_onnx.count("Conv"), in_onnx.count("Mul"), in_onnx.count("BatchNormalization")) == (5, 2, 0)
    assert (in_tflite.count("CONV_2D"), in_tflite.count("DEPTHWISE_CONV_2D"), in_tflite.count("MUL")) == (4, 1, 2)


def test_several_inputs_and_outputs_keep_their_order_and_names(pair: Any, tmp_path: Path) -> None:
    result = export(pair, ExportOptions(formats=tuple(FORMATS), output=tmp_path))
    verified(result)
    for artifact in result.artifacts:
        assert [spec.shape for spec in artifact.inputs] == [(1, 6), (1, 4, 6)]
        assert [spec.name for spec in artifact.inputs] == ["left-in", "right"]
        assert [spec.name for spec in artifact.outputs] == ["z_first", "a_second"]


def test_two_images_of_one_size_are_not_the_same_images(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(2)
    left, right = keras.Input((16, 16, 3), name="left"), keras.Input((16, 16, 3), name="right")
    encode = keras.layers.Conv2D(4, 3)
    far = keras.ops.mean(keras.ops.abs(encode(left) - encode(right)), (1, 2))
    # Of equal images it would be 0, and the verdict NOT INFORMATIVE.
    verified(export(keras.Model([left, right], far, name="siamese"), ExportOptions(output=tmp_path)))


@pytest.mark.parametrize("opset", range(13, newest_opset() + 1))
def test_every_opset_of_this_onnxruntime(tiny: Any, tmp_path: Path, opset: int) -> None:
    result = export(tiny, ExportOptions(opset=opset, output=tmp_path))
    verified(result)
    model = onnx.load(tmp_path / "tiny.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [opset]


def test_an_opset_beyond_the_runtime_is_refused() -> None:
    with pytest.raises(OptionError, match=f"from 13 to {newest_opset()} .* got {newest_opset() + 1}"):
        ExportOptions(opset=newest_opset() + 1)


def test_inputs_as_nchw_are_declared_and_verified_so(tiny: Any, tmp_path: Path) -> None:
    result = export(tiny, ExportOptions(inputs_as_nchw=True, output=tmp_path))
    verified(result)
    (image,) = result.artifacts[0].inputs
    assert (image.shape, image.layout) == ((1, 3, 12, 12), "NCHW")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_gives_what_the_object_gives(tmp_path: Path, suffix: str) -> None:
    model = build_model("cbam-small-cnn", input_shape=(16, 16, 3), classes=4, name="net")
    path = tmp_path / f"saved{suffix}"
    model.save(path)
    before = path.read_bytes()
    result = export(path, ExportOptions(output=tmp_path / "out"))
    verified(result)
    assert result.artifacts[0].path.name == "saved.onnx"
    assert path.read_bytes() == before
    fresh = export(model, ExportOptions(output=tmp_path / "out"))
    ids = {r.artifacts[0].provenance["weights_sha256"] for r in (result, fresh)}
    assert len(ids) == 1


def test_a_saved_model_of_open_batch_becomes_static(tiny: Any, tmp_path: Path) -> None:
    tiny.export(tmp_path / "served", format="tf_saved_model", verbose=False)
    result = export(tmp_path / "served", ExportOptions(formats=tuple(FORMATS), output=tmp_path / "out"))
    verified(result)
    assert [artifact.inputs[0].shape for artifact in result.artifacts] == [(1, 12, 12, 3)] * 3
    in_onnx = onnx_operations(tmp_path / "out" / "served.onnx")
    assert not SHAPE_OPERATIONS & {*in_onnx, *tflite_operations(tmp_path / "out" / "served.tflite")}


def test_a_backbone_is_built_in_the_shape_asked_for(tmp_path: Path) -> None:
    result = export("cbam-small-cnn", ExportOptions(input_shapes={"": (64, 48, 3)}, output=tmp_path))
    verified(result)
    assert result.artifacts[0].inputs[0].shape == (1, 64, 48, 3)


def test_open_sizes_are_asked_for_and_then_filled(open_size: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'image' leaves sizes open \(\?x\?x3\); fix them with --input-shape"):
        export(open_size, ExportOptions(output=tmp_path))
    result = export(open_size, ExportOptions(input_shapes={"": (10, 14, 3)}, output=tmp_path))
    verified(result)
    assert [spec.shape for spec in result.artifacts[0].outputs] == [(1, 5), (1, 5, 7, 2)]


def test_another_input_shape_rebuilds_a_copy(tiny: Any, tmp_path: Path) -> None:
    result = export(tiny, ExportOptions(input_shapes={"image": (20, 20, 3)}, output=tmp_path))
    verified(result)
    assert result.artifacts[0].inputs[0].shape == (1, 20, 20, 3)
    assert tiny.inputs[0].shape == (None, 12, 12, 3)


def test_metadata_stands_inside_every_format(tmp_path: Path) -> None:
    result = export(None, ExportOptions(formats=tuple(FORMATS), output=tmp_path))
    verified(result)
    in_onnx = {entry.key: entry.value for entry in onnx.load(tmp_path / "cbam-mnist.onnx").metadata_props}
    with zipfile.ZipFile(tmp_path / "cbam-mnist.tflite") as archive:
        in_tflite = json.loads(archive.read("metadata.json"))
        assert archive.read("labels.txt").decode().split() == list("0123456789")
    in_saved = json.loads((tmp_path / "cbam-mnist" / "assets" / "metadata.json").read_text())
    for found in (
        {**in_onnx, **{k: json.loads(in_onnx[k]) for k in ("labels", "preprocessing", "provenance")}},
        in_tflite,
        in_saved,
    ):
        assert found["name"] == "cbam-mnist"
        assert found["labels"] == list("0123456789")
        assert found["preprocessing"]["image"] == {"layout": "NHWC", "range": [0.0, 1.0], "dtype": "float32"}
        assert len(found["provenance"]["weights_sha256"]) == 64
        assert found["provenance"]["versions"]["tensorflow"]
    accuracy = {
        a.format: r.outputs["predictions"].metrics.agreement
        for a, r in zip(result.artifacts, result.reports, strict=True)
    }
    assert accuracy == {"onnx": 1.0, "tflite": 1.0, "saved_model": 1.0}


def test_equal_input_gives_equal_bytes(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    runs = [run_cli("export", "-f", "onnx", "-f", "tflite", "--no-verify", "--json", "-o", part) for part in ("a", "b")]
    first, second = ([artifact["sha256"] for artifact in json.loads(run.stdout)["artifacts"]] for run in runs)
    assert first == second


def test_tensorflow_operations_in_tflite_are_refused_unless_asked_for(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8,), name="x")
    model = keras.Model(image, keras.layers.Dense(3)(keras.ops.sinh(image)), name="hyperbolic")
    with pytest.raises(ModelError, match=r"TFLite has no operation for TensorFlow's Sinh; .*--select-tf-ops"):
        export(model, ExportOptions(formats=("tflite",), output=tmp_path))
    with pytest.raises(RuntimeUnavailableError, match=r"Flex.*--no-verify"):
        export(model, ExportOptions(formats=("tflite",), select_tf_ops=True, output=tmp_path))
    assert not list(tmp_path.iterdir())
    options = ExportOptions(formats=("tflite",), select_tf_ops=True, verify=False, output=tmp_path)
    assert "FlexSinh" in export(model, options).artifacts[0].path.read_bytes().decode("latin-1")


def test_onnx_says_which_operation_it_has_not(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8,), name="x")
    model = keras.Model(image, keras.ops.erfinv(keras.ops.tanh(image) * 0.9), name="inverse")
    with pytest.raises(ModelError, match="ONNX has no form for TensorFlow's Erfinv"):
        export(model, ExportOptions(output=tmp_path))
    assert not list(tmp_path.iterdir())


def test_branches_in_the_graph_are_converted(tmp_path: Path) -> None:
    import keras

    class Branch(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(shape=(8, 8), name="kernel")

        def call(self, x: Any) -> Any:
            return keras.ops.cond(keras.ops.sum(x) > 0, lambda: keras.ops.matmul(x, self.kernel), lambda: x * 2)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    keras.utils.set_random_seed(4)
    image = keras.Input((8,), name="x")
    result = export(keras.Model(image, Branch()(image), name="branch"), ExportOptions(output=tmp_path))
    verified(result)
    assert "If" in onnx_operations(tmp_path / "branch.onnx")


@pytest.mark.slow
def test_our_own_saved_model_can_be_exported_again_with_other_labels(tmp_path: Path) -> None:
    first = export(None, ExportOptions(formats=("saved_model",), output=tmp_path / "a", verify=False))
    labels = tuple("abcdefghij")
    options = ExportOptions(formats=("saved_model",), labels=labels, output=tmp_path / "b")
    again = export(first.artifacts[0].path, options)
    verified(again)
    assets = again.artifacts[0].path / "assets"
    assert sorted(path.name for path in assets.iterdir()) == ["labels.txt", "metadata.json"]
    assert (assets / "labels.txt").read_text().split() == list(labels)
    assert json.loads((assets / "metadata.json").read_text())["provenance"]["kind"] == "saved_model"


def test_a_changed_weight_in_the_file_is_found(tiny: Any, tmp_path: Path) -> None:
    """A weight off by 1% in the artifact, as a faulty converter would leave it, does not pass for rounding."""
    from exporter.model_run import make_reference
    from exporter.parity.check import by_position, check
    from exporter.pipeline import trace
    from exporter.runtimes.onnx_runtime import OnnxRuntime
    from exporter.source import load_source

    result = export(tiny, ExportOptions(lower=False, output=tmp_path))
    artifact = result.artifacts[0]
    source = load_source(tiny)
    reference = make_reference(source, trace(source, ExportOptions()), None)
    names = by_position(["image", "scores", "heat"], ["image", "scores", "heat"])
    model = onnx.load(artifact.path)
    weights = [i for i, tensor in enumerate(model.graph.initializer) if len(tensor.dims) == 4]
    assert len(weights) == 5
    for which in weights:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        value = onnx.numpy_helper.to_array(model.graph.initializer[which]).copy()
        at = np.unravel_index(np.abs(value).argmax(), value.shape)
        value[at] *= 1.01
        changed.graph.initializer[which].CopyFrom(
            onnx.numpy_helper.from_array(value, model.graph.initializer[which].name)
        )
        onnx.save(changed, artifact.path)
        with OnnxRuntime().open(artifact) as session:
            verdicts = check(session, reference, names, 1)
        assert Verdict.FAILED in {verdict.verdict for verdict in verdicts.values()}, model.graph.initializer[which].name
