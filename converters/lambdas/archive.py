"""Reads a Keras model file as data: what it holds, without building the model or importing Keras.

Nothing from the file is executed, imported or unpickled here. What a file may name is judged in `trust`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from converters.errors import CbamError, ModelError
from converters.lambdas.hdf5 import read_model
from converters.lambdas.limits import Limits, is_bomb, show

__all__ = ["ModelArchive", "is_saved_model", "iter_layers", "layer_name", "read_archive"]

ZIP_MAGIC = b"PK\x03\x04"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"

# The keys under which one layer's config holds other layers: models, wrappers, recurrent layers, `Pipeline`.
LAYER_KEYS = ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells")

_SAVE_WHOLE = "save the whole model where it was built, with model.save('model.keras')"


@dataclasses.dataclass(frozen=True)
class ModelArchive:
    """A model file, read but not believed.

    path: the file. kind: `keras` (a zip archive) or `hdf5`, by content: TensorFlow 2.12 wrote HDF5 under `.keras`.
    config: the model's config, {"class_name": ..., "config": ...}. keras_version: what the file says wrote it, or None.
    compiled: whether it holds a loss and an optimizer, which are never loaded. backend: of an HDF5 file, if it says.
    elements: numbers in all tensors of an HDF5 file, or None. loss_scaled: whether the optimizer of an HDF5 file scales
    the loss, as training in float16 needs.
    """

    path: Path
    kind: Literal["keras", "hdf5"]
    config: dict[str, Any]
    keras_version: str | None = None
    compiled: bool = False
    backend: str | None = None
    elements: int | None = None
    loss_scaled: bool = False

    @property
    def suffix(self) -> str:
        """The ending that Keras needs to open this kind: it goes by the name, so a misnamed file must be copied."""
        return ".keras" if self.kind == "keras" else ".h5"


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a TensorFlow SavedModel folder."""
    folder = Path(path)
    return folder.is_dir() and any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt"))


def read_archive(path: str | os.PathLike[str], limits: Limits | None = None) -> ModelArchive:
    """Reads the model config of a `.keras` or HDF5 file, by content and not by name.

    Raises:
        ModelError: if there is no such file, or it is no whole Keras model, or it exceeds a limit.
    """
    limits = limits or Limits()
    path = Path(path)
    _check_regular(path)
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if head.startswith(ZIP_MAGIC):
            return _read_zip(path, limits)
        if head.startswith(HDF5_MAGIC):
            return _read_hdf5(path, limits)
    except CbamError:
        raise
    except Exception as error:
        # zipfile and zlib answer a damaged file with a dozen exception types, from KeyError to struct.error.
        raise ModelError(f"{path} is damaged ({show(error)}): copy or download it again") from error
    raise ModelError(f"{path} {_what_else(path, head)}")


def _check_regular(path: Path) -> None:
    expected = "MODEL is a .keras or .h5 file, or a SavedModel folder"
    if is_saved_model(path):
        raise ModelError(f"{path} is a SavedModel folder, not a Keras model file: it has no layers to read")
    if path.is_dir():
        zipped = "; it holds an unzipped .keras file: zip its content" if (path / CONFIG).is_file() else ""
        raise ModelError(f"{path} is a folder without saved_model.pb{zipped}; {expected}")
    try:
        if not path.exists():
            raise ModelError(f"{path} does not exist; {expected}")
        if not path.is_file():
            raise ModelError(f"{path} is not a regular file; {expected}")
        if path.stat().st_size == 0:
            raise ModelError(f"{path} is empty: the save or the copy was cut off; write it again")
    except (OSError, ValueError) as error:
        raise ModelError(f"{show(path)} cannot be read: {error}") from error


def _what_else(path: Path, head: bytes) -> str:
    """What a file that is neither zip nor HDF5 seems to be, as the rest of a sentence."""
    suffix = path.suffix.lower()
    if head[4:8] == b"TFL3":
        return "is a TFLite model, not a Keras model: give the .keras or .h5 file that it was made from"
    if suffix == ".pb" or head.startswith(b"\x08\x01\x12"):
        whole = "give the SavedModel folder that holds it" if path.name == "saved_model.pb" else _SAVE_WHOLE
        return f"is a TensorFlow graph, not a Keras model: {whole}"
    if suffix == ".onnx" or (head[:1] == b"\x08" and head[1:2] < b" " and head[2:3] in (b"\x12", b"\x3a", b"\x42")):
        return "is an ONNX model, not a Keras model: give the .keras or .h5 file that it was made from"
    if suffix in (".pt", ".pth", ".ckpt") or (head[:1] == b"\x80" and head[1:2] <= b"\x05"):
        return "is a Python pickle (PyTorch, joblib), not a Keras model; pickles run code and are never opened here"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")) or head[257:262] == b"ustar":
        return "is a packed archive: unpack it and give the model file inside"
    text = _text(head)
    if text is None:
        return "is neither a .keras zip archive nor an HDF5 file: the file is damaged or no Keras model"
    start = text.lstrip().lower()
    if start.startswith("version https://git-lfs"):
        return "is a Git LFS pointer, not the model itself: fetch it with `git lfs pull`"
    if start.startswith(("<!doctype", "<html")):
        return "is a web page, not a model: the download failed"
    if start.startswith("{"):
        return f"is a text file (JSON), which has no weights: {_SAVE_WHOLE}"
    return "is a text file, not a Keras model"


def _text(head: bytes) -> str | None:
    # The 4096 bytes may end within a character, so up to three bytes at the end are not held against a text.
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return text if all(char.isprintable() or char in "\r\n\t\ufeff" for char in text) else None
    return None


