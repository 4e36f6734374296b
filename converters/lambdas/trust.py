"""Judges what a model file names and links, before Keras may open it. Nothing of the file is run to find out.

Keras resolves every {"class_name": ..., "module": ...} of a config by name, at any depth; several of its releases could
be led to run code that way (CVE-2024-3660, CVE-2025-1550, -8747, -9905, -9906). So whatever is not on an exact list of
Keras's own names, and not registered by the caller, is refused here, whatever the installed Keras would do with it.
"""

from __future__ import annotations

import builtins
import dataclasses
import errno
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from converters.errors import ModelError, OutputError
from converters.lambdas.archive import HDF5_MAGIC, LAYER_KEYS, WEIGHTS, ModelArchive, layer_name, read_archive
from converters.lambdas.hdf5 import check_content
from converters.lambdas.keras_names import (
    ACTIVATIONS,
    CLASSES,
    FORBIDDEN_LAYERS,
    LAYERS,
    LOSS_FUNCTIONS,
    MODELS,
    OPERATIONS,
    RAW_LAYERS,
    REMOVED_LAYERS,
)
from converters.lambdas.limits import Limits, is_bomb, show

__all__ = ["Finding", "check_links", "check_trusted", "find_untrusted", "read_trusted"]

Kind = Literal["unsafe", "custom", "version", "raw", "operation", "lambda"]

# How each kind's error reads; `{}` is what was found. In the order in which they are reported.
_ERRORS: dict[Kind, str] = {
    "unsafe": "names what no model needs: {}; nothing of it was run, and the file should not be trusted",
    "custom": (
        "needs classes that are not known here: {}; register them with keras.saving.register_keras_serializable and "
        "export from Python, or rebuild the model from Keras's own layers"
    ),
    "version": (
        "holds parts that no Keras 3 known here (up to 3.15) can open: {}; save the model again from built-in layers "
        "of Keras 3"
    ),
    "raw": ("holds raw TensorFlow operations, which Keras 3 cannot open: {}; `cbam rescue` replaces them by keras.ops"),
    "operation": "holds keras.ops operations, which Keras cannot open from HDF5: {}; save the model as .keras instead",
    "lambda": ("holds Python code, which is never run here: {}; `cbam rescue` replaces Lambda layers by keras.ops"),
}
REPLACEABLE: frozenset[Kind] = frozenset(["version", "raw", "operation", "lambda"])
"""What `rewrite` takes care of."""
_SHOWN = 20  # findings in one message

# Markers that stand for plain values, of Keras's serialiser and of the JSON coder of its HDF5 format.
_VALUES = frozenset(["__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"])
_VALUES |= {"TensorShape", "__tuple__"}
_SPECS = frozenset(["CompositeTensor", "TypeSpec", "__typespec__"])
_LOOKUPS = frozenset(["IntegerLookup", "StringLookup", "TextVectorization"])
_BUILTIN = LAYERS | RAW_LAYERS | frozenset().union(*CLASSES.values())


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing of a config that a loader must not open.

    kind: `unsafe` code or files from outside; `custom` a class or function that is not registered; `version` a part of
    another Keras; `raw` a TensorFlow operation; `operation` a keras.ops operation in HDF5; `lambda` Python code stored
    in the file. layer: names from the outermost model's layer on, empty for the model itself. text: what and where.
    """

    kind: Kind
    layer: tuple[str, ...]
    text: str


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the walk is: in which layer, under which key, and within an object that the caller registered or not."""

    layer: tuple[str, ...] = ()
    key: str = ""
    registered: bool = False

    def __str__(self) -> str:
        layer = f"layer {show('/'.join(self.layer))}" if self.layer else "the model"
        return layer if self.key in ("", *LAYER_KEYS) else f"{show(self.key)} of {layer}"


def read_trusted(
    path: str | os.PathLike[str], registered: Collection[str] = (), limits: Limits | None = None
) -> ModelArchive:
    """Reads a model file and makes every check on it: what it gives may be handed to Keras, by `ModelArchive.suffix`.

    Raises:
        ModelError: as `read_archive`, `check_trusted` and `check_links`.
    """
    archive = read_archive(path, limits)
    check_trusted(archive, registered)
    check_links(archive, limits)
    return archive


def check_trusted(archive: ModelArchive, registered: Collection[str] = (), replaceable: bool = False) -> None:
    """Refuses a config that holds code, or that names anything but Keras's own parts and what is `registered`.

    registered: names as `keras.saving.register_keras_serializable` makes them, such as `cbam_export>CBAM`. The loss and
    optimizer of the outermost model are not looked at: load with `compile=False`, which leaves them out. replaceable:
    accept Lambda layers, raw TensorFlow operations and parts of older Kerases, for a caller that builds what it knows
    in their place and hands none of them to Keras.

    Raises:
        ModelError: with all findings of the worst kind.
    """
    findings = find_untrusted(archive.config, registered)
    for kind, error in _ERRORS.items():
        if replaceable and kind in REPLACEABLE:
            continue
        found = list(dict.fromkeys(finding.text for finding in findings if finding.kind == kind))
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ModelError(f"{archive.path} {error.format(', '.join(found[:_SHOWN]) + more)}")


