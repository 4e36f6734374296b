"""Which calls can be run channels last instead of channels first, and what becomes of them then."""

from __future__ import annotations

from typing import Any, Final

from converters.deploy.flat import Call
from converters.deploy.shaping import space

__all__ = ["PERMUTED", "is_channels_first", "last_config", "passes_layout"]

PERMUTED: Final = {"last": (0, 2, 3, 1), "first": (0, 3, 1, 2)}

_FORMATTED: Final = frozenset(
    {
        *("layers.Conv2D", "layers.DepthwiseConv2D", "layers.SeparableConv2D", "layers.Conv2DTranspose"),
        *("layers.MaxPooling2D", "layers.AveragePooling2D", "layers.UpSampling2D", "layers.ZeroPadding2D"),
        *("layers.Cropping2D", "layers.GlobalAveragePooling2D", "layers.GlobalMaxPooling2D"),
        *("cbam_export>CBAM", "cbam_export>ChannelAttention", "cbam_export>SpatialAttention"),
    }
)
"""Layers of a map with a `data_format`, whose weights are the same in both."""

_EVERYWHERE: Final = frozenset(
    {
        *("layers.ReLU", "layers.LeakyReLU", "layers.ELU", "layers.Dropout", "layers.SpatialDropout2D"),
        *("layers.GaussianNoise", "layers.GaussianDropout", "layers.AlphaDropout", "layers.Identity"),
        *("layers.ActivityRegularization", "layers.Rescaling", "ops.Identity", "ops.Relu", "ops.Relu6"),
        *("ops.Sigmoid", "ops.HardSigmoid", "ops.Silu", "ops.Gelu", "ops.Tanh", "ops.Clip", "activations.ReLU"),
    }
)
"""Calls of one map that do the same to every number."""

_PAIRWISE: Final = frozenset(
    {
        *("layers.Add", "layers.Multiply", "layers.Subtract", "layers.Maximum", "layers.Minimum", "layers.Average"),
        *("ops.Add", "ops.Multiply", "ops.Subtract", "ops.Maximum", "ops.Minimum"),
    }
)
_POINTWISE: Final = ("linear", "relu", "relu6", "sigmoid", "hard_sigmoid", "tanh", "silu", "elu", "gelu", "leaky_relu")


def is_channels_first(call: Call) -> bool:
    """Whether a call works channels first on a map and can as well channels last."""
    if len(call.inputs) != 1 or len(call.inputs[0].shape) != 4:
        return False
    if call.kind == "layers.BatchNormalization":
        return call.operation.axis == 1 and call.kwargs.get("mask") is None
    return call.kind in _FORMATTED and space(call.operation.data_format)[1] == 1


def passes_layout(call: Call) -> bool:
    """Whether a call does the same to maps of either layout, if all its maps have one."""
    tensors = call.inputs
    if any(len(tensor.shape) != 4 for tensor in (*tensors, *call.outputs)) or len(call.outputs) != 1:
        return False
    if call.kind == "layers.Activation":
        return getattr(call.operation.activation, "__name__", "") in _POINTWISE
    if call.kind in _EVERYWHERE:
        return len(tensors) == 1
    values = call.args[0] if len(call.args) == 1 and isinstance(call.args[0], list | tuple) else call.args
    return call.kind in _PAIRWISE and len(tensors) == len(values) and not call.kwargs


def last_config(call: Call, config: dict[str, Any]) -> dict[str, Any]:
    """The config of a channels-first layer, channels last."""
    if call.kind == "layers.BatchNormalization":
        return {**config, "axis": 3}
    return {**config, "data_format": "channels_last"}
