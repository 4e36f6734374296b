"""What is told of an artifact without timing it: operations, partitions, attention blocks; cuts compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.artifact import Artifact, Precision
from converters.deploy.without import without_attention
from converters.errors import ModelError
from exporter import ExportOptions, add_cbam, build_model, export
from exporter.bench.agreement import run_artifact
from exporter.bench.files import file_inputs, open_artifact
from exporter.bench.graph import AttentionBlock, attention_blocks
from exporter.bench.litert_cut import Cutter
from exporter.bench.litert_graph import open_graph
from exporter.bench.naive import NAIVE, make_naive
from exporter.bench.profile import look_into
from exporter.runtimes.litert import OPTIMISED, interpreter_of

MAPS = [("cbam", 28, 28, 32), ("cbam", 14, 14, 64), ("cbam", 7, 7, 96)]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("shipped")
    result = export("cbam-mnist", ExportOptions(formats=("tflite", "onnx"), output=folder, verify=False, lower=False))
    return {artifact.format: artifact for artifact in result.artifacts}


def gated() -> Any:
    """A gate of each kind alone, a running sum that XNNPACK has not got, and a product that is no attention."""
    image = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same")(image)
    squeezed = layers.Dense(8, activation="sigmoid")(layers.Dense(2, activation="relu")(ops.mean(x, axis=(1, 2))))
    x = x * layers.Reshape((1, 1, 8))(squeezed)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = x * layers.Conv2D(1, 3, padding="same", activation="sigmoid")(ops.max(x, axis=3, keepdims=True))
    x = ops.cumsum(layers.Conv2D(8, 1)(x), axis=1)
    x = x * keras.Variable(np.linspace(0.5, 2, 8, dtype=np.float32)[None, None, None])
    return keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(x)), name="gated")


def maps(blocks: tuple[AttentionBlock, ...]) -> list[tuple[str, int, int, int]]:
    return [(block.kind, block.height, block.width, block.channels) for block in blocks]


def test_litert_tells_one_partition_and_every_operation(shipped: dict[str, Artifact]) -> None:
    found = look_into(shipped["tflite"], profile=True)
    assert (found.count, found.partitions, found.undelegated, found.reorders) == (54, 1, (), None)
    assert found.operations["CONV_2D"] == 6
    assert found.blocks is not None
    assert [(each.kind, each.height, each.width, each.channels) for each in found.blocks] == MAPS
    for stage, block in enumerate(found.blocks, 1):
        assert block.name.endswith(f"stage{stage}_cbam_1")
        counts = [each.op for each in block.operations]
        assert (counts.count("REDUCE_MAX"), counts.count("MUL"), counts.count("CONV_2D")) == (2, 2, 1)
        assert counts.count("FULLY_CONNECTED") == 4
        assert all(each.delegated and each.microseconds > 0 for each in block.operations)
        assert block.operations[-1].shape == (1, block.height, block.width, block.channels)
        assert block.whole > 0
        assert block.fused is not None
        assert block.fused > 0


def test_onnxruntime_tells_what_it_executes_after_its_own_optimisations(shipped: dict[str, Artifact]) -> None:
    found = look_into(shipped["onnx"], profile=True)
    assert found.partitions is None
    assert found.undelegated == ()
    assert found.reorders == found.operations["ReorderInput"] + found.operations["ReorderOutput"]
    assert found.operations["FusedGemm"] == 6  # ReLU went into it, which the file does not say
    assert found.blocks is not None
    assert [(each.kind, each.height, each.width, each.channels) for each in found.blocks] == MAPS
    assert all(block.name.endswith("_cbam_1") for block in found.blocks)
    assert [sum(each.op == "Mul" for each in block.operations) for block in found.blocks] == [2, 2, 2]


def test_blocks_are_found_in_files_of_others(shipped: dict[str, Artifact], tmp_path: Path) -> None:
    """Nodes without names, which the profiler tells apart by nothing else; and int8, which runs in NHWC."""
    import onnx
    from onnxruntime import quantization

    model = onnx.load(shipped["onnx"].path)
    for node in model.graph.node:
        node.name = ""
    onnx.save(model, tmp_path / "nameless.onnx")

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(np.random.default_rng(0).random((4, 1, 28, 28, 1), np.float32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image}

    unsigned = quantization.QuantType.QUInt8
    quantization.quantize_static(shipped["onnx"].path, tmp_path / "int8.onnx", Images(), activation_type=unsigned)
    for name, precision, product in (("nameless", Precision.FP32, "Mul"), ("int8", Precision.INT8, "QLinearMul")):
        artifact = open_artifact(tmp_path / f"{name}.onnx")
        assert artifact.precision is precision
        found = look_into(artifact, profile=True)
        assert found.blocks is not None
        assert [(each.kind, each.height, each.width, each.channels) for each in found.blocks] == MAPS
        assert all(block.operations[-1].op == product and block.whole > 0 for block in found.blocks)


def test_gates_alone_and_operations_that_xnnpack_leaves(tmp_path: Path) -> None:
    model = gated()
    result = export(model, ExportOptions(formats=("tflite",), output=tmp_path, verify=False, lower=False))
    (way, *_) = NAIVE["tflite", Precision.FP32]
    stock = make_naive(way, model, (), tmp_path / "stock.tflite")  # open batch: Reshape asks for it at run time
    for path, left, partitions in (
        (result.artifacts[0].path, ["CUMSUM"], 2),
        (stock, ["SHAPE", "STRIDED_SLICE", "PACK", "RESHAPE", "CUMSUM"], 3),
    ):
        opened = open_graph(path)
        assert [opened.graph.nodes[place].op for place in opened.undelegated] == left
        assert opened.partitions == partitions
        assert maps(attention_blocks(opened.graph)) == [("channel", 12, 12, 8), ("spatial", 12, 12, 8)]


def test_a_cut_computes_what_the_whole_file_computes(shipped: dict[str, Artifact], tmp_path: Path) -> None:
    path = shipped["tflite"].path
    cutter = Cutter(path)
    graph = open_graph(path).graph
    (first, *_) = attention_blocks(graph)
    whole = interpreter_of(path, OPTIMISED, keep_all=True)
    whole.allocate_tensors()
    for place in (first.nodes, (first.nodes[0],), (first.nodes[-1],)):
        cutter.cut(place, tmp_path / "part.tflite", tmp_path / "part.npz")
        part = interpreter_of(tmp_path / "part.tflite", OPTIMISED)
        part.allocate_tensors()
        assert len(part._get_ops_details()) == len(place)
        with np.load(tmp_path / "part.npz") as values:
            for index, detail in enumerate(part.get_input_details()):
                part.set_tensor(detail["index"], values[str(index)])
        part.invoke()
        (output,) = part.get_output_details()
        (number,) = graph.nodes[place[-1]].outputs
        np.testing.assert_array_equal(part.get_tensor(output["index"]), cutter.value(int(number)))


def test_without_attention_is_the_model_before_it_had_any() -> None:
    keras.utils.set_random_seed(2)
    plain = build_model("small-cnn", input_shape=(16, 16, 3), classes=5)
    attentive = add_cbam(plain, after="*_relu")
    held = attentive.get_weights()
    bare, blocks = without_attention(attentive)
    assert len(blocks) == 3
    image = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    np.testing.assert_array_equal(np.asarray(bare(image)), np.asarray(plain(image)))
    assert bare.count_params() == plain.count_params()
    for before, after in zip(held, attentive.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert attentive.get_layer("stage1_conv_relu").output is not None  # not called again, so it has one output still
    with pytest.raises(ModelError, match="no attention block that is recognised"):
        without_attention(plain)


def test_without_attention_in_models_inside_the_model_and_with_residuals() -> None:
    keras.utils.set_random_seed(3)
    inner = build_model("cbam-small-cnn", input_shape=(16, 16, 3), classes=5, dialect="blog")
    image = keras.Input((16, 16, 3), name="image")
    outer = keras.Model(image, layers.Softmax()(inner(layers.Rescaling(2.0)(image))), name="outer")
    bare, blocks = without_attention(outer)
    assert len(blocks) == 3
    assert not any("cbam" in layer.name for layer in bare.layers)
    plain = build_model("small-cnn", input_shape=(16, 16, 3), classes=5)
    assert bare.count_params() == plain.count_params()


def test_what_a_bare_file_is_is_read_from_it(shipped: dict[str, Artifact], tmp_path: Path) -> None:
    for kind, artifact in shipped.items():
        bare = tmp_path / artifact.path.name
        bare.write_bytes(artifact.path.read_bytes())
        found = open_artifact(bare)
        assert (found.format, found.precision) == (kind, Precision.FP32)
        assert [spec.name for spec in found.inputs] == ["image"]
        assert [spec.name for spec in found.outputs] == ["predictions"]
        assert (found.sha256, found.size) == (artifact.sha256, artifact.size)
        assert [each.shape for each in file_inputs(bare, kind)] == [(1, 28, 28, 1)]


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        ("tflite", Precision.DYNAMIC),
        ("tflite", Precision.FP16),
        pytest.param("tflite", Precision.INT16X8, marks=pytest.mark.slow),
        ("onnx", Precision.DYNAMIC),
        ("onnx", Precision.FP16),
        ("onnx", Precision.INT8),
    ],
)
def test_the_precision_of_a_stock_file_is_read_from_it(tmp_path: Path, kind: str, precision: Precision) -> None:
    model = build_model("cbam-small-cnn", input_shape=(16, 16, 3), classes=5, classifier_activation=None)
    (way, *_) = NAIVE[kind, precision]
    images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
    path = make_naive(way, model, [images], tmp_path / f"net.{kind}")
    found = open_artifact(path)
    assert found.precision is precision
    # It runs, and is the same model.
    (given,) = run_artifact(found, [images[:1]])
    expected = np.asarray(model(images[:1], training=False))
    assert np.abs(given - expected).max() < 0.3 * np.ptp(expected)