def find_untrusted(config: dict[str, Any], registered: Collection[str] = ()) -> tuple[Finding, ...]:
    """Everything in a model's config that `check_trusted` refuses, in the file's order."""
    outer = {key: value for key, value in config.items() if key != "compile_config"}
    stack: list[tuple[Any, _Place]] = [(outer, _Place())]
    findings: list[Finding] = []
    while stack:
        node, place = stack.pop()
        if isinstance(node, list):
            stack += [(item, place) for item in reversed(node) if isinstance(item, dict | list)]
        elif isinstance(node, dict):
            if "class_name" in node:
                place, finding = _judge(node, place, registered)
                findings += [finding] if finding else []
                if finding and finding.kind == "lambda":  # its functions are the same finding again
                    continue
            findings += _strings(node, place, registered)
            inner = [(key, value) for key, value in node.items() if isinstance(value, dict | list)]
            stack += [(value, dataclasses.replace(place, key=str(key))) for key, value in reversed(inner)]
    return tuple(findings)


def _judge(node: dict[str, Any], place: _Place, registered: Collection[str]) -> tuple[_Place, Finding | None]:
    """The place within one serialised object, and what is wrong with the object itself."""
    name, module = node["class_name"], node.get("module")
    is_layer = place.key in LAYER_KEYS or node.get("inbound_nodes") is not None
    if is_layer:
        place = _Place((*place.layer, layer_name(node)), "", place.registered)
    if not isinstance(name, str) or not isinstance(module, str | None):
        return place, Finding("unsafe", place.layer, f"a class_name or module that is no text ({place})")
    if name in _VALUES:
        return place, None
    top = "" if module is None else module.split(".")[0]
    if name == "__lambda__" or (name == "Lambda" and top in ("", "keras")):
        return place, Finding("lambda", place.layer, _lambda(node, place))
    if name in RAW_LAYERS:
        return place, Finding("raw", place.layer, _raw(node, place))
    if name in FORBIDDEN_LAYERS:
        return place, Finding("unsafe", place.layer, f"a {name} ({place}), which {FORBIDDEN_LAYERS[name]}")
    if name in _SPECS:
        return place, Finding("unsafe", place.layer, f"a TensorFlow type {name} ({place})")
    if name == "function":
        return place, _function(node, place, registered)
    if _is_registered(node, registered):
        return dataclasses.replace(place, registered=True), None
    place = dataclasses.replace(place, registered=False)
    if module is None and is_layer and name not in MODELS and _is_operation(node):
        return place, Finding("operation", place.layer, f"{show(name)} ({place})")
    if _is_builtin(node):
        return place, None
    return place, _unknown(node, place, "layer" if is_layer else "object" if place.key else "model")


def _unknown(node: dict[str, Any], place: _Place, what: str) -> Finding:
    """What to say of a class that is neither Keras's nor registered."""
    name, module = node["class_name"], node.get("module")
    top = "" if module is None else module.split(".")[0]
    alias = node.get("registered_name")
    if top == "keras" and alias not in (None, name):
        return Finding("custom", place.layer, f"custom {what} {show(alias)} ({place})")
    if top == "tf_keras":
        return Finding("version", place.layer, "what the tf_keras package (Keras 2) wrote")
    if name in REMOVED_LAYERS or (module in CLASSES and name.isidentifier() and name[0].isupper()):
        return Finding("version", place.layer, f"{show(name)} ({place})")
    if top == "keras" or top in sys.stdlib_module_names:
        return Finding("unsafe", place.layer, f"{show(f'{module}.{name}')} ({place})")
    origin = f" of module {show(module)}" if module else ""
    return Finding("custom", place.layer, f"custom {what} {show(name)}{origin} ({place})")


def _is_registered(node: dict[str, Any], registered: Collection[str]) -> bool:
    name = node["class_name"]
    # Without a `module` Keras goes by class_name, with one by registered_name. The other name must not mislead either.
    if "module" not in node:
        return name in registered and node.get("registered_name", name) in (None, name)
    alias = node.get("registered_name", name)
    return isinstance(alias, str) and alias in registered


def _is_builtin(node: dict[str, Any]) -> bool:
    name, module = node["class_name"], node.get("module")
    if node.get("registered_name") not in (None, name):
        return False
    if module is None:
        # Keras looks such a name up among its own classes of the kind that the place calls for, and imports nothing.
        return name in _BUILTIN
    if module in OPERATIONS:
        return bool(name.isidentifier() and name[0].isupper())
    return name in CLASSES.get(module, ())


