"""Traced model -> TensorFlow SavedModel folder with one `serving_default` signature, and back into memory."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from converters.artifact import TensorSpec
from converters.calls import SIGNATURE, first_line
from converters.errors import ModelError
from converters.settings import ConversionSettings
from converters.trace import TracedModel

METADATA_ASSET: Final = "metadata.json"
LABELS_ASSET: Final = "labels.txt"

# A SavedModel is a program: these operations reach outside of the model when it is loaded or run.
_OUTSIDE: Final = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2", "Print"}
)


def convert(
    traced: TracedModel, path: Path, settings: ConversionSettings
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the SavedModel folder `path` and give its inputs and outputs.

    Variables stay variables, so that BatchNormalization is not folded: a SavedModel can be loaded and looked into. The
    metadata is `assets/metadata.json`, the labels `assets/labels.txt`, one a line.
    """
    with tempfile.TemporaryDirectory(prefix=".cbam-", dir=path.parent) as folder:
        module = _Servable(traced)
        for name, text in _assets(settings).items():
            file = Path(folder, name)
            file.write_text(text, encoding="utf-8")
            module.assets[name] = tf.saved_model.Asset(str(file))
        write(module, traced, path)
    return traced.inputs, traced.outputs


def write(module: tf.Module, traced: TracedModel, path: Path) -> None:
    """Save `module` with the traced function as its signature."""
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: traced.function})


def load(path: Path) -> Any:
    """Load a SavedModel after looking through its graph for operations that reach outside of it.

    Raises:
        ModelError: not a readable SavedModel, no `serving_default` signature, or file or Python operations in it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path}: its saved_model.pb cannot be read ({error})") from error
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
            if node.op in _OUTSIDE:
                raise ModelError(
                    f"{path}: refused, its graph holds the operation {node.op} (node {node.name!r}), which reaches "
                    f"files or Python outside of the model; save the model without it"
                )
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds here; all mean the same to the user
        raise ModelError(f"{path}: TensorFlow cannot load this SavedModel ({first_line(error)})") from error
    if SIGNATURE not in getattr(loaded, "signatures", {}):
        have = ", ".join(map(repr, getattr(loaded, "signatures", {}))) or "none"
        raise ModelError(f"{path}: has no {SIGNATURE!r} signature (it has: {have}); save it with model.export()")
    return loaded


class _Servable(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """Tracks what the function reads, and nothing of Keras: the folder loads where Keras is not installed."""

    def __init__(self, traced: TracedModel) -> None:
        super().__init__(name="served")
        self.read = list(traced.variables)
        # A loaded SavedModel may also hold tables and assets of its own, which only the loaded object tracks.
        self.source = traced.owner if traced.original.model is None else None
        self.assets: dict[str, tf.saved_model.Asset] = {}


def servable(traced: TracedModel) -> tf.Module:
    """The object to save for `traced`, without metadata."""
    return _Servable(traced)


def _assets(settings: ConversionSettings) -> dict[str, str]:
    assets = {METADATA_ASSET: json.dumps(settings.metadata, indent=2) + "\n"}
    labels = settings.metadata.get("labels")
    if labels:
        assets[LABELS_ASSET] = "\n".join(map(str, labels)) + "\n"
    return assets
