"""LocallyConnected1D and 2D, a convolution with weights of its own at each place, which Keras 3 no longer has.

The windows are slices put beside each other, and an EinsumDense has a matrix for each place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas import drift
from converters.lambdas.limits import show

__all__ = ["LOCAL", "layer", "windows"]

LOCAL: Final[Mapping[str, int]] = {"LocallyConnected1D": 1, "LocallyConnected2D": 2}
"""Their names, and over how many axes each goes."""

_EQUATIONS: Final = {1: ("bik,ikf->bif", "if"), 2: ("bijk,ijkf->bijf", "ijf")}
_MUST_BE: Final = {"padding": "valid", "data_format": "channels_last", "implementation": 1}
_KEPT: Final = (
    "name", "trainable", "dtype", "activation", "kernel_initializer", "bias_initializer", "kernel_regularizer",
    "bias_regularizer", "activity_regularizer", "kernel_constraint", "bias_constraint",
)  # fmt: skip
_READ: Final = ("filters", "kernel_size", "strides", "use_bias", "batch_input_shape", "input_shape", *_MUST_BE)
_LARGEST: Final = 1024  # places of a window


def layer(name: str, config: Mapping[str, Any], shape: tuple[int | None, ...]) -> Any:
    """The EinsumDense for an input of this shape, (batch, *sizes, channels); its weights are not built yet.

    Its kernel is (*places, window, filters) and its bias (*places, filters).

    Raises:
        ModelError: the layer has settings of another kind, or the input's sizes are not fixed.
    """
    import keras

    axes = LOCAL[name]
    for key, value in config.items():
        if key not in (*_KEPT, *_READ) or (key in _MUST_BE and value not in (_MUST_BE[key], None)):
            raise ModelError(f"{name} {show(config.get('name'))} has {key}={show(value)}, which is not understood")
    places = _places(name, config, shape)
    equation, bias = _EQUATIONS[axes]
    kept = {key: config[key] for key in _KEPT if key in config}
    _, mended = drift.mend("EinsumDense", kept, 2)
    return keras.layers.EinsumDense.from_config(
        {
            **mended,
            "equation": equation,
            "output_shape": (*places, config["filters"]),
            "bias_axes": bias if config.get("use_bias", True) else None,
        }
    )


def windows(name: str, config: Mapping[str, Any], tensor: Any, unique: Callable[[str], str]) -> Any:
    """The windows of a KerasTensor: (batch, *places, window), whose last axis goes over the window, then channels."""
    import keras

    sizes, strides = _pair(name, config, "kernel_size"), _pair(name, config, "strides")
    places = _places(name, config, tuple(tensor.shape))
    parts = []
    for starts in itertools.product(*map(range, sizes)):
        spans = [
            slice(start, start + stride * (count - 1) + 1, stride)
            for start, stride, count in zip(starts, strides, places, strict=True)
        ]
        parts.append(tensor[(slice(None), *spans)])
    made = keras.ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    for part in parts:
        part._keras_history.operation.name = unique(f"{config.get('name')}_window")
    if len(parts) > 1:
        made._keras_history.operation.name = unique(f"{config.get('name')}_windows")
    return made


def _places(name: str, config: Mapping[str, Any], shape: tuple[int | None, ...]) -> tuple[int, ...]:
    sizes, strides = _pair(name, config, "kernel_size"), _pair(name, config, "strides")
    where = f"{name} {show(config.get('name'))}"
    inner = shape[1:-1]
    if len(inner) != LOCAL[name] or None in shape[1:]:
        raise ModelError(f"{where} is called on an input of shape {shape}, whose sizes must be fixed")
    places = tuple(
        (int(length or 0) - size) // stride + 1 for length, size, stride in zip(inner, sizes, strides, strict=True)
    )
    if min(places) < 1:
        raise ModelError(f"{where} is called on an input of shape {shape}, smaller than its window {sizes}")
    return places


def _pair(name: str, config: Mapping[str, Any], key: str) -> tuple[int, ...]:
    value = config.get(key, 1 if key == "strides" else None)
    sizes = (value,) * LOCAL[name] if isinstance(value, int) else tuple(value) if isinstance(value, list) else ()
    count = 1
    for size in sizes:
        count *= size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else _LARGEST + 1
    if len(sizes) != LOCAL[name] or count > _LARGEST:
        raise ModelError(f"{name} {show(config.get('name'))} has {key}={show(value)}, which is not understood")
    return sizes