def _read_zip(path: Path, limits: Limits) -> ModelArchive:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ModelError(
            f"{path} is a .keras file cut short or damaged ({error}): copy or download it again"
        ) from error
    with archive:
        _check_members(path, archive.infolist(), limits)
        names = set(archive.namelist())
        if CONFIG not in names:
            other = "a PyTorch model" if any(name.endswith("data.pkl") for name in names) else "no Keras model"
            raise ModelError(f"{path} is a zip archive without {CONFIG}: {other}")
        if WEIGHTS not in names:
            raise ModelError(f"{path} has no {WEIGHTS}, so the model's weights are missing: {_SAVE_WHOLE}")
        config = _parse(_read_member(path, archive, CONFIG, limits.config_bytes), f"{path} ({CONFIG})", limits)
        metadata: Any = {}
        if METADATA in names:
            metadata = _parse(_read_member(path, archive, METADATA, 1 << 20), f"{path} ({METADATA})", limits)
    version = metadata.get("keras_version")
    return ModelArchive(
        path=path,
        kind="keras",
        config=_model_config(config, f"{path} ({CONFIG})"),
        keras_version=version if isinstance(version, str) else None,
        compiled=bool(config.get("compile_config")),
    )


def _check_members(path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > limits.members:
        raise ModelError(f"{path} holds {len(members)} files; a .keras file holds fewer than {limits.members}")
    names = [member.filename for member in members]
    # Two readers may pick different ones of two members with one name, so what is checked would not be what is loaded.
    double = next((name for name, count in Counter(names).items() if count > 1), None)
    if double is not None:
        raise ModelError(f"{path} holds {show(double)} twice, so it does not say which one counts")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise ModelError(f"{path} holds {show(member.filename)}, which would be unpacked outside of its folder")
        if member.flag_bits & 1:
            raise ModelError(f"{path} is encrypted ({show(member.filename)}): unpack it and zip it again without")
        if is_bomb(member.file_size, member.compress_size, limits):
            raise ModelError(
                f"{path}: {show(member.filename)} unpacks from {member.compress_size} to {member.file_size} bytes: a "
                "decompression bomb, not a model"
            )


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if archive.getinfo(name).file_size > limit:
        raise ModelError(f"{path}: {name} declares {archive.getinfo(name).file_size} bytes; at most {limit} are read")
    content = bytearray()
    with archive.open(name) as member:
        # The declared size may lie, so no more than the limit is ever asked for.
        while chunk := member.read(min(1 << 20, limit + 1 - len(content))):
            content += chunk
            if len(content) > limit:
                raise ModelError(f"{path}: {name} holds more than the {limit} bytes that are read")
    return bytes(content)


def _read_hdf5(path: Path, limits: Limits) -> ModelArchive:
    # Keras goes by the name: called `.keras`, a file that is both would be loaded as the zip that nobody checked.
    if zipfile.is_zipfile(path):
        raise ModelError(f"{path} is an HDF5 file and a zip archive at once: no writer of models makes such a file")
    found = read_model(path, limits)
    where = f"{path} (model_config)"
    config = _parse(found["config"].encode("utf-8", "surrogateescape"), where, limits)
    return ModelArchive(path, "hdf5", _model_config(config, where), **{k: v for k, v in found.items() if k != "config"})


def _parse(content: bytes, where: str, limits: Limits) -> dict[str, Any]:
    values = sum(map(content.count, (b",", b"[", b"{")))
    if values > limits.values:
        raise ModelError(f"{where} holds about {values:,} values; at most {limits.values:,} are read")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ModelError(f"{where} is nested deeper than the {limits.depth} levels that are read") from error
    except json.JSONDecodeError as error:
        cut = "is cut short" if error.pos >= len(content.rstrip()) - 1 or "Unterminated" in error.msg else "is not JSON"
        raise ModelError(f"{where} {cut} ({error}): copy, download or save it again") from error
    except ValueError as error:  # not UTF-8, or an integer of thousands of digits
        raise ModelError(f"{where} is not JSON ({show(error)}): copy, download or save it again") from error
    if _deeper(value, limits.depth):
        raise ModelError(f"{where} is nested deeper than the {limits.depth} levels that are read")
    if not isinstance(value, dict):
        raise ModelError(f"{where} is a JSON {type(value).__name__}, where an object belongs")
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(depth):
        if not level:
            return False
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _model_config(config: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict | list):
        raise ModelError(f"{where} is not a model's config: it needs a class_name and a config; {_SAVE_WHOLE}")
    return config


def layer_name(layer: dict[str, Any]) -> str:
    """The name of a layer by its config dict, in both the Keras 2 and the Keras 3 form."""
    config = layer.get("config")
    inner = config.get("name") if isinstance(config, dict) else None
    return str(next((name for name in (layer.get("name"), inner, layer.get("class_name")) if name), "?"))


def iter_layers(config: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every layer below a model's config dict: (names from the outermost model's layer on, the layer's own dict).

    Goes into nested models, wrappers and recurrent cells, each layer before those inside it, in the file's order. The
    dicts are the ones of `config`, not copies. The outermost model itself is left out.
    """
    stack = _below((), config)  # not recursion: the config may be as deep as the limits allow
    while stack:
        path, layer = stack.pop()
        yield path, layer
        stack += _below(path, layer)


def _below(path: tuple[str, ...], layer: dict[str, Any]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    return [((*path, layer_name(inner)), inner) for inner in reversed(_inner_layers(layer))]


def _inner_layers(layer: dict[str, Any]) -> list[dict[str, Any]]:
    config = layer.get("config")
    # Before Keras 2.2 a Sequential's config was the bare list of its layers.
    groups = [config] if isinstance(config, list) else []
    if isinstance(config, dict):
        groups = [value if isinstance(value, list) else [value] for value in map(config.get, LAYER_KEYS)]
    return [item for group in groups for item in group if isinstance(item, dict) and "class_name" in item]
