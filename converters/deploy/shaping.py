"""What operations that only move, pool, stack or repeat numbers make of a `View`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from converters.deploy.algebra import Axis, Map, Padded, Pooled, Stack, View
from converters.deploy.flat import Call

__all__ = ["RULES", "Rule", "keeps_fractions", "space"]

Rule = Callable[[Call, Sequence[Any]], View | None]
"""A call and its positional arguments, with a View for each tensor -> what it gives, or None."""


def space(data_format: str | None, rank: int = 4) -> tuple[tuple[int, ...], int]:
    """The spatial axes and the channel axis of a map in a layer's data format; Keras's own where that is None."""
    import keras

    last = (data_format or keras.config.image_data_format()) == "channels_last"
    return (tuple(range(1, rank - 1)), rank - 1) if last else (tuple(range(2, rank)), 1)


def _same(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    return view


def keeps_fractions(call: Call) -> bool:
    """Whether a Cast is from one floating type to another; integers have lost what stood behind the point."""
    return all(tensor.dtype.startswith(("float", "bfloat")) for tensor in (*call.inputs, *call.outputs))


def _cast(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    return view if keeps_fractions(call) else None


def _reshape(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    return view.reshape(call.outputs[0].shape)


def _flatten(call: Call, args: Sequence[Any]) -> View | None:
    """Of a vector only: a map channels first would be transposed too."""
    view: View = args[0]
    return view.reshape(call.outputs[0].shape) if sum(map(len, view.layout)) == 2 else None


def _permute_layer(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    return view.permute((0, *call.operation.dims))


def _transpose(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    axes = call.operation.axes
    return view.permute(tuple(reversed(range(len(view.layout)))) if axes is None else axes)


def _moveaxis(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    rank = len(view.layout)
    source = [axis % rank for axis in call.operation.source]
    target = [axis % rank for axis in call.operation.destination]
    order = [axis for axis in range(rank) if axis not in source]
    for to, axis in sorted(zip(target, source, strict=True)):
        order.insert(to, axis)
    return view.permute(order)


def _swapaxes(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    rank = len(view.layout)
    order = list(range(rank))
    one, other = call.operation.axis1 % rank, call.operation.axis2 % rank
    order[one], order[other] = order[other], order[one]
    return view.permute(order)


def _expand_dims(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    axis = call.operation.axis
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = len(view.layout) + len(axes)
    for each in sorted(axis % rank for axis in axes):
        view = view.insert(each)
    return view


def _squeeze(call: Call, args: Sequence[Any]) -> View | None:
    view: View | None = args[0]
    assert view is not None
    rank, axis = len(view.layout), call.operation.axis
    if axis is None:
        return view.reshape(call.outputs[0].shape)
    for each in sorted((one % rank for one in ([axis] if isinstance(axis, int) else axis)), reverse=True):
        view = view.drop(each) if view is not None else None
    return view


def _get_item(call: Call, args: Sequence[Any]) -> View | None:
    """`x[:, None, None, :]` and the like: whole slices, new axes, one piece of a stack, and 0 of an axis of size 1."""
    view: View | None = args[0]
    assert view is not None
    keys = list(args[1]) if isinstance(args[1], tuple) else [args[1]]
    if sum(key is Ellipsis for key in keys) > 1:
        return None
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    at = keys.index(Ellipsis)
    named = sum(key is not None and key is not Ellipsis for key in keys)
    keys[at : at + 1] = [slice(None)] * (len(view.layout) - named)
    axis = 0
    for key in keys:
        if view is None:
            return None
        if key is None:
            view = view.insert(axis)
        elif isinstance(key, int) and not isinstance(key, bool):
            view = view.pick(axis, key)
            continue
        elif not (isinstance(key, slice) and key in (slice(None), slice(0, None), slice(None, None, 1))):
            return None
        axis += 1
    return view


def _reduction(kind: str) -> Rule:
    def rule(call: Call, args: Sequence[Any]) -> View | None:
        view: View = args[0]
        axis = call.operation.axis
        weighted = len(call.args) > 1 or call.kwargs.get("weights") is not None
        if axis is None or weighted or getattr(call.operation, "initial", None) is not None:
            return None
        axes = [axis] if isinstance(axis, int) else list(axis)
        return view.reduce(kind, axes, bool(getattr(call.operation, "keepdims", False)))

    return rule


def _global(kind: str) -> Rule:
    def rule(call: Call, args: Sequence[Any]) -> View | None:
        view: View = args[0]
        if call.kwargs.get("mask") is not None:
            return None
        axes, _ = space(call.operation.data_format, len(view.layout))
        return view.reduce(kind, axes, bool(call.operation.keepdims))

    return rule


def _windows(kind: str) -> Rule:
    """Pooling by windows that each span an axis wholly, or are 1 wide."""

    def rule(call: Call, args: Sequence[Any]) -> View | None:
        view: View = args[0]
        operation, before, after = call.operation, call.inputs[0].shape, call.outputs[0].shape
        axes, _ = space(operation.data_format, len(view.layout))
        wanted = getattr(operation, "output_size", None)
        if wanted is not None:
            sizes = (wanted,) * len(axes) if isinstance(wanted, int) else tuple(wanted)
            whole = [axis for axis, size in zip(axes, sizes, strict=True) if size == 1]
        else:
            pool = operation.pool_size
            pool = (pool,) * len(axes) if isinstance(pool, int) else tuple(pool)
            whole = [axis for axis, size in zip(axes, pool, strict=True) if size == before[axis] and after[axis] == 1]
            if any(size != 1 for axis, size in zip(axes, pool, strict=True) if axis not in whole):
                return None
        if any(before[axis] != after[axis] for axis in axes if axis not in whole):
            return None
        return view.reduce(kind, whole, keepdims=True)

    return rule


def _concatenate(call: Call, args: Sequence[Any]) -> View | None:
    """Maps of one channel side by side become a stack; anything wider is not told apart."""
    views: list[View] = list(args[0]) if isinstance(args[0], list | tuple) else list(args)
    layout = views[0].layout
    axis = call.operation.axis % len(layout)
    if any(view.layout != layout for view in views):
        return None
    if axis == 0:  # behind one another in the batch
        return _stacked(views, ((Axis("p", len(views)), *layout[0]), *layout[1:]))
    if layout[axis]:
        return None
    return _stacked(views, (*layout[:axis], (Axis("p", len(views)),), *layout[axis + 1 :]))


def _stack(call: Call, args: Sequence[Any]) -> View | None:
    views: list[View] = list(args[0]) if isinstance(args[0], list | tuple) else list(args)
    layout = views[0].layout
    axis = call.operation.axis % (len(layout) + 1)
    if any(view.layout != layout for view in views):
        return None
    return _stacked(views, (*layout[:axis], (Axis("p", len(views)),), *layout[axis:]))


def _stacked(views: Sequence[View], layout: Any) -> View | None:
    if any(isinstance(view.value, Map | Stack) for view in views):
        return None
    return View(views[0].value if len(views) == 1 else Stack(tuple(view.value for view in views)), layout)


def _upsample(call: Call, args: Sequence[Any]) -> View | None:
    """A gate of one pixel, or of one channel, repeated to the size of the map."""
    view: View = args[0]
    if isinstance(view.value, Map | Pooled | Stack):
        return None
    axes, _ = space(call.operation.data_format)
    if any(view.layout[axis] for axis in axes):
        return None
    shape = call.outputs[0].shape
    return View(
        view.value,
        tuple((Axis("*", shape[axis]),) if axis in axes else group for axis, group in enumerate(view.layout)),
    )


def _broadcast(call: Call, args: Sequence[Any]) -> View | None:
    view: View = args[0]
    shape = call.outputs[0].shape
    if isinstance(view.value, Map | Pooled | Stack) or len(shape) != len(view.layout):
        return None
    return View(
        view.value,
        tuple(
            group or ((Axis("*", size),) if size != 1 else ()) for group, size in zip(view.layout, shape, strict=True)
        ),
    )


def _zero_padding(call: Call, args: Sequence[Any]) -> View | None:
    """Zeros around pooled maps, as stand in front of a `valid` convolution."""
    view: View = args[0]
    axes, _ = space(call.operation.data_format)
    (top, bottom), (left, right) = call.operation.padding
    if not isinstance(view.value, Stack | Pooled) or any(view.only(axis) is None for axis in axes):
        return None
    return view.of(Padded(view.value, ((top, bottom), (left, right))))


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        (
            *("layers.Dropout", "layers.SpatialDropout2D", "layers.SpatialDropout1D", "layers.AlphaDropout"),
            *("layers.GaussianNoise", "layers.GaussianDropout", "layers.ActivityRegularization", "layers.Identity"),
            *("ops.StopGradient", "ops.Identity", "ops.Copy"),
        ),
        _same,
    ),
    "ops.Cast": _cast,
    **dict.fromkeys(("layers.Reshape", "ops.Reshape"), _reshape),
    "layers.Flatten": _flatten,
    "layers.Permute": _permute_layer,
    "ops.Transpose": _transpose,
    "ops.Moveaxis": _moveaxis,
    "ops.Swapaxes": _swapaxes,
    "ops.ExpandDims": _expand_dims,
    "ops.Squeeze": _squeeze,
    "ops.GetItem": _get_item,
    **dict.fromkeys(("ops.Mean", "ops.Average"), _reduction("mean")),
    "ops.Sum": _reduction("sum"),
    **dict.fromkeys(("ops.Max", "ops.Amax"), _reduction("max")),
    **dict.fromkeys(("layers.GlobalAveragePooling2D", "layers.GlobalAveragePooling1D"), _global("mean")),
    **dict.fromkeys(("layers.GlobalMaxPooling2D", "layers.GlobalMaxPooling1D"), _global("max")),
    **dict.fromkeys(
        ("layers.AveragePooling2D", "layers.AdaptiveAveragePooling2D", "ops.AveragePool", "ops.AdaptiveAveragePool"),
        _windows("mean"),
    ),
    **dict.fromkeys(
        ("layers.MaxPooling2D", "layers.AdaptiveMaxPooling2D", "ops.MaxPool", "ops.AdaptiveMaxPool"), _windows("max")
    ),
    **dict.fromkeys(("layers.Concatenate", "ops.Concatenate"), _concatenate),
    "ops.Stack": _stack,
    "layers.UpSampling2D": _upsample,
    "ops.BroadcastTo": _broadcast,
    "layers.ZeroPadding2D": _zero_padding,
}
"""Noise and dropout do nothing at inference."""
