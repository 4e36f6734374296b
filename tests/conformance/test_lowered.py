"""Lowered artifacts: verified against the model itself, and made of what their runtime computes fast."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import onnx
import pytest
from keras import layers

from drawn_weights import drawn
from exporter import CBAM, ExportOptions, export
from exporter.models.cbam import ChannelAttention, SpatialAttention
from exporter.models.dialect import DIALECTS
from exporter.parity.verdict import Verdict

FRAGMENT = ("onnx-fragment",)


def _net(dialect: Any = "paper", size: tuple[int, int] = (32, 32), **options: Any) -> Any:
    """Two blocks on maps of different width, one with a residual around it, and a head."""
    keras.utils.set_random_seed(1)
    first = options.get("data_format") == "channels_first"
    image = keras.Input((3, *size) if first else (*size, 3), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu", **options)(image)
    x = layers.MaxPooling2D(**options)(CBAM(dialect, name="first", **options)(x))
    x = layers.Conv2D(64, 3, padding="same", **options)(x)
    x = layers.ReLU()(layers.Add()([CBAM(dialect, name="second", **options)(x), x]))
    x = layers.GlobalAveragePooling2D(**options)(x)
    model = keras.Model(image, layers.Dense(4, name="scores")(x), name="net")
    return drawn(model)


def _verdicts(result: Any) -> set[Verdict]:
    return {verdict.verdict for report in result.reports for verdict in report.outputs.values()}


def _partitions(path: Path) -> tuple[int, Counter[str]]:
    """Delegate partitions, and the operations of the graph as it is stored."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    counts = []
    for options in ({}, {"experimental_op_resolver_type": plain}):
        interpreter = Interpreter(model_path=str(path), num_threads=1, **options)
        interpreter.allocate_tensors()
        counts.append(Counter(op["op_name"] for op in interpreter._get_ops_details()))
    return counts[0]["DELEGATE"], counts[1]


