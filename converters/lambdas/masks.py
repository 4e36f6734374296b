"""Masks of padded sequences at a layer that is replaced.

An Embedding with `mask_zero` or a Masking layer marks steps that recurrent layers and poolings leave out. A Lambda
stops a mask, but for one case: where its function gives back the very tensor that it was given, newer Kerases find the
mask still fastened to it. Operations in the place of a Lambda stop a mask as well; built-in layers hand it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from converters.lambdas.archive import iter_layers
from converters.lambdas.builder import Builder
from converters.lambdas.values import RefusedError, Tensor

_NAMED: Final = "_named_by_rescue"

__all__ = ["give", "keeps", "makes_masks", "mask_of", "name_operations"]


def makes_masks(config: dict[str, Any]) -> bool:
    """Whether any layer of a model makes a mask, or is given one as an argument."""
    for _, layer in iter_layers(config):
        inner = layer.get("config")
        if layer.get("class_name") == "Masking" or (isinstance(inner, dict) and inner.get("mask_zero")):
            return True
        if _given(layer.get("inbound_nodes")):
            return True
    return False


def _given(calls: Any) -> bool:
    """Whether a call in a config has a mask among its arguments; Keras 3 writes down the ones that are None as well."""
    stack = [calls]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if each.get("mask") is not None:
                return True
            stack += each.values()
        elif isinstance(each, list):
            stack += each
    return False


def keeps(keras_version: str | None) -> bool | None:
    """Whether a tensor keeps its mask through a Lambda that gives it back as it came; None where that is not known.

    Measured with files of each: standalone Keras 2.2.4 and 2.3.1 and tf.keras of TensorFlow 1.15 do not, tf.keras of
    2.0, 2.3, 2.4, 2.8 and 2.15 and Keras 3 do. 1.15 and 2.0 write one version; `era` mostly tells which.
    """
    version = keras_version or ""
    found = re.match(r"(\d+)\.(\d+)", version)
    if not found:
        return None
    known = int(found[1]), int(found[2])
    return None if version.endswith("-tf") and known < (2, 4) else known >= (2, 4)


def mask_of(builder: Builder, tensors: Any) -> Any:
    """The masks that reach a function which asks for them: a Tensor, or for several inputs a list of them.

    Raises:
        RefusedError: there are masks in the model, and whether one reaches this layer is not certain.
    """
    import keras

    if not builder.masks:
        return None
    parts = keras.tree.flatten(tensors)
    found = [getattr(part, "_keras_mask", None) for part in parts]
    if any(mask is None for mask in found):
        raise RefusedError("it asks for a mask, and whether one reaches it the file does not tell")
    masks = [Tensor(mask, "mask") for mask in found]
    return masks[0] if len(masks) == 1 and not isinstance(tensors, list | tuple) else masks


def give(builder: Builder, tensor: Tensor, passed: bool) -> Tensor:
    """The tensor as it leaves the layer, with a mask or without one as the old Keras had it.

    Args:
        passed: whether it is an input of the layer, which the function gave back as it came.

    Raises:
        RefusedError: that is not known of the Keras that wrote the file.
    """
    import keras

    if passed:
        if not builder.masks or builder.era.keeps_mask:
            made: Tensor = builder.layer(keras.layers.Identity(), tensor, text=tensor.text)
            return made
        if builder.era.keeps_mask is None:
            raise RefusedError(
                "it gives back its input as it came, and whether a mask stays with it depends on the version of Keras "
                "that wrote the file, which it does not tell"
            )
    if passed or (builder.masks and isinstance(tensor.keras._keras_history.operation, keras.layers.Layer)):
        stopped: Tensor = builder.op("copy", tensor)
        return stopped
    return tensor


def name_operations(outputs: list[Any], unique: Callable[[str], str]) -> None:
    """Give the operations that made the outputs' masks names that no layer of the file has, which Keras does not do."""
    import keras

    stack = [getattr(output, "_keras_mask", None) for output in outputs]
    while stack:
        history = getattr(stack.pop(), "_keras_history", None)
        if history is None:
            continue
        operation = history.operation
        if isinstance(operation, keras.layers.Layer) or getattr(operation, _NAMED, False):
            continue
        setattr(operation, _NAMED, True)
        operation.name = unique(operation.name)
        stack += operation._inbound_nodes[history.node_index].input_tensors
