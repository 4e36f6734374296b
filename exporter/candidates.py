"""What a user wants verified: an artifact with its sidecar, or a bare `.tflite` or `.onnx` file from anywhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from converters.artifact import Artifact, Precision, TensorSpec, fingerprint_path, sidecar_path
from converters.errors import ConversionError, ModelError

UNKNOWN: Final = "unknown"
"""The precision of a file that could not be opened."""

_TFLITE_MARK: Final = b"TFL3"
"""The flatbuffer's file identifier, at byte 4."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A file without a sidecar that its own runtime does not open, or dies of, and in what words."""

    path: Path
    format: str
    sha256: str
    reason: str


def try_candidate(path: str | Path, apart: bool) -> Artifact | Refused:
    """As `load_candidate`; that a runtime refuses a file is a result here.

    Raises:
        ModelError, RuntimeUnavailableError: as `load_candidate`.
    """
    try:
        return load_candidate(path, apart)
    except ConversionError as error:
        path = Path(path)
        return Refused(path, "tflite" if _is_tflite(path) else "onnx", fingerprint_path(path)[0], str(error))


def load_candidate(path: str | Path, apart: bool = False) -> Artifact:
    """The artifact at a path. Without a sidecar its inputs and outputs are asked of its runtime, and its metadata says
    so under `described_by`; with `apart` in a process of its own, since a damaged file may end whoever opens it.

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
    if _is_tflite(path):
        return _described(path, "tflite", apart)
    if _looks_like_onnx(path):
        return _described(path, "onnx", apart)
    raise ModelError(f"{path}: is neither a TFLite nor an ONNX file, and has no sidecar {sidecar_path(path).name}")


def _described(path: Path, format_name: str, apart: bool) -> Artifact:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    if apart:
        from exporter.runtimes.apart import describe_apart

        inputs, outputs, precision = describe_apart(path, format_name)
    elif format_name == "tflite":
        from exporter.runtimes.litert import describe

        inputs, outputs, precision = describe(path)
    else:
        from exporter.runtimes.onnx_runtime import describe as describe_onnx

        inputs, outputs, precision = describe_onnx(path)
    sha256, size = fingerprint_path(path)
    metadata = {"provenance": {}, "described_by": "the file itself: it has no sidecar"}
    return Artifact(path, format_name, Precision(precision), inputs, outputs, sha256, size, metadata)


def _is_tflite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(8)[4:8] == _TFLITE_MARK


def _looks_like_onnx(path: Path) -> bool:
    """A protobuf whose first field is the IR version, a small number: how ONNX's own writers begin."""
    with path.open("rb") as stream:
        head = stream.read(2)
    return len(head) == 2 and head[0] == 0x08 and 0 < head[1] < 0x40