@pytest.mark.parametrize(
    ("dialect", "data_format"),
    [("paper", "channels_last"), ("blog", "channels_last"), ("timm", "channels_first")],
)
def test_both_formats_are_verified_and_fast(dialect: str, data_format: str, tmp_path: Path) -> None:
    model = _net(dialect, data_format=data_format)
    result = export(model, ExportOptions(formats=("tflite", "onnx"), output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    lite, onnx_ = result.lowered["tflite"], result.lowered["onnx"]
    assert (lite.refused, onnx_.refused) == ((), ())
    assert [each.name for each in lite.rewrites][:2] == ["first", "second"]
    assert [each.rules for each in onnx_.rewrites][:2] == [FRAGMENT, FRAGMENT]

    partitions, operations = _partitions(result.artifacts[0].path)
    assert partitions == 1
    assert not {"SHAPE", "PACK", "STRIDED_SLICE"} & operations.keys()
    assert operations["CONCATENATION"] == 2  # of the pooled vectors, not of the pooled maps
    assert operations["CONV_2D"] == 2 + 2 * 2
    assert operations["TRANSPOSE"] == (data_format == "channels_first")

    nodes = Counter(node.op_type for node in onnx.load(result.artifacts[1].path).graph.node)
    # The first block's pooled maps are cut into strips; the second's are low enough to be convolved as they are.
    assert (nodes["GlobalMaxPool"], nodes["GlobalAveragePool"], nodes["Conv"], nodes["Gather"]) == (2, 3, 4, 1)
    assert not {"Shape", "Split", "Expand", "ReduceSum", "Digamma", "Identity"} & nodes.keys()


@pytest.mark.parametrize("height", [32, 16])
def test_gates_of_a_hard_sigmoid_are_fragments_too(height: int, tmp_path: Path) -> None:
    dialect = dataclasses.replace(DIALECTS["paper"], gate="hard_sigmoid")
    result = export(_net(dialect, (height, 32)), ExportOptions(output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    assert [each.rules for each in result.lowered["onnx"].rewrites] == [FRAGMENT, FRAGMENT]


@pytest.mark.parametrize("batch", [3, "dynamic"])
def test_another_batch_is_said_and_still_equal(batch: Any, tmp_path: Path) -> None:
    result = export(_net(), ExportOptions(formats=("tflite", "onnx"), batch=batch, output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    assert {(each.rule, each.reason) for each in result.lowered["onnx"].refused} == {
        (FRAGMENT[0], "its form for ONNX Runtime takes one example at a time")
    }


@pytest.mark.parametrize("size", [(14, 14), (12, 40), (6, 22), (37, 30), (30, 37)])
def test_maps_of_many_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    result = export(_net("paper", size), ExportOptions(formats=("tflite", "onnx"), output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    assert _partitions(result.artifacts[0].path)[0] == 1
    assert {each.rules for each in result.lowered["onnx"].rewrites} == {FRAGMENT}


def test_not_lowered_is_the_plain_graph(tmp_path: Path) -> None:
    model = _net()
    plain = export(model, ExportOptions(formats=("onnx",), lower=False, output=tmp_path / "plain")).artifacts[0]
    lowered = export(model, ExportOptions(formats=("onnx",), output=tmp_path / "lowered")).artifacts[0]
    assert "lowered" not in plain.metadata
    assert lowered.metadata["lowered"] == {
        "target": "onnxruntime",
        "rewrites": {"first": list(FRAGMENT), "second": list(FRAGMENT)},
    }
    stored = {prop.key: prop.value for prop in onnx.load(lowered.path).metadata_props}
    assert json.loads(stored["lowered"]) == lowered.metadata["lowered"]
    assert lowered.provenance["weights_sha256"] == plain.provenance["weights_sha256"]
    spatial = [2, 1, 7, 7]
    for artifact, count in ((plain, 2), (lowered, 0)):
        kernels = [sorted(tensor.dims) for tensor in onnx.load(artifact.path).graph.initializer]
        assert kernels.count(sorted(spatial)) == count


def test_open_sizes_are_filled_before_lowering(tmp_path: Path) -> None:
    options = ExportOptions(formats=("tflite",), input_shapes={"": (16, 24, 3)}, output=tmp_path)
    result = export(_net(size=(None, None)), options)  # type: ignore[arg-type]
    assert _verdicts(result) == {Verdict.PASSED}
    assert all("blocked-convolution" in each.rules for each in result.lowered["tflite"].rewrites)


def test_a_saved_model_is_exported_as_it_is(tmp_path: Path) -> None:
    made = export(_net(), ExportOptions(formats=("saved_model",), output=tmp_path / "first")).artifacts[0]
    result = export(made.path, ExportOptions(formats=("tflite",), output=tmp_path / "second"))
    assert "SavedModel" in result.lowered["tflite"].reason
    assert "rewrites" in result.artifacts[0].metadata["lowered"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_zeros_around_a_map_go_into_its_convolutions(data_format: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    options = {"data_format": data_format}
    image = keras.Input((12, 12, 3) if data_format == "channels_last" else (3, 12, 12), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", **options)(image)
    x = layers.DepthwiseConv2D(3, strides=2, **options)(layers.ZeroPadding2D(((1, 2), (0, 1)), **options)(x))
    both = layers.ZeroPadding2D(1, **options)(x)  # one that something else takes too
    x = layers.Conv2D(8, 3, **options)(both)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D(**options)(each) for each in (x, both)])
    result = export(keras.Model(image, x, name="padded"), ExportOptions(output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    nodes = onnx.load(result.artifacts[0].path).graph.node
    assert [node.op_type for node in nodes].count("Pad") == 1
    pads = [list(each.ints) for node in nodes for each in node.attribute if each.name == "pads"]
    assert [1, 0, 2, 1] in pads


@pytest.mark.parametrize("relu", [True, False])
def test_zeros_go_into_a_maximum_of_what_is_not_negative_only(relu: bool, tmp_path: Path) -> None:
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu" if relu else None, bias_initializer="random_normal")(
        image
    )
    x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(x), name="pooled")
    result = export(model, ExportOptions(output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    nodes = [node.op_type for node in onnx.load(result.artifacts[0].path).graph.node]
    assert nodes.count("Pad") == (not relu)


def test_two_blocks_may_read_one_map(tmp_path: Path) -> None:
    """As ONNX nodes they begin alike, and tf2onnx makes one of nodes that are alike."""
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    both = layers.Add()([ChannelAttention("timm", name="what")(x), SpatialAttention("blog", name="where")(x)])
    model = keras.Model(image, layers.GlobalMaxPooling2D()(both), name="both")
    result = export(model, ExportOptions(output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    assert [each.rules for each in result.lowered["onnx"].rewrites] == [FRAGMENT, FRAGMENT]


def test_the_addition_around_a_block_is_in_the_blocks_layout(tmp_path: Path) -> None:
    """ONNX Runtime copies a map that is transposed in front of an Add, not one in front of a Conv."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((16, 16, 8), name="image")
    for name in ("one", "two"):
        branch = CBAM("timm", name=name)(layers.Conv2D(8, 3, padding="same")(x))
        x = layers.ReLU()(layers.Add()([branch, x]))
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(4, 3)(x))
    result = export(keras.Model(image, x, name="residual"), ExportOptions(output=tmp_path))
    assert _verdicts(result) == {Verdict.PASSED}
    graph = onnx.load(result.artifacts[0].path).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    added = {makers.get(name) for node in graph.node if node.op_type == "Add" for name in node.input}
    assert added <= {None, "Mul", "Relu", "Gemm"}  # None: the image, which is channels last already