def _is_operation(node: dict[str, Any]) -> bool:
    """Whether a layer of an HDF5 file is a keras.ops operation: a layer's config says whether it is trainable."""
    config, nodes = node.get("config"), node.get("inbound_nodes")
    called = isinstance(nodes, list) and any(isinstance(call, dict) and "args" in call for call in nodes)
    return called and isinstance(config, dict) and "trainable" not in config


def _function(node: dict[str, Any], place: _Place, registered: Collection[str]) -> Finding | None:
    name, module = node.get("config"), node.get("module")
    if isinstance(name, str):
        known = ACTIVATIONS | LOSS_FUNCTIONS
        if name in registered or (name in known and module in (None, "builtins", "keras.activations")):
            return None
        if name in LOSS_FUNCTIONS and module in ("keras.losses", "keras.metrics"):
            return None
    if module in (None, "builtins"):  # what Keras writes for every function, so only its name tells
        if isinstance(name, str) and hasattr(builtins, name):
            return Finding("unsafe", place.layer, f"Python's own function {show(name)} ({place})")
        return Finding("custom", place.layer, f"custom function {show(name)} ({place})")
    text = f"function {show(f'{module}.{name}')} ({place})"
    if module.split(".")[0] == "keras" or module.split(".")[0] in sys.stdlib_module_names:
        return Finding("unsafe", place.layer, text)
    return Finding("custom", place.layer, f"custom {text}")


def _strings(node: dict[str, Any], place: _Place, registered: Collection[str]) -> Iterator[Finding]:
    """What a layer's config names by plain text: an activation, or a file that the layer would read."""
    config = node.get("config")
    if "class_name" not in node or not isinstance(config, dict) or place.registered:
        return
    for key, value in config.items():
        if not isinstance(value, str):
            continue
        if str(key).endswith("activation") and value not in ACTIVATIONS and value not in registered:
            yield Finding("custom", place.layer, f"custom activation {show(value)} ({place})")
        # CVE-2025-12058: such a layer reads the path, or fetches the URL, when it is built.
        if key in ("vocabulary", "idf_weights") and node["class_name"] in _LOOKUPS:
            yield Finding("unsafe", place.layer, f"the file {show(value)} as {key} ({place})")


def _lambda(node: dict[str, Any], place: _Place) -> str:
    if node["class_name"] == "__lambda__":
        return f"a lambda ({place})"
    config = node.get("config")
    function = config.get("function") if isinstance(config, dict) else None
    if isinstance(function, dict) and function.get("class_name") == "function":
        function = function.get("config")
    called = f" that calls {show(function)}" if isinstance(function, str) else ""
    return f"Lambda {show('/'.join(place.layer) or layer_name(node))}{called}"


def _raw(node: dict[str, Any], place: _Place) -> str:
    config = node.get("config")
    function = config.get("function") if isinstance(config, dict) else None
    called = f" of {show(function)}" if isinstance(function, str) else ""
    return f"{node['class_name']}{called} ({place})"


def check_links(archive: ModelArchive, limits: Limits | None = None) -> int:
    """Reads the weights of a `.keras` file from end to end, and refuses those that are not in the file itself.

    A link or a dataset of an HDF5 file may point to other files of the machine, whose content would become weights.
    A model that is HDF5 throughout went through the same when it was read. Gives the count of numbers in all tensors.

    Raises:
        ModelError: naming the first such tensor, or if the weights are damaged or a decompression bomb.
    """
    if archive.elements is not None:
        return archive.elements
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="cbam-") as folder:
        weights = Path(folder) / WEIGHTS
        try:
            _unpack_weights(archive, weights, limits)
        except ModelError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise OutputError(f"{tempfile.gettempdir()}: no room to unpack {archive.path} in ({error})") from error
            # As in `read_archive`: a damaged file has a dozen ways to fail.
            what = f"the weights are damaged ({show(error)})"
            raise ModelError(f"{archive.path}: {what}: copy or download it again") from error
        return check_content(weights, f"{archive.path} ({WEIGHTS})", limits)


def _unpack_weights(archive: ModelArchive, weights: Path, limits: Limits) -> None:
    with zipfile.ZipFile(archive.path) as packed, packed.open(WEIGHTS) as member, open(weights, "wb") as copy:
        info = packed.getinfo(WEIGHTS)
        if is_bomb(info.file_size, info.compress_size, limits):
            raise ModelError(
                f"{archive.path}: {WEIGHTS} is a decompression bomb of {info.file_size} bytes, not weights"
            )
        shutil.copyfileobj(member, copy, 1 << 20)
    with open(weights, "rb") as copy:
        if copy.read(len(HDF5_MAGIC)) != HDF5_MAGIC:
            raise ModelError(f"{archive.path}: {WEIGHTS} is not an HDF5 file: copy or download the model again")
