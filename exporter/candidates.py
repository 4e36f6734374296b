"""What a user wants verified: an artifact with its sidecar, or a bare `.tflite` or `.onnx` file from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converters.artifact import Artifact, Precision, TensorSpec, fingerprint_path, sidecar_path
from converters.errors import ModelError

_TFLITE_MARK: Final = b"TFL3"
"""The flatbuffer's file identifier, at byte 4."""


def load_candidate(path: str | Path) -> Artifact:
    """The artifact at a path. Without a sidecar its inputs and outputs are asked of its runtime, and its metadata says
    so under `described_by`.

    Raises:
        ModelError: nothing there, a sidecar of another file, or a file that is neither TFLite nor ONNX.
        ConversionError: its runtime refuses it.
        RuntimeUnavailableError: the runtime that could read it is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    if sidecar_path(path).is_file():
        return Artifact.load(path)
    if path.is_dir():
        raise ModelError(f"{path}: a folder without a sidecar; only a SavedModel that cbam-export wrote is verified")
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[4:8] == _TFLITE_MARK:
        return _described(path, "tflite")
    if _looks_like_onnx(path):
        return _described(path, "onnx")
    raise ModelError(f"{path}: is neither a TFLite nor an ONNX file, and has no sidecar {sidecar_path(path).name}")


def _described(path: Path, format_name: str) -> Artifact:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    if format_name == "tflite":
        from exporter.runtimes.litert import describe

        inputs, outputs, precision = describe(path)
    else:
        from exporter.runtimes.onnx_runtime import describe as describe_onnx

        inputs, outputs, precision = describe_onnx(path)
    sha256, size = fingerprint_path(path)
    metadata = {"provenance": {}, "described_by": "the file itself: it has no sidecar"}
    return Artifact(path, format_name, Precision(precision), inputs, outputs, sha256, size, metadata)


def _looks_like_onnx(path: Path) -> bool:
    """A protobuf whose first field is the IR version, a small number: how ONNX's own writers begin."""
    with path.open("rb") as stream:
        head = stream.read(2)
    return len(head) == 2 and head[0] == 0x08 and 0 < head[1] < 0x40
