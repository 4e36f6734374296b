"""Knows the spatial convolution of a lowered block again, which gives neighbouring columns as channels (`toeplitz`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.deploy.algebra import Axis, Conv, Derived, Group, Half, Map, Pooled, View, Weights
from converters.deploy.formula import Array
from converters.deploy.toeplitz import Blocking, blocked_kernel

__all__ = ["laid_out"]


def laid_out(layer: Any, view: View) -> View | None:
    """What a Conv2D gives for a pooled map in groups of columns, or for a map whose mean it is in such groups; None if
    it is neither."""
    if layer.data_format != "channels_last" or len(view.layout) != 4 or any(each != 1 for each in layer.dilation_rate):
        return None
    rows, columns, inner = view.layout[1:]
    if len(rows) != 1 or not isinstance(rows[0].label, int):
        return None
    if isinstance(view.value, Map):
        return _mean(layer, view, columns, inner)
    width = _column_axis((*columns, *inner))
    if width is None or width.size is None or not isinstance(view.value, Pooled) or layer.padding != "same":
        return None
    kernel = np.asarray(layer.kernel, np.float64)
    size, _, group, block = kernel.shape
    if layer.strides[0] != 1 or layer.strides[1] * group != block or _size(inner) != group or width.size % block:
        return None
    if block == 1:
        return None
    base = _base(kernel, Blocking(block, group), width.size)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else None
    if base is None or (bias is not None and not (bias == bias[0]).all()):
        return None
    # Only some kernels are laid out so: it keeps its own values, whatever is asked of other weights.
    weights = Weights(Derived(lambda values: base), None if bias is None else Derived(lambda values: bias[:1]))
    assert isinstance(rows[0].label, int)
    assert isinstance(width.label, int)
    if rows[0].label > width.label:
        return None
    made = Conv(view.value, weights, size, (rows[0].label, width.label))
    last = (width,) if block == width.size else (Axis(Half(width.label, "%"), block),)
    before = () if block == width.size else (Axis(Half(width.label, "/"), width.size // block),)
    return View(made, (*view.layout[:2], before, last))


def _mean(layer: Any, view: View, columns: Group, inner: Group) -> View | None:
    """A 1x1 convolution that gives the mean over the channels, in groups of columns."""
    if len(inner) != 2 or _column_axis((*columns, inner[0])) is None or layer.use_bias:
        return None
    group, channels = (axis.size or 0 for axis in inner)
    kernel = np.asarray(layer.kernel, np.float32)
    mean = np.kron(np.eye(group), np.full((channels, 1), 1 / channels)).astype(np.float32)[None, None]
    if set(layer.strides) != {1} or kernel.shape != mean.shape or not (kernel == mean).all():
        return None
    return View(Pooled("mean", frozenset({inner[1].label})), (*view.layout[:3], inner[:1]))


def _column_axis(axes: Group) -> Axis | None:
    """The axis of the map that these are, whole or as its two halves."""
    if len(axes) == 1 and isinstance(axes[0].label, int):
        return axes[0]
    if len(axes) != 2:
        return None
    (slow, groups), (fast, group) = axes
    if not isinstance(slow, Half) or slow.part != "/" or fast != Half(slow.axis, "%"):
        return None
    return Axis(slow.axis, (groups or 0) * (group or 0))


def _size(group: Group) -> int | None:
    return 1 if not group else group[0].size if len(group) == 1 else None


def _base(kernel: Array, blocking: Blocking, width: int) -> Array | None:
    """The kernel (k, k, 1, 1) that is laid out as `kernel`; None if none is."""
    size, groups, group, block = kernel.shape
    left, right = (size - 1) // 2, size // 2
    lead = 0 if block == width else -(-max(left, right) // group)
    if groups != block // group + 2 * lead:
        return None
    base = np.zeros((size, size, 1, 1))
    for tap in range(size):
        output = max(0, left - tap) if lead == 0 else 0  # one that reads this tap
        column = output - left + tap + lead * group
        if output < block and 0 <= column < groups * group:
            base[:, tap, 0, 0] = kernel[:, column // group, column % group, output]
    return base if np.array_equal(blocked_kernel(base, blocking, width), kernel) else None
