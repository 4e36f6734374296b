"""Traced model -> TensorFlow SavedModel folder with one `serving_default` signature and its metadata as an asset."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final

import tensorflow as tf

from converters.artifact import TensorSpec
from converters.settings import ConversionSettings
from converters.trace import SIGNATURE, TracedModel

METADATA_ASSET: Final = "metadata.json"
LABELS_ASSET: Final = "labels.txt"


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


class _Servable(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """Tracks what the function reads, and nothing of Keras: the folder loads where Keras is not installed."""

    def __init__(self, traced: TracedModel) -> None:
        super().__init__(name="served")
        self.read = list(traced.variables)
        # A loaded SavedModel may also hold tables and assets of its own, which only the loaded object tracks.
        self.source = traced.owner if not hasattr(traced.owner, "get_config") else None
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
