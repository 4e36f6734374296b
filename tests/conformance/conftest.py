"""`cbam-mnist` in every format and precision that a runtime may be asked to run, made with the libraries' own tools."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact, Precision, TensorSpec

Artifacts = Callable[[str, str], Artifact]

CALIBRATION = 20  # images; these artifacts have to be alike in all runtimes, not good


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """Test images, (N, 28, 28, 1) float32 in 0..1."""
    from exporter.samples import samples
    from exporter.source import load_source

    inputs, _ = samples((TensorSpec("image", (1, 28, 28, 1), "float32", "NHWC"),), None, load_source("cbam-mnist").zoo)
    return inputs["image"]


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Artifacts:
    """`artifacts(format, kind)`: kind is a precision, or uint8 for int8 with unsigned inputs and outputs."""
    from exporter import ExportOptions, export

    folder = tmp_path_factory.mktemp("mnist")
    formats = ("saved_model", "tflite", "onnx")
    made = {
        (artifact.format, "fp32"): artifact
        for artifact in export("cbam-mnist", ExportOptions(formats=formats, output=folder, verify=False)).artifacts
    }

    def get(format_name: str, kind: str) -> Artifact:
        key = format_name, kind
        if key not in made:
            base = made[format_name, "fp32"]
            path = folder / f"{kind}{base.path.suffix}"
            convert = {"tflite": _tflite, "onnx": _onnx}[format_name]
            convert(made, path, kind, digits[:CALIBRATION])
            made[key] = dataclasses.replace(
                base, path=path, precision=Precision.INT8 if kind == "uint8" else Precision(kind)
            )
        return made[key]

    return get


def _tflite(made: Mapping[tuple[str, str], Artifact], path: Path, kind: str, images: np.ndarray) -> None:
    import tensorflow as tf

    def samples() -> Iterator[dict[str, np.ndarray]]:
        for image in images:
            yield {"image": image[None]}

    source = made["saved_model", "fp32"].path
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    stored = {"int8": tf.int8, "uint8": tf.uint8, "int16x8": tf.int16}.get(kind)
    if stored:
        sets = tf.lite.OpsSet
        wide = sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [wide if kind == "int16x8" else sets.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = stored
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, about its interpreter, which it uses itself
        path.write_bytes(converter.convert())


def _onnx(made: Mapping[tuple[str, str], Artifact], path: Path, kind: str, images: np.ndarray) -> None:
    from onnxruntime import quantization

    source = made["onnx", "fp32"].path

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image[None]}

    if kind == "fp16":
        _half(source, path)
    elif kind == "dynamic":
        quantization.quantize_dynamic(source, path)
    else:
        types = {"int8": quantization.QuantType.QInt8, "uint8": quantization.QuantType.QUInt8}
        quantization.quantize_static(source, path, Reader(), activation_type=types[kind])


def _half(source: Path, path: Path) -> None:
    """Weights and arithmetic in half precision between two casts."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def recast(tensor: Any) -> None:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    model = onnx.load(source)
    graph = model.graph
    for tensor in graph.initializer:
        recast(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            recast(attribute.t)
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = {"image": "half_image", "predictions": "half_predictions"}.get(name, name)
    del graph.value_info[:]
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["half_image"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["half_predictions"], ["predictions"], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    onnx.save(model, path)
