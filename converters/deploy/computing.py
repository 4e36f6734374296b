"""What operations that compute make of a `View`: products with weights, activations, sums and products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.deploy.algebra import (
    Act,
    Affine,
    Axis,
    Clip,
    Conv,
    Layout,
    Linear,
    Map,
    Norm,
    Own,
    Padded,
    Pooled,
    Product,
    Stack,
    Sum,
    Value,
    View,
    Weights,
)
from converters.deploy.blocked import laid_out
from converters.deploy.flat import Call
from converters.deploy.shaping import Rule, space

__all__ = ["RULES", "activation_name", "scaled"]


def _linear(view: View, axis: int, weights: Weights, units: int) -> View | None:
    """The product with a kernel over one axis of the tensor."""
    over = view.only(axis)
    if over is None or over.label == "p" or isinstance(view.value, Map):
        return None
    made: Value
    if isinstance(view.value, Stack):  # of each piece alike: one call of the MLP for both pooled vectors
        made = Stack(tuple(Linear(part, weights, over.label, units) for part in view.value.parts))
    else:
        made = Linear(view.value, weights, over.label, units)
    return View(made, (*view.layout[:axis], (Axis("f", units),), *view.layout[axis + 1 :]))


def _dense(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    layer, last = call.operation, len(view.layout) - 1
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return None
    weights = Weights(layer.kernel, layer.bias if layer.use_bias else None)
    if view.labels(last) <= {"p"} and layer.units == 1:
        return _finish(layer, _convolved(view, weights, 1, ((0, 0), (0, 0)), (tuple(range(1, last)), last)))
    return _finish(layer, _linear(view, last, weights, layer.units))


def _conv(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    layer, rank = call.operation, len(view.layout)
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False) or layer.groups != 1:
        return None
    made = laid_out(layer, view)
    if made is not None:
        return _finish(layer, made)
    if any(size != 1 for size in (*layer.strides, *layer.dilation_rate)):
        return None
    axes, channel = space(layer.data_format, rank)
    weights = Weights(layer.kernel, layer.bias if layer.use_bias else None)
    sides = set(layer.kernel_size)
    if sides == {1} and not view.labels(channel) <= {"p"}:
        return _finish(layer, _linear(view, channel, weights, layer.filters))
    if rank != 4 or len(sides) != 1 or layer.filters != 1:
        return None
    size = sides.pop()
    same = ((size - 1) // 2, size // 2)
    pads = {"same": (same, same), "valid": ((0, 0), (0, 0))}.get(layer.padding)
    return None if pads is None else _finish(layer, _convolved(view, weights, size, pads, (axes, channel)))


def _convolved(view: View, weights: Weights, size: int, pads: Any, place: tuple[tuple[int, ...], int]) -> View | None:
    """A convolution of pooled maps, which lie along the channel axis, to one map of the same size."""
    axes, channel = place
    value = view.value
    if isinstance(value, Padded):
        if pads != ((0, 0), (0, 0)):
            return None
        pads, value = value.pads, value.arg
    sides = [view.only(axis) for axis in axes]
    same = ((size - 1) // 2, size // 2)
    if pads != (same, same) or len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    expected = {"p"} if isinstance(value, Stack) else set()
    if not isinstance(value, Stack | Pooled) or view.labels(channel) != expected:
        return None
    first, second = sides[0].label, sides[1].label
    # A kernel over (width, height) is another one; nobody writes that.
    if not (isinstance(first, int) and isinstance(second, int) and first < second):
        return None
    made = Conv(value, weights, size, (first, second))
    return View(made, (*view.layout[:channel], (), *view.layout[channel + 1 :]))


def _finish(layer: Any, view: View | None) -> View | None:
    """The layer's own activation behind it."""
    return None if view is None else _activated(view, activation_name(layer.activation))


def _norm(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    layer = call.operation
    if call.kwargs.get("training") or call.kwargs.get("mask") is not None or view.layout[layer.axis]:
        return None
    return view.of(Norm(view.value, layer)) if isinstance(view.value, Conv) else None


def activation_name(function: Any) -> str | None:
    """`linear`, `relu`, `relu6`, `sigmoid`, `hard_sigmoid`; None for any other function."""
    import keras

    if function is None or function is keras.activations.linear:
        return "linear"
    for name in ("relu", "relu6", "sigmoid", "hard_sigmoid"):
        if function in (getattr(keras.activations, name), getattr(keras.ops, name)):
            return name
    return None


def _activated(view: View, kind: str | None) -> View | None:
    if kind is None or isinstance(view.value, Map | Padded):
        return None
    if isinstance(view.value, Stack):
        parts = [_activated(View(part, view.layout), kind) for part in view.value.parts]
        if any(part is None for part in parts):
            return None
        return view.of(Stack(tuple(part.value for part in parts if part is not None)))
    value = view.value
    if kind == "linear":
        return view
    if kind == "relu6":
        return view.of(Clip(0.0, 6.0, value))
    if kind == "hard_sigmoid":  # Keras 3's
        inner = scaled(value, 1 / 6, 0.5)
        return None if inner is None else view.of(Clip(0.0, 1.0, inner))
    if kind == "relu" and isinstance(value, Act) and value.kind == "relu":
        return view
    return view.of(Act(kind, value))


def _named(kind: str) -> Rule:
    return lambda call, args: _activated(args[0], kind)


def _activation_layer(call: Call, args: Sequence[Any]) -> View | None:
    return _activated(args[0], activation_name(call.operation.activation))


def _relu_layer(call: Call, args: Sequence[Any]) -> View | None:
    layer = call.operation
    if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6):
        return None
    return _activated(args[0], "relu" if layer.max_value is None else "relu6")


