"""On which axis of a map its channels lie, by the layers around it."""

from __future__ import annotations

from typing import Final

from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.shaping import space

__all__ = ["channel_axis"]

_SPATIAL: Final = (
    *("layers.Conv2D", "layers.DepthwiseConv2D", "layers.SeparableConv2D", "layers.Conv2DTranspose"),
    *("layers.MaxPooling2D", "layers.AveragePooling2D", "layers.UpSampling2D", "layers.ZeroPadding2D"),
    *("layers.Cropping2D", "cbam_export>CBAM", "cbam_export>ChannelAttention", "cbam_export>SpatialAttention"),
)
_FAR: Final = 40
"""Calls to go back at most: a convolution is never further in a net that has one."""


def channel_axis(flat: Flat, tensor: Tensor) -> int | None:
    """1 or 3, by the layers before the map, else by those that take it; None where nothing says."""
    found = _before(tensor, _FAR)
    if found is not None:
        return found
    named = {_named(call) for call in flat.consumers.get(tensor, ()) if call.kind != "layers.AveragePooling2D"}
    named -= {None}
    return named.pop() if len(named) == 1 else None


def _named(call: Call) -> int | None:
    """What a layer itself says of the map it takes and gives."""
    if call.kind in _SPATIAL:
        return space(call.operation.data_format)[1]
    if call.kind == "layers.BatchNormalization":
        return {1: 1, 3: 3, -1: 3}.get(call.operation.axis)
    return None


def _before(tensor: Tensor, far: int) -> int | None:
    call = tensor.call
    if call is None or far == 0 or len(tensor.shape) != 4:
        return None
    named = _named(call)
    if named is not None:
        return named
    if call.kind in ("layers.Permute", "ops.Transpose"):
        axes = (0, *call.operation.dims) if call.kind == "layers.Permute" else call.operation.axes
        found = _before(call.inputs[0], far - 1)
        return None if found is None or axes is None else [axis % 4 for axis in axes].index(found)
    for each in call.inputs:
        if each.shape == tensor.shape or (len(each.shape) == 4 and "Concatenate" in call.kind):
            found = _before(each, far - 1)
            if found is not None:
                return found
    return None
