"""Traced model -> TFLite flatbuffer, with its metadata in a zip appended to the file.

The appended zip is TensorFlow Lite's convention for files that travel with a model (labels.txt above all): interpreters
read the flatbuffer from the front, `zipfile` and Android's metadata reader the zip from the back.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from converters import patches, savedmodel
from converters.artifact import Precision, TensorSpec
from converters.calls import SIGNATURE
from converters.errors import ConversionError, ModelError
from converters.settings import ConversionSettings
from converters.trace import TracedModel

METADATA_FILE: Final = "metadata.json"
LABELS_FILE: Final = "labels.txt"
_IDENTIFIER: Final = b"TFL3"


def convert(
    traced: TracedModel, path: Path, settings: ConversionSettings
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the flatbuffer `path` (fp32, fp16 or dynamic; all take and give float32) and give its inputs and outputs.

    Raises:
        ModelError: an operation that the TFLite runtime has not, while TensorFlow operations were not allowed.
        ConversionError: TensorFlow's converter failed for another reason.
    """
    # By way of a SavedModel, because only that keeps the names of inputs and outputs as a signature.
    with tempfile.TemporaryDirectory(prefix=".cbam-", dir=path.parent) as folder:
        savedmodel.write(savedmodel.Servable(traced), traced, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        if settings.select_tf_ops:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        if settings.precision is not Precision.FP32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if settings.precision is Precision.FP16:
            converter.target_spec.supported_types = [tf.float16]
        try:
            with patches.tflite_interpreter_deprecation():
                content = converter.convert()
        except Exception as error:  # ConverterError, or whatever its passes raise
            raise _explain(error) from error
    if content[4:8] != _IDENTIFIER:
        raise ConversionError("TFLiteConverter gave bytes that are not a TFLite flatbuffer")
    declared = _declared(content, traced)
    path.write_bytes(content)
    append_metadata(path, settings)
    return declared


def _declared(content: bytes, traced: TracedModel) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the flatbuffer's signature declares them, in the model's order."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    signature, graph = model.SignatureDefs(0), model.Subgraphs(0)
    types = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}

    def spec(entry: Any, of: TensorSpec) -> TensorSpec:
        tensor = graph.Tensors(entry.TensorIndex())
        sizes = tensor.ShapeSignatureAsNumpy() if tensor.ShapeSignatureLength() else tensor.ShapeAsNumpy()
        shape = tuple(None if size < 0 else int(size) for size in sizes) if tensor.ShapeLength() else ()
        return TensorSpec(of.name, shape, types[tensor.Type()], of.layout)

    inputs = {e.Name().decode(): e for e in map(signature.Inputs, range(signature.InputsLength()))}
    outputs = {e.Name().decode(): e for e in map(signature.Outputs, range(signature.OutputsLength()))}
    return (
        tuple(spec(inputs[model.name], model) for model in traced.inputs),
        tuple(spec(outputs[model.name], model) for model in traced.outputs),
    )


def read_metadata(path: Path) -> dict[str, str]:
    """The text files of the zip appended to a TFLite file, by name; empty if it has none."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def without_metadata(path: Path) -> bytes:
    """The flatbuffer of a TFLite file without the zip that may be appended to it."""
    content = path.read_bytes()
    if not zipfile.is_zipfile(path):
        return content
    with zipfile.ZipFile(path) as archive:
        return content[: min(entry.header_offset for entry in archive.infolist())]


def append_metadata(path: Path, settings: ConversionSettings) -> None:
    """Append metadata and labels to a TFLite file that has none."""
    labels = settings.metadata.get("labels")
    # Stored, not deflated: Android maps the file and reads members in place. A fixed date: equal input, equal bytes.
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        _member(archive, METADATA_FILE, json.dumps(settings.metadata, indent=2) + "\n")
        if labels:
            _member(archive, LABELS_FILE, "\n".join(map(str, labels)) + "\n")


def _member(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), text)


def _explain(error: Exception) -> ModelError | ConversionError:
    text = str(error)
    flex = re.search(r"^TF Select ops: (.*)$", text, re.MULTILINE)
    custom = re.search(r"^Custom ops: (.*)$", text, re.MULTILINE)
    if flex:
        return ModelError(
            f"TFLite has no operation for TensorFlow's {flex.group(1).strip()}; replace the layers that use it, or "
            f"allow TensorFlow operations with --select-tf-ops (the device then needs the much larger Flex runtime)"
        )
    if custom:
        return ModelError(
            f"TFLite has no operation for TensorFlow's {custom.group(1).strip()}, with or without --select-tf-ops; "
            f"replace the layers that use it"
        )
    lines = [line.strip() for line in text.splitlines() if "error:" in line] or text.splitlines() or [repr(error)]
    return ConversionError(f"TFLiteConverter failed: {lines[0][:300]}")
