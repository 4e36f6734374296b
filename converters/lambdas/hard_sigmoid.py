"""Keras 2's `hard_sigmoid` is clip(0.2 x + 0.5, 0, 1); Keras 3's, of the same name, is clip(x / 6 + 0.5, 0, 1).

A file of Keras 2 opens in Keras 3 without a word and computes something else. Here a layer's own activation becomes
operations behind the layer. In a recurrent layer, whose gates cannot be taken out, the weights of the gates are scaled:
with 1.2 z in the place of z, Keras 3's function gives 0.2 z + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from converters.errors import ModelError
from converters.lambdas.limits import show

__all__ = ["SCALE", "after", "in_gates", "scale_gates", "take_out"]

NAME: Final = "hard_sigmoid"
SCALE: Final = 1.2
_RECURRENT: Final = frozenset(
    ["LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "LSTMCell", "GRUCell", "SimpleRNNCell"]
)
# The gates that `recurrent_activation` makes, as blocks of the weights' last axis, of how many blocks.
_GATES: Final[Mapping[str, tuple[tuple[int, ...], int]]] = {"LSTM": ((0, 1, 3), 4), "GRU": ((0, 1), 3)}


def _is(value: Any) -> bool:
    return value == NAME or (isinstance(value, dict) and value.get("config") == NAME)


def take_out(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The layer with a linear activation if its own is hard_sigmoid; the same object if nothing is to be done.

    Raises:
        ModelError: hard_sigmoid stands where it can neither be taken out nor be scaled.
    """
    name, config = str(entry.get("class_name")), entry.get("config")
    if not isinstance(config, dict):
        return entry
    outer = False
    for path in _uses(config):
        if path[-1] == "recurrent_activation":
            continue
        if path != ("activation",) or name in _RECURRENT:
            raise ModelError(
                f"{name} {show(config.get('name'))} has Keras 2's hard_sigmoid as an activation inside it; Keras 3's "
                "function of that name is another one, and this layer cannot be changed to compute the same"
            )
        outer = True
    return {**entry, "config": {**config, "activation": "linear"}} if outer else entry


def in_gates(entry: Mapping[str, Any]) -> bool:
    """Whether a recurrent layer, or one inside a wrapper, has hard_sigmoid gates."""
    config = entry.get("config")
    return isinstance(config, dict) and any(path[-1] == "recurrent_activation" for path in _uses(config))


def _uses(config: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(config, dict):
        for key, value in config.items():
            if str(key).endswith("activation") and _is(value):
                yield (*path, key)
            else:
                yield from _uses(value, (*path, key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            yield from _uses(value, (*path, index))


def after(tensor: Any, name: str, unique: Callable[[str], str]) -> Any:
    """Keras 2's hard_sigmoid of a KerasTensor, as operations that are called after the layer of that name."""
    import keras

    scaled = keras.ops.multiply(tensor, 0.2)
    moved = keras.ops.add(scaled, 0.5)
    made = keras.ops.clip(moved, 0.0, 1.0)
    for part, suffix in ((scaled, "_scale"), (moved, "_shift"), (made, "")):
        part._keras_history.operation.name = unique(f"{name}_{NAME}{suffix}")
    return made


def scale_gates(layer: Any) -> None:
    """Scale the weights of every recurrent cell below a layer whose gates use hard_sigmoid."""
    cells = {id(cell): cell for cell in _cells(layer)}  # a wrapper may show one cell under two names
    for cell in cells.values():
        kind = next((kind for kind in _GATES if kind in type(cell).__name__), None)
        if kind is None or getattr(cell.recurrent_activation, "__name__", "") != NAME:
            continue
        blocks, count = _GATES[kind]
        for variable in (cell.kernel, cell.recurrent_kernel, cell.bias):
            if variable is None:
                continue
            value = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable).copy()
            width = value.shape[-1] // count
            for block in blocks:
                value[..., block * width : (block + 1) * width] *= value.dtype.type(SCALE)
            variable.assign(value)


def _cells(layer: Any) -> Iterator[Any]:
    for name in ("forward_layer", "backward_layer", "layer", "cell"):
        inner = getattr(layer, name, None)
        if inner is not None and hasattr(inner, "get_config"):
            yield from _cells(inner)
    yield from (inner for each in getattr(layer, "cells", ()) for inner in _cells(each))
    if hasattr(layer, "recurrent_activation") and hasattr(layer, "recurrent_kernel"):
        yield layer
