"""Parts of tensors: splitting, slicing, gathering, padding, sorting, and one-hot vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import axis_of, flag, integer, integers, layout, number, operand, rank_of, text
from converters.lambdas.rules.sizes import Size, equal, own_sizes, sizes_of
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Shape, Sizes, Tensor, Value, describe


class TopK(NamedTuple):
    """What top_k gives; its parts have names."""

    values: Value
    indices: Value


def _key(axis: int, part: Any) -> tuple[Any, ...]:
    return (*[slice(None)] * axis, part)


def _cut(builder: Builder, tensor: Tensor | np.ndarray, key: tuple[Any, ...]) -> Value:
    return builder.index(tensor, key) if isinstance(tensor, Tensor) else np.asarray(tensor[key])


@rule("tf.split (value: x, num_or_size_splits: parts, axis=0, num: _=None, name: _=None, split_dim: axis=0)")
def split(builder: Builder, x: Value, parts: Value, axis: Value) -> Value:
    if isinstance(axis, Tensor) or isinstance(parts, Tensor):
        builder.refuse("it calls tf.split with the axis first, as before TensorFlow 1.0")
    tensor = operand(builder, x)
    place = axis_of(axis, rank_of(tensor))
    if not isinstance(parts, list | tuple) and np.ndim(parts) == 0:
        return _split_evenly(builder, tensor, integer(parts, "number of parts"), place)
    sizes, total = list(integers(parts, "sizes of parts")), tensor.shape[place]
    if -1 in sizes and total is not None:
        sizes[sizes.index(-1)] = total - sum(sizes) - 1
    if (
        not sizes
        or any(size < 0 for size in sizes[:-1])
        or sizes[-1] < -1
        or (total is not None and sum(sizes) != total)
    ):
        builder.refuse(f"it splits {describe(tensor)} along axis {place} into parts of {tuple(sizes)}")
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [
        _cut(builder, tensor, _key(place, slice(start, None if size == -1 else start + size)))
        for start, size in zip(starts, sizes, strict=True)
    ]


def _split_evenly(builder: Builder, tensor: Tensor | np.ndarray, count: int, axis: int) -> Value:
    size = tensor.shape[axis]
    if count < 1 or count > builder.limits.operations or (size is not None and size % count):
        builder.refuse(f"it splits {describe(tensor)} along axis {axis} into {count} parts")
    return builder.op("split", tensor, count, axis=axis)


@rule("ops.split (x, indices_or_sections: parts, axis=0)", "np.split (ary: x, indices_or_sections: parts, axis=0)")
def split_at(builder: Builder, x: Value, parts: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    place = axis_of(axis, rank_of(tensor))
    if not isinstance(parts, list | tuple) and np.ndim(parts) == 0:
        return _split_evenly(builder, tensor, integer(parts, "number of parts"), place)
    indices = integers(parts, "places to split at")
    total = tensor.shape[place]
    if list(indices) != sorted(indices) or (
        indices and (indices[0] < 0 or (total is not None and indices[-1] > total))
    ):
        builder.refuse(f"it splits {describe(tensor)} along axis {place} at {indices}")
    bounds = zip([0, *indices], [*indices, None], strict=True)
    return [_cut(builder, tensor, _key(place, slice(start, stop))) for start, stop in bounds]


@rule(
    "tf.unstack tf.unpack (value: x, num: count=None, axis=0, name: _=None)", "ops.unstack (x, num: count=None, axis=0)"
)
def unstack(builder: Builder, x: Value, count: Value, axis: Value) -> Value:
    if isinstance(x, Shape):
        return list(x)
    tensor = operand(builder, x)
    place = axis_of(axis, rank_of(tensor))
    size = tensor.shape[place]
    wanted = size if count is None else integer(count, "number of parts")
    if wanted is None or (size is not None and size != wanted) or wanted > builder.limits.operations:
        builder.refuse(f"it takes {describe(tensor)} apart along axis {place} into {describe(wanted)} parts")
    return [_cut(builder, tensor, _key(place, index)) for index in range(wanted)]


@rule("tf.slice (input_: x, begin, size, name: _=None)", "K.slice (x, start: begin, size)")
@rule("ops.slice (inputs: x, start_indices: begin, shape: size)")
def cut(builder: Builder, x: Value, begin: Value, size: Value) -> Value:
    tensor = operand(builder, x)
    starts, counts = integers(begin, "begin"), sizes_of(size, "size")
    if len(starts) != rank_of(tensor) or len(counts) != rank_of(tensor):
        builder.refuse(f"it slices {describe(tensor)} by {len(starts)} begins and {len(counts)} sizes")
    key = []
    for axis, (start, count) in enumerate(zip(starts, counts, strict=True)):
        total = tensor.shape[axis]
        whole = _is_size(tensor, axis, count) and start == 0
        stop = None if whole or count == -1 else start + integer(count, "size")
        last = start if stop is None else stop
        if start < 0 or last < start or (total is not None and last > total):
            builder.refuse(f"it slices axis {axis} of {describe(tensor)} from {start} by {describe(count)}")
        key.append(slice(start or None, stop))
    return _cut(builder, tensor, tuple(key))


def _is_size(tensor: Tensor | np.ndarray, axis: int, size: Size) -> bool:
    """Whether this is the whole size of the axis."""
    return equal(own_sizes(tensor)[axis] if isinstance(tensor, Tensor) else tensor.shape[axis], size)


@rule(
    "tf.strided_slice (input_: x, begin, end, strides=None, begin_mask=0, end_mask=0, ellipsis_mask: default=0, "
    "new_axis_mask: default=0, shrink_axis_mask=0, var: default=None, name: _=None)"
)
def strided(builder: Builder, x: Value, begin: Value, end: Value, strides: Value, **masks: Value) -> Value:
    tensor = operand(builder, x)
    starts, stops = integers(begin, "begin"), sizes_of(end, "end")
    steps = [1] * len(starts) if strides is None else integers(strides, "strides")
    bits = {name: integer(mask, name) for name, mask in masks.items()}
    if not len(starts) == len(stops) == len(steps) <= rank_of(tensor) or 0 in steps:
        builder.refuse(f"it slices {describe(tensor)} from {starts} by {tuple(steps)}")
    key: list[Any] = []
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        if bits["shrink_axis_mask"] >> axis & 1:
            key.append(start)
            continue
        whole = bits["end_mask"] >> axis & 1 or (
            step > 0 and isinstance(stop, OpenSize) and _is_size(tensor, axis, stop)
        )
        last = None if whole else integer(stop, "end")
        key.append(slice(None if bits["begin_mask"] >> axis & 1 else start, last, None if step == 1 else step))
    return _cut(builder, tensor, tuple(key))


@rule("ops.take (x, indices, axis=None)", "np.take (a: x, indices, axis=None)")
def take(builder: Builder, x: Value, indices: Value, axis: Value) -> Value:
    tensor, places = operand(builder, x), operand(builder, indices)
    if axis is None:
        tensor = builder.op("reshape", tensor, (-1,))
    size = tensor.shape[axis_of(0 if axis is None else axis, rank_of(tensor))]
    if isinstance(places, np.ndarray) and size is not None and "int" in str(places.dtype):
        places = np.where(places < 0, places + size, places)
    return gather(builder, tensor, places, axis)


@rule("K.gather (reference: x, indices)")
def gather(builder: Builder, x: Value, indices: Value, axis: Value = 0) -> Value:
    if isinstance(x, Shape):
        chosen = [x[axis_of(index, len(x), "index")] for index in integers(indices, "indices")]
        return Sizes(chosen) if np.ndim(indices) else chosen[0]
    tensor, places = operand(builder, x), operand(builder, indices)
    place = axis_of(0 if axis is None else axis, rank_of(tensor))
    if "int" not in str(places.dtype):
        builder.refuse(f"it takes items by indices of {places.dtype}")
    size = tensor.shape[place]
    if not isinstance(places, Tensor) and places.size:
        low, high = int(places.min()), int(places.max())
        if low < 0 or (size is not None and high >= size):
            builder.refuse(f"it takes items {low} to {high} of {describe(tensor)} along axis {place}")
        if places.ndim == 0:
            return _cut(builder, tensor, _key(place, low))
    return builder.op("take", tensor, places, axis=place)


@rule("ops.take_along_axis np.take_along_axis (x, indices, axis=None)")
def take_along_axis(builder: Builder, x: Value, indices: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    place = None if axis is None else axis_of(axis, rank_of(tensor))
    return builder.op("take_along_axis", tensor, operand(builder, indices), axis=place)


@rule("tf.pad (tensor: x, paddings, mode='CONSTANT', *, constant_values: fill=0, name: _=None)")
@rule("ops.pad np.pad (x, pad_width: paddings, mode='constant', constant_values: fill=None)")
def pad(builder: Builder, x: Value, paddings: Value, mode: Value, fill: Value) -> Value:
    tensor, kind = operand(builder, x), text(mode, "mode").lower()
    if kind not in ("constant", "reflect", "symmetric"):
        builder.refuse(f"its mode is {mode!r}, which is not known")
    if isinstance(paddings, int):
        paddings = [[paddings, paddings]] * rank_of(tensor)
    rows = paddings.tolist() if isinstance(paddings, np.ndarray) else paddings
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list | tuple) and len(row) == 2 for row in rows):
        builder.refuse(f"its paddings are {describe(paddings)}, where pairs of numbers are needed")
    pairs = [integers(row, "padding") for row in rows]
    pairs = pairs * rank_of(tensor) if len(pairs) == 1 else pairs
    return _pad(builder, tensor, pairs, kind, 0.0 if fill is None else number(fill, "constant_values"))


def _pad(
    builder: Builder,
    tensor: Tensor | np.ndarray,
    pairs: Sequence[Sequence[int]],
    mode: str = "constant",
    fill: float = 0.0,
) -> Value:
    if len(pairs) != rank_of(tensor) or any(each < 0 for pair in pairs for each in pair):
        builder.refuse(f"it pads {describe(tensor)} by {tuple(pairs)}")
    for size, pair in zip(tensor.shape, pairs, strict=True):
        if mode != "constant" and size is not None and max(pair) > size - (mode == "reflect"):
            builder.refuse(f"it pads {describe(tensor)} by {tuple(pairs)} of itself ({mode})")
    width = tuple(tuple(pair) for pair in pairs)
    if fill == 0 or mode != "constant":
        return builder.op("pad", tensor, width, mode=mode)
    if isinstance(fill, float) and "float" not in str(tensor.dtype):
        builder.refuse(f"it pads {tensor.dtype} with {fill}")
    return builder.op("pad", tensor, width, mode=mode, constant_values=fill)


def _pairs(value: Value, count: int) -> list[tuple[int, ...]]:
    pairs = [integers(pair, "padding") for pair in value] if isinstance(value, list | tuple) else []
    return pairs if len(pairs) == count and all(len(pair) == 2 for pair in pairs) else []


@rule("K.temporal_padding (x, padding=(1, 1))")
def temporal_padding(builder: Builder, x: Value, padding: Value) -> Value:
    return _pad(builder, operand(builder, x), [(0, 0), integers(padding, "padding"), (0, 0)])


@rule("K.spatial_2d_padding (x, padding=((1, 1), (1, 1)), data_format=None)")
@rule("K.spatial_3d_padding (x, padding=((1, 1), (1, 1), (1, 1)), data_format=None)")
def spatial_padding(builder: Builder, x: Value, padding: Value, data_format: Value) -> Value:
    tensor = operand(builder, x)
    pairs = _pairs(padding, rank_of(tensor) - 2)
    if not pairs:
        builder.refuse(
            f"its padding is {describe(padding)}, where a pair for each of its {rank_of(tensor) - 2} axes is needed"
        )
    last = layout(builder, data_format) == "channels_last"
    return _pad(builder, tensor, [(0, 0), *pairs, (0, 0)] if last else [(0, 0), (0, 0), *pairs])


@rule("K.one_hot (indices: x, num_classes: count)", "ops.one_hot (x, num_classes: count, axis=-1, dtype=None)")
@rule(
    "tf.one_hot (indices: x, depth: count, on_value: on=None, off_value: off=None, axis=None, dtype=None, name: _=None)"
)
def one_hot(builder: Builder, x: Value, count: Value, axis: Value = -1, dtype: Value = None, **values: Value) -> Value:
    tensor = operand(builder, x)
    if "int" not in str(tensor.dtype):
        builder.refuse(f"it makes one-hot vectors of {tensor.dtype}, where integers are needed")
    on, off = (1.0 if values.get("on") is None else values["on"], 0.0 if values.get("off") is None else values["off"])
    for name, given in (("on", on), ("off", off)):
        if not isinstance(given, float):
            builder.refuse(f"its {name}_value is {describe(given)}, where a fraction is needed")
    place = axis_of(-1 if axis is None else axis, rank_of(tensor) + 1)
    classes = integer(count, "number of classes")
    if classes < 1:
        builder.refuse(f"it makes one-hot vectors of {classes} classes")
    wanted = "float32" if dtype is None else dtype_of(dtype)
    last = -1 if place == rank_of(tensor) else place
    made = builder.op("one_hot", tensor, classes, axis=last, dtype=wanted)
    if (on, off) == (1.0, 0.0):
        return made
    if "float" not in wanted:
        builder.refuse(f"its on_value and off_value are fractions, and its dtype is {wanted}")
    return builder.op("where", builder.op("greater", made, 0.5), on, off)


@rule("tf.nn.top_k tf.math.top_k (input: x, k=1, sorted: ordered=True, *, name: _=None)")
@rule("ops.top_k (x, k, sorted: ordered=True)")
def top_k(builder: Builder, x: Value, k: Value, ordered: Value) -> Value:
    tensor, count = operand(builder, x), integer(k, "k")
    if not flag(ordered, "sorted"):
        builder.refuse("it takes the largest in no defined order (sorted=False)")
    size = tensor.shape[-1] if rank_of(tensor) else 0
    if count < 1 or (size is not None and count > size):
        builder.refuse(f"it takes the {count} largest of {describe(tensor)}")
    return TopK(*builder.op("top_k", tensor, count))


@rule("tf.sort (values: x, axis=-1, direction='ASCENDING', name: _=None)", "ops.sort (x, axis=-1)")
def sort(builder: Builder, x: Value, axis: Value, direction: Value = "ASCENDING") -> Value:
    tensor = operand(builder, x)
    place = axis_of(axis, rank_of(tensor))
    made = builder.op("sort", tensor, axis=place)
    return builder.op("flip", made, axis=(place,)) if _descending(builder, direction) else made


@rule(
    "tf.argsort (values: x, axis=-1, direction='ASCENDING', stable: _=False, name: _=None)", "ops.argsort (x, axis=-1)"
)
def argsort(builder: Builder, x: Value, axis: Value, direction: Value = "ASCENDING") -> Value:
    tensor = operand(builder, x)
    if _descending(builder, direction):
        if "float" not in str(tensor.dtype):
            builder.refuse(f"it sorts {tensor.dtype} in descending order")
        tensor = builder.op("negative", tensor)  # reversed indices would order equal numbers the other way
    return builder.op("argsort", tensor, axis=axis_of(axis, rank_of(tensor)))


def _descending(builder: Builder, direction: Value) -> bool:
    if text(direction, "direction") not in ("ASCENDING", "DESCENDING"):
        builder.refuse(f"its direction is {describe(direction)}, which is not known")
    return bool(direction == "DESCENDING")


@rule("tf.sequence_mask (lengths: x, maxlen: count=None, dtype='bool', name: _=None)")
def sequence_mask(builder: Builder, x: Value, count: Value, dtype: Value) -> Value:
    tensor = operand(builder, x)
    if count is None or str(tensor.dtype) not in ("int32", "int64"):
        builder.refuse("it makes a mask as long as the largest number, or from what is no integer")
    length = integer(count, "maxlen")
    builder.check_size([length])
    made = builder.op("less", np.arange(length, dtype=str(tensor.dtype)), builder.op("expand_dims", tensor, -1))
    return made if dtype_of(dtype) == "bool" else builder.op("cast", made, dtype_of(dtype))
