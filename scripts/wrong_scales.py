"""Quantised copies of a model, made with the libraries' own tools, and wrong scales written into them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, Precision
from exporter import ExportOptions, export
from exporter.parity.locate import Profile, Row
from exporter.quantisation.options import QuantisationOptions

FACTOR = 1.25
WEIGHED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "Conv", "Gemm")


def quantised(model: Any, images: np.ndarray, folder: Path) -> tuple[Artifact, Artifact]:
    """int8 TFLite by TensorFlow's converter, with int8 input and output, and int8 ONNX by onnxruntime, in QDQ form."""
    made = export(model, ExportOptions(("saved_model", "onnx"), output=folder, verify=False, lower=False)).artifacts
    return _tflite(made[0], folder / "int8.tflite", images), _onnx(made[1], folder / "int8.onnx", images)


def lowered(model: Any, images: np.ndarray, folder: Path) -> tuple[Artifact, ...]:
    """int8 TFLite and ONNX as `cbam quantize` makes them, of the lowered model where that loses no more."""
    options = QuantisationOptions(calibration=images, force=True)
    made = ExportOptions(("tflite", "onnx"), precision=Precision.INT8, output=folder, quantisation=options)
    return export(model, made).artifacts


def _tflite(saved: Artifact, path: Path, images: np.ndarray) -> Artifact:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    (spec,) = saved.inputs
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved.path), signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({spec.name: image[None]} for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, about its interpreter, which it uses itself
        path.write_bytes(converter.convert())
    runner = Interpreter(str(path)).get_signature_runner()
    specs = [
        tuple(
            dataclasses.replace(each, dtype="int8", scale=float(scale), zero_point=int(zero))
            for each in given
            for scale, zero in [details[each.name]["quantization"]]
        )
        for given, details in (
            (saved.inputs, runner.get_input_details()),
            (saved.outputs, runner.get_output_details()),
        )
    ]
    return dataclasses.replace(
        saved, path=path, format="tflite", precision=Precision.INT8, inputs=specs[0], outputs=specs[1]
    )


def _onnx(source: Artifact, path: Path, images: np.ndarray) -> Artifact:
    from onnxruntime import quantization

    (spec,) = source.inputs

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._left, None)
            return None if image is None else {spec.name: image[None]}

    quantization.quantize_static(source.path, path, Reader(), activation_type=quantization.QuantType.QInt8)
    return dataclasses.replace(source, path=path, precision=Precision.INT8)


def wrong_scales(artifact: Artifact, sound: Profile, folder: Path) -> Iterator[tuple[str, tuple[str, ...], Artifact]]:
    """Copies with one scale 1.25 times as large: what was done, the layers it is in, the artifact.

    For each convolution and dense layer in turn, the scale of its weights; for ONNX also that of its result, where it
    is read, while it is still written with the right one. In TFLite the two are one entry and cannot differ.
    """
    edit = {"tflite": _edit_tflite, "onnx": _edit_onnx}[artifact.format]
    for row in sound.rows:
        for what in ("weights", "result"):
            path = folder / f"wrong{artifact.path.suffix}"
            if edit(artifact.path, path, row, what):
                yield f"scale of the {what} x {FACTOR}", row.layers, dataclasses.replace(artifact, path=path)


def _edit_tflite(path: Path, out: Path, row: Row, what: str) -> bool:
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    (graph,) = model.subgraphs
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    for operator in graph.operators:
        kind = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        named = graph.tensors[operator.outputs[0]].name.decode() == row.tensor.split("#")[0]
        if named and kind in WEIGHED and what == "weights":
            weights = graph.tensors[operator.inputs[1]].quantization
            weights.scale = [scale * FACTOR for scale in weights.scale]
            builder = flatbuffers.Builder(0)
            builder.Finish(model.Pack(builder), b"TFL3")
            out.write_bytes(bytes(builder.Output()))
            return True
    return False


def _edit_onnx(path: Path, out: Path, row: Row, what: str) -> bool:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    node = makers[row.tensor]
    if what == "weights" and node.op_type in WEIGHED:
        node = makers.get(node.input[1])
    elif what == "weights" or not _after_weights(node, makers):
        return False
    if node is None or node.op_type != "DequantizeLinear":
        return False
    value = numpy_helper.to_array(constants[node.input[1]]) * np.float32(FACTOR)
    added = numpy_helper.from_array(value.astype(np.float32), f"{node.input[1]}_wrong")
    model.graph.initializer.append(added)
    node.input[1] = added.name
    onnx.save(model, out)
    return True


def _after_weights(node: Any, makers: Any) -> bool:
    """Whether a node reads back the quantised result of a convolution or a dense layer."""
    if node.op_type != "DequantizeLinear" or node.input[0] not in makers:
        return False
    written = makers[node.input[0]]
    return written.input[0] in makers and makers[written.input[0]].op_type in WEIGHED