def _clip(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    low, high = _number(call.operation.x_min), _number(call.operation.x_max)
    if low is None or high is None or isinstance(view.value, Map | Stack | Padded):
        return None
    return view.of(Clip(low, high, view.value))


def scaled(value: Value, scale: float, shift: float) -> Value | None:
    """scale * value + shift, written so that a hard sigmoid always comes out as a Clip of an Affine."""
    if isinstance(value, Map | Stack | Padded):
        return None
    if isinstance(value, Affine):
        return scaled(value.arg, scale * value.scale, scale * value.shift + shift)
    if isinstance(value, Clip) and scale > 0:
        inner = scaled(value.arg, scale, shift)
        return None if inner is None else Clip(scale * value.low + shift, scale * value.high + shift, inner)
    if isinstance(value, Pooled) and shift == 0:
        return Pooled(value.kind, value.over, value.scale * scale)
    return value if (scale, shift) == (1.0, 0.0) else Affine(scale, shift, value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | View):
        return None
    if isinstance(value, int | float | np.number):
        return float(value)
    return float(value) if isinstance(value, np.ndarray) and value.size == 1 and value.ndim == 0 else None


def _terms(args: Sequence[Any]) -> list[Any]:
    return list(args[0]) if len(args) == 1 and isinstance(args[0], list | tuple) else list(args)


def _add(call: Call, args: Sequence[Any]) -> View | None:
    return _with_number(args, lambda value, number: scaled(value, 1.0, number), _sum)


def _multiply(call: Call, args: Sequence[Any]) -> View | None:
    return _with_number(args, lambda value, number: scaled(value, number, 0.0), product)


def _divide(call: Call, args: Sequence[Any]) -> View | None:
    number = _number(args[1])
    if not isinstance(args[0], View) or not number:
        return None
    value = scaled(args[0].value, 1 / number, 0.0)
    return None if value is None else args[0].of(value)


def _with_number(
    args: Sequence[Any], one: Callable[[Value, float], Value | None], many: Callable[[Sequence[View]], View | None]
) -> View | None:
    terms = _terms(args)
    views = [term for term in terms if isinstance(term, View)]
    if len(views) == len(terms):
        return many(views)
    numbers = [_number(term) for term in terms if not isinstance(term, View)]
    if len(views) != 1 or len(numbers) != 1 or numbers[0] is None:
        return None
    value = one(views[0].value, numbers[0])
    return None if value is None else views[0].of(value)


def _sum(views: Sequence[View]) -> View | None:
    if any(isinstance(view.value, Map | Stack | Padded) or view.layout != views[0].layout for view in views):
        return None
    terms: list[Value] = []
    for view in views:
        terms.extend(view.value.terms if isinstance(view.value, Sum) else [view.value])
    return views[0].of(Sum(tuple(terms)))


def product(views: Sequence[View]) -> View | None:
    """The product of gates, each broadcast to the others."""
    if any(isinstance(view.value, Map | Stack | Padded) for view in views):
        return None
    if len({len(view.layout) for view in views}) != 1:
        return None
    layout: Layout = ()
    for groups in zip(*(view.layout for view in views), strict=True):
        wide = {group for group in groups if group and group[0].label != "*"}
        if len(wide) > 1:
            return None
        layout = (*layout, wide.pop() if wide else max(groups, key=len))
    factors: list[Value] = []
    for view in views:
        factors.extend(view.value.factors if isinstance(view.value, Product) else [view.value])
    return View(factors[0] if len(factors) == 1 else Product(tuple(factors)), layout)


def _own_gate(call: Call, args: Sequence[Any]) -> View | None:
    """This package's ChannelAttention or SpatialAttention that gives its gate."""
    view: View = args[0]
    layer = call.operation
    axes, channel = space(layer.data_format)
    if layer.output_kind != "gate" or not isinstance(view.value, Map):
        return None
    place = [view.only(axis) for axis in (*axes, channel)]
    if any(axis is None for axis in place):
        return None
    labels = [axis.label for axis in place if axis is not None]
    if not all(isinstance(label, int) for label in labels) or labels[:2] != sorted(labels[:2], key=str):
        return None
    assert isinstance(labels[2], int)
    channels = call.kind.endswith("ChannelAttention")
    kept = (0, channel) if channels else (0, *axes)
    layout = [group if axis in kept else () for axis, group in enumerate(view.layout)]
    if channels:
        layout[channel] = (Axis("f", view.layout[channel][0].size),)
    return View(Own(layer, labels[2]), tuple(layout))


RULES: Final[Mapping[str, Rule]] = {
    "layers.Dense": _dense,
    **dict.fromkeys(("layers.Conv2D", "layers.Conv1D"), _conv),
    "layers.BatchNormalization": _norm,
    "layers.Activation": _activation_layer,
    **dict.fromkeys(("layers.ReLU", "activations.ReLU"), _relu_layer),
    "ops.Relu": _named("relu"),
    "ops.Relu6": _named("relu6"),
    "ops.Sigmoid": _named("sigmoid"),
    "ops.HardSigmoid": _named("hard_sigmoid"),
    "ops.Clip": _clip,
    **dict.fromkeys(("layers.Add", "ops.Add"), _add),
    **dict.fromkeys(("layers.Multiply", "ops.Multiply"), _multiply),
    **dict.fromkeys(("ops.Divide", "ops.TrueDivide"), _divide),
    **dict.fromkeys(("cbam_export>ChannelAttention", "cbam_export>SpatialAttention"), _own_gate),
}
