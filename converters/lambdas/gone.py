"""Layers and ways to call one that Keras 3 no longer has, put into words that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas.limits import show
from converters.lambdas.nodes import LayerCall

__all__ = ["GONE", "call_recurrent", "is_recurrent", "is_time_major"]

Unique = Callable[[str], str]
_RECURRENT: Final = (
    "RNN", "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "Bidirectional", "UnifiedLSTM",
    "UnifiedGRU", "CuDNNLSTM", "CuDNNGRU",
)  # fmt: skip


def _thresholded_relu(tensor: Any, config: Mapping[str, Any], unique: Unique) -> Any:
    """x where x > theta, else 0."""
    import keras

    if not isinstance(tensor, keras.KerasTensor):
        raise ModelError(f"ThresholdedReLU {show(config.get('name'))} is not called on one tensor")
    theta = config.get("theta", 1.0)
    theta = theta.get("value") if isinstance(theta, dict) else theta
    if not isinstance(theta, int | float):
        raise ModelError(f"ThresholdedReLU {show(config.get('name'))} has the theta {show(theta)}, which is no number")
    above = keras.ops.greater(tensor, theta)
    made = keras.ops.where(above, tensor, 0.0)
    above._keras_history.operation.name = unique(f"{config.get('name')}_greater")
    made._keras_history.operation.name = unique(str(config.get("name")))
    return made


GONE: Final[Mapping[str, Callable[[Any, Mapping[str, Any], Unique], Any]]] = {"ThresholdedReLU": _thresholded_relu}
"""Layers without weights that became operations: each takes a KerasTensor, the layer's config, and a maker of names."""


def is_recurrent(name: str) -> bool:
    return name in _RECURRENT


def is_time_major(config: Mapping[str, Any]) -> bool:
    """Whether a recurrent layer of Keras 2, or the one that it wraps, takes its steps along the first axis."""
    inner = config.get("layer")
    within = inner.get("config") if isinstance(inner, dict) else None
    return bool(config.get("time_major")) or (isinstance(within, dict) and is_time_major(within))


def call_recurrent(layer: Any, config: Mapping[str, Any], call: LayerCall, unique: Unique) -> Any:
    """Call a recurrent layer as Keras 2 did: with the states behind the sequence, and perhaps time before batch.

    Keras 3 takes states by name only, and the batch first.
    """
    import keras

    inputs, kwargs = call.args[0], dict(call.kwargs)
    if isinstance(inputs, list) and len(inputs) > 1:
        inputs, kwargs["initial_state"] = inputs[0], inputs[1:]
    elif isinstance(inputs, list):
        inputs = inputs[0]
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    if not is_time_major(config):
        return layer(inputs, *call.args[1:], **kwargs)
    outputs = layer(_swapped(keras, inputs, f"{layer.name}_batch_major", unique), *call.args[1:], **kwargs)
    first, *rest = outputs if isinstance(outputs, list | tuple) else [outputs]
    inner = config.get("layer")
    within = inner["config"] if isinstance(inner, dict) else config
    if within.get("return_sequences"):
        first = _swapped(keras, first, f"{layer.name}_time_major", unique)
    return [first, *rest]


def _swapped(keras: Any, tensor: Any, name: str, unique: Unique) -> Any:
    axes = (1, 0, *range(2, len(tensor.shape)))
    made = keras.ops.transpose(tensor, axes)
    made._keras_history.operation.name = unique(name)
    return made
