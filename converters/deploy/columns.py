"""A convolution with a stride of two over an image, with two columns taken as one of twice the channels.

XNNPACK's int8 kernels take eight numbers of a place at a time, of which an image's three channels fill three. The
sums are the same, with zeros among them where the kernel is one column too wide.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from converters.deploy.flat import Call, Flat
from converters.deploy.forms import Weigh
from converters.deploy.shaping import space
from converters.deploy.targets import Preference

__all__ = ["columns", "paired"]

_NARROW: Final = 4
"""Channels up to which a kernel that takes eight numbers of a place at a time is half empty."""


def columns(flat: Flat, call: Call, preference: Preference) -> tuple[Call, ...]:
    """The convolution, behind the padding in front of it if there is one; empty where columns are not to be paired.

    That padding has to go along: of three channels it takes longer than the convolution itself unless XNNPACK does both
    at once, which it does only where nothing stands between them.
    """
    if not preference.pairs_columns or not _is_narrow(call):
        return ()
    before = call.inputs[0].call
    if before is None or before.kind not in ("layers.ZeroPadding2D", "ops.Pad"):
        return (call,) if _halves(call.inputs[0].shape) else ()
    alone = flat.consumers[call.inputs[0]] == (call,) and call.inputs[0] not in flat.outputs
    if before.kind != "layers.ZeroPadding2D" or not alone or before.kwargs or call.operation.padding != "valid":
        return ()
    source = before.inputs[0].shape
    if space(before.operation.data_format)[1] != 3 or not _halves(source):
        return ()
    return (before, call) if _beyond(before, call)[1] >= 0 else ()


def _is_narrow(call: Call) -> bool:
    layer = call.operation
    if call.kind != "layers.Conv2D" or len(call.inputs) != 1 or call.kwargs:
        return False
    _, channel = space(layer.data_format)
    channels = call.inputs[0].shape[channel]
    plain = tuple(layer.dilation_rate) == (1, 1) and layer.groups == 1 and channel == 3
    strided = layer.strides[1] == 2 and layer.kernel_size[1] > 2 and layer.padding in ("same", "valid")
    return plain and strided and channels is not None and channels <= _NARROW


def _halves(shape: tuple[int | None, ...]) -> bool:
    """(N, H, W, C), where W is known and even."""
    return shape[2] is not None and shape[2] % 2 == 0


def _beyond(padding: Call, conv: Call) -> tuple[int, int]:
    """How many pairs of columns are added to the left and to the right of the map."""
    width, wide = padding.inputs[0].shape[2], conv.operation.kernel_size[1]
    assert width is not None
    left, right = padding.operation.padding[1]
    places = (width + left + right - wide) // 2 + 1
    before = (left + 1) // 2
    return before, places - 1 + _pairs(left % 2, wide) - before - width // 2


def _pairs(lead: int, wide: int) -> int:
    """Pairs that a kernel of so many columns reaches into, behind so many columns of zeros."""
    return (lead + wide + 1) // 2


def paired(calls: tuple[Call, ...], x: Any, weigh: Weigh) -> Any:
    """(N, H, W, C) as (N, H, W / 2, 2 C), under a kernel of half the columns, zero where it is one column too wide."""
    from keras import ops

    layer = calls[-1].operation
    kernel, bias = weigh.values(layer.kernel), [weigh.values(layer.bias)] if layer.use_bias else []
    high, wide, channels, filters = kernel.shape
    height, width = x.shape[1:3]
    x = ops.reshape(x, (-1, height, width // 2, 2 * channels))
    # Under `same` the first place begins (wide - 2) // 2 columns before the map; a pair begins at an even one.
    lead = (wide - 2) // 2 % 2 if layer.padding == "same" else 0
    if len(calls) == 2:
        rows, (left, _) = calls[0].operation.padding
        lead = left % 2
        x = ops.pad(x, ((0, 0), rows, _beyond(*calls), (0, 0)))
    pairs = _pairs(lead, wide)
    held = np.zeros((high, 2 * pairs, channels, filters))
    held[:, lead : lead + wide] = kernel
    options = {
        "filters": filters,
        "kernel_size": (high, pairs),
        "strides": (layer.strides[0], 1),
        "padding": layer.padding,
        "data_format": "channels_last",
        "activation": layer.activation,
    }
    taken = (None, None, None, 2 * channels)
    made = weigh.layer("Conv2D", "paired", [held.reshape(high, pairs, 2 * channels, filters), *bias], taken, **options)
    return made(x)
