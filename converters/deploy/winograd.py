"""A 3x3 convolution by Winograd's F(2, 3) along the rows: 12 multiplications where the plain sum takes 18.

Two rows of output are made at once, from four of input, d0 to d3 (Winograd 1980; Lavin and Gray, arXiv:1509.09308):

    m0 = (d0 - d2) g0,  m1 = (d1 + d2) (g0 + g1 + g2) / 2,  m2 = (d2 - d1) (g0 - g1 + g2) / 2,  m3 = (d1 - d3) g2
    y0 = m0 + m1 + m2,  y1 = m1 - m2 - m3

where g0 to g2 are the rows of the kernel, so that each product is a convolution with a 1x3 kernel. It is exact but for
rounding. What it costs is the sums, which are six passes over half a map, and a third more weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.forms import Weigh, normalised
from converters.deploy.formula import Array
from converters.deploy.shaping import space

__all__ = ["RULE", "Convolution", "convolutions"]

RULE: Final = "winograd"

_LEAST_ROWS: Final = 6
_LEAST_PLACES: Final = 36
"""On smaller maps the weights are what is read most, and there are a third more of them."""

_FUSED: Final = ("relu", "relu6")
"""Activations that LiteRT computes in the operation before; any other is left to stand behind."""


@dataclasses.dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with what can be computed in the same operation.

    Attributes:
        conv: the call of the Conv2D.
        norm: the BatchNormalization behind it, or None.
        activation: the call of a ReLU behind those, or None.
    """

    conv: Call
    norm: Call | None
    activation: Call | None

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(each for each in (self.conv, self.norm, self.activation) if each is not None)

    @property
    def output(self) -> Tensor:
        return self.calls[-1].outputs[0]

    @property
    def channels_first(self) -> bool:
        return space(self.conv.operation.data_format)[1] == 1

    def build(self, x: Any, weigh: Weigh) -> Any:
        """What it gives for the map x (N, H, W, C), a KerasTensor or an array; (N, H, W, filters)."""
        from keras import ops

        layer = self.conv.operation
        height, width, channels = x.shape[1:]
        odd = height % 2
        if odd:  # one row more, of zeros, as the padding below the map has anyway; what it gives is cut off
            x = ops.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))
        rows = (height + odd) // 2
        even, uneven = ops.split(ops.reshape(x, (-1, rows, 2 * width, channels)), 2, axis=2)
        kernel, bias = self._weights(weigh)
        halves = (kernel[0] + kernel[2]) / 2, kernel[1] / 2
        taken = {
            "above": (_step(weigh, "above", (1, -1, 0), channels)(uneven), kernel[0], None),
            "sum": (even + uneven, halves[0] + halves[1], bias),
            "difference": (uneven - even, halves[0] - halves[1], None),
            "below": (_step(weigh, "below", (0, 1, -1), channels)(even), -kernel[2], None),
        }
        above, total, difference, below = (
            _product(weigh, part, value, weights, shift) for part, (value, weights, shift) in taken.items()
        )
        first = self._activated(layer, above + (total + difference))
        second = self._activated(layer, below + (total - difference))
        made = ops.reshape(ops.concatenate([first, second], 2), (-1, 2 * rows, width, layer.filters))
        return made[:, :height] if odd else made

    def _weights(self, weigh: Weigh) -> tuple[Array, Array | None]:
        """(3, 3, C, filters) and (filters,), the normalisation folded in."""
        layer = self.conv.operation
        kernel = weigh.values(layer.kernel)
        bias = weigh.values(layer.bias) if layer.use_bias else None
        return (kernel, bias) if self.norm is None else normalised(kernel, bias, self.norm.operation, weigh.values)

    def _activated(self, layer: Any, value: Any) -> Any:
        if self.activation is None:
            return layer.activation(value)
        operation = self.activation.operation
        if self.activation.kind == "layers.Activation":
            return operation.activation(value)
        from keras import activations, ops

        if self.activation.kind.startswith("ops."):
            return ops.relu6(value) if self.activation.kind == "ops.Relu6" else ops.relu(value)
        options = {name: getattr(operation, name) for name in ("negative_slope", "max_value", "threshold")}
        return activations.relu(value, **options)


def convolutions(flat: Flat, least: int) -> Iterator[Convolution]:
    """Those that are worth it, of at least `least` channels in and out."""
    for call in flat.calls:
        if not _is_3x3(call, least):
            continue
        norm = activation = None
        if _name(call.operation.activation) == "linear":
            norm = _only(flat, call)
            norm = norm if norm is not None and _normalises(norm, call) else None
            activation = _only(flat, norm or call)
            activation = activation if activation is not None and _is_relu(activation) else None
        yield Convolution(call, norm, activation)


def _is_3x3(call: Call, least: int) -> bool:
    layer = call.operation
    if call.kind != "layers.Conv2D" or len(call.inputs) != 1 or call.kwargs:
        return False
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return False
    plain = tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1) and layer.groups == 1
    if tuple(layer.kernel_size) != (3, 3) or not plain or layer.padding != "same":
        return False
    axes, channel = space(layer.data_format)
    height, width = (call.inputs[0].shape[axis] for axis in axes)
    channels = call.inputs[0].shape[channel]
    if height is None or width is None or channels is None:
        return False
    return min(channels, layer.filters) >= least and height >= _LEAST_ROWS and height * width >= _LEAST_PLACES


def _only(flat: Flat, call: Call) -> Call | None:
    """The one call that takes its result, if nothing else does."""
    readers = flat.consumers.get(call.outputs[0], ())
    return readers[0] if len(readers) == 1 and call.outputs[0] not in flat.outputs else None


def _normalises(call: Call, conv: Call) -> bool:
    axis = space(conv.operation.data_format)[1]
    taken = all(value is None or value is False for value in call.kwargs.values())
    return call.kind == "layers.BatchNormalization" and taken and call.operation.axis in (axis, axis - 4)


def _is_relu(call: Call) -> bool:
    if len(call.inputs) != 1 or call.kwargs:
        return False
    if call.kind == "layers.Activation":
        return _name(call.operation.activation) in _FUSED
    return call.kind in ("layers.ReLU", "activations.ReLU", "ops.Relu", "ops.Relu6")


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", ""))


def _step(weigh: Weigh, part: str, taps: tuple[int, int, int], channels: int) -> Any:
    """Weighs each row and its neighbours by `taps`, channel by channel."""
    kernel = np.broadcast_to(np.array(taps, np.float64)[:, None, None, None], (3, 1, channels, 1))
    options = {"kernel_size": (3, 1), "padding": "same", "data_format": "channels_last"}
    return weigh.layer("DepthwiseConv2D", f"{part}_rows", [kernel], (None, None, None, channels), **options)


def _product(weigh: Weigh, part: str, value: Any, kernel: Array, bias: Array | None) -> Any:
    """The 1x3 convolution of rows of a map with one row of a kernel, (3, C, filters)."""
    _, channels, filters = kernel.shape
    options = {"filters": filters, "kernel_size": (1, 3), "padding": "same", "data_format": "channels_last"}
    held = [kernel[None]] if bias is None else [kernel[None], bias]
    return weigh.layer("Conv2D", part, held, (None, None, None, channels), **options)(value)
