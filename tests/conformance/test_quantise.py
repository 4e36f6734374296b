"""Every precision of every format: of the dtypes that were asked for, and right in the runtimes that must run it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from converters.artifact import Artifact
from converters.quantise import flatbuffer
from exporter import ExportOptions, QuantisationOptions, export, quantize
from exporter.formats import FORMATS
from exporter.parity.stored import to_real, to_stored
from exporter.parity.verdict import Verdict
from exporter.runtimes.table import runtime

# By precision: the formats quantised together, and the least SQNR in dB that was reached when this was written, less 3.
ROWS: dict[str, tuple[tuple[str, ...], float]] = {
    "fp16": (("tflite", "onnx"), 65.0),
    "dynamic": (("tflite", "onnx"), 38.0),
    "int8": (("tflite", "onnx"), 35.0),
    "int16x8": (("tflite",), 45.0),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """`made(precision)`: `cbam-mnist` in it, as it is."""
    results: dict[str, Any] = {}

    def get(precision: str) -> Any:
        if precision not in results:
            asked = QuantisationOptions(methods=("minmax",) if precision.startswith("int") else ())
            folder = tmp_path_factory.mktemp(precision)
            options = ExportOptions(ROWS[precision][0], precision, output=folder, lower=False, quantisation=asked)
            results[precision] = quantize("cbam-mnist", options)
        return results[precision]

    return get


def test_the_rows_are_the_tables() -> None:
    table = {(name, str(each)) for name, row in FORMATS.items() for each in row.precisions if each != "fp32"}
    assert {(name, precision) for precision, (names, _) in ROWS.items() for name in names} == table


@pytest.mark.parametrize("precision", ROWS)
def test_every_format_in_every_runtime(precision: str, made: Callable[[str], Any]) -> None:
    result = made(precision)
    assert result.passed
    expected = {
        name: ("litert", "litert-reference") if name == "tflite" else ("onnxruntime",) for name in ROWS[precision][0]
    }
    for artifact in result.artifacts:
        reports = [report for report in result.reports if report.artifact == str(artifact.path)]
        assert len(reports) >= len(expected[artifact.format])
        for report in reports:
            verdict = report.outputs["predictions"]
            assert verdict.verdict is Verdict.PASSED
            assert verdict.metrics.sqnr_db > ROWS[precision][1], report.runtime
            assert verdict.metrics.agreement >= 0.99, report.runtime
        assert Artifact.load(artifact.path) == artifact
        assert artifact.path.name == f"cbam-mnist.{precision}{FORMATS[artifact.format].suffix}"


@pytest.mark.parametrize(("precision", "stored"), [("int8", "int8"), ("int16x8", "int16")])
def test_every_operation_is_of_the_type(precision: str, stored: str, made: Callable[[str], Any]) -> None:
    result = made(precision)
    graph = flatbuffer.describe(result.artifacts[0].path.read_bytes())
    assert {tensor.dtype for tensor in graph.computed()} == {stored}
    assert min(scale for tensor in graph.computed() for scale in tensor.scales) > 1e-8
    weights = [op.inputs[1] for op in graph.operations if op.name in ("CONV_2D", "FULLY_CONNECTED")]
    assert {tensor.dtype for tensor in weights} == {"int8"}
    assert max(len(tensor.scales) for tensor in weights) > 1  # a scale for each channel


def test_onnx_is_in_qdq_form_with_a_scale_a_channel(made: Callable[[str], Any]) -> None:
    model = onnx.load(made("int8").artifacts[1].path)
    kinds = [node.op_type for node in model.graph.node]
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= set(kinds)
    assert "QLinearConv" not in kinds
    makers = {name: node for node in model.graph.node for name in node.output}
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    assert all(makers[name].op_type == "DequantizeLinear" for conv in convs for name in conv.input[:2])
    assert max(sizes[makers[conv.input[1]].input[1]][0] for conv in convs) == 96
    half = onnx.load(made("fp16").artifacts[1].path)
    assert {value.type.tensor_type.elem_type for value in (*half.graph.input, *half.graph.output)} == {1}  # float32
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in half.graph.initializer}


def test_depthwise_convolutions_stay_in_float_in_dynamic_onnx(tmp_path: Path) -> None:
    """All weights of an operation share one scale there; channels of a hundredth of the largest come out as noise."""
    keras.utils.set_random_seed(1)
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    normalisation = keras.layers.BatchNormalization()
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(6.0)(normalisation(x)))
    model = keras.Model(image, keras.layers.Dense(10, name="scores")(x), name="separable")
    normalisation.gamma.assign(np.geomspace(1, 300, 16))
    asked = ExportOptions(("onnx",), "dynamic", output=tmp_path)
    result = quantize(model, asked)
    assert result.passed
    (metrics,) = [verdict.metrics for report in result.reports for verdict in report.outputs.values()]
    assert metrics.sqnr_db > 33
    kinds = [node.op_type for node in onnx.load(result.artifacts[0].path).graph.node]
    assert (kinds.count("Conv"), kinds.count("ConvInteger")) == (1, 1)


def test_the_sidecar_tells_a_device_all_it_needs(made: Callable[[str], Any], digits: np.ndarray) -> None:
    """Its lines and its figures, used as they stand, give what the float model gives."""
    artifact = made("int8").artifacts[0]
    sidecar = json.loads(artifact.path.with_name(artifact.path.name + ".json").read_text())
    with zipfile.ZipFile(artifact.path) as archive:
        assert json.loads(archive.read("metadata.json")) == sidecar["metadata"]
    pixels = sidecar["metadata"]["preprocessing"]["image"]["pixels"]
    assert (pixels["scale"], pixels["mean"], pixels["std"]) == (1 / 255, [0.0], [1.0])
    calibration = sidecar["metadata"]["calibration"]
    assert calibration["samples"] == 200
    assert calibration["ranges"] == {"image": [0.0, 1.0]}
    assert len(calibration["sha256"]) == 64
    lines = sidecar["metadata"]["quantisation"]["lines"]
    space: dict[str, Any] = {"np": np, "x": digits[:64]}
    run_lines(lines["image"]["python"], space)
    np.testing.assert_array_equal(space["q"], to_stored(digits[:64], artifact.inputs[0]))
    with runtime("litert").open(artifact) as session:
        codes = np.concatenate([session.run({"image": each[None]})["predictions"] for each in space["q"]])
    space["q"] = codes
    run_lines(lines["predictions"]["python"], space)
    np.testing.assert_allclose(space["x"], to_real(codes, artifact.outputs[0]), rtol=1e-6)
    assert lines["image"]["c"] == "int8_t q = (int8_t)fminf(fmaxf(rintf(x / 0.003921568859368563f) + -128, -128), 127);"


def run_lines(line: str, space: dict[str, Any]) -> None:
    exec(line, space)  # noqa: S102  # what the sidecar offers for a user's own code


@pytest.mark.parametrize("io", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
def test_inputs_and_outputs_of_another_type(io: str, tmp_path: Path) -> None:
    asked = QuantisationOptions(io=io, methods=("minmax",))
    options = ExportOptions(("tflite",), "int8", output=tmp_path, lower=False, quantisation=asked)
    result = export("cbam-mnist", options)  # export with a precision is quantize
    assert result.passed
    (artifact,) = result.artifacts
    assert {spec.dtype for spec in (*artifact.inputs, *artifact.outputs)} == {io}
    assert (artifact.inputs[0].scale is None) == (io == "float32")
    graph = flatbuffer.describe(artifact.path.read_bytes())
    inner = {op.outputs[0].dtype for op in graph.operations[1:-1]}
    assert inner == {"int8"}


@pytest.mark.slow
def test_a_collapsed_range_is_floored(tmp_path: Path) -> None:
    """cbam-mobilenet-mnist has units that never fire: XNNPACK refuses what stock converters make of it."""
    asked = QuantisationOptions(methods=("minmax",))
    options = ExportOptions(("tflite",), "int8", output=tmp_path, lower=False, quantisation=asked)
    result = quantize("cbam-mobilenet-mnist", options)
    assert result.passed
    assert result.candidates["tflite"][0].floored


@pytest.mark.slow
def test_as_few_operations_as_it_takes_stay_in_float(tmp_path: Path) -> None:
    asked = QuantisationOptions(methods=("minmax",), max_drop=0.005, io="float32")
    options = ExportOptions(("tflite",), "int8", output=tmp_path, lower=False, quantisation=asked)
    result = quantize("cbam-mobilenet-mnist", options)
    found = result.searches["tflite"]
    assert found.reached
    assert found.candidate.agreement >= 0.995
    kept = {each.layer.key for each in found.kept}
    assert 0 < len(kept) < 10
    assert kept <= set(result.contents["tflite"].in_float) == set(found.keys)
    assert {"block 1, channel gate", "block 8, spatial gate"} <= {layer.label for layer in found.layers}
    assert not list(tmp_path.glob(".*search.json"))
