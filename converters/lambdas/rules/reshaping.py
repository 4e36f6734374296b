"""Reshaping, flattening, repeating and broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, integer, integers, operand, rank_of
from converters.lambdas.rules.sizes import Size, equal, measured, own_sizes, sizes_of, spread
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Sizes, Tensor, Value, describe

__all__ = ["insert_axes", "reshape"]


@rule("K.reshape (x, shape)", "tf.reshape (tensor: x, shape, name: _=None)", "ops.reshape (x, newshape: shape)")
@rule("np.reshape (a: x, newshape: shape)")
def reshape(builder: Builder, x: Value, shape: Value) -> Value:
    if isinstance(x, OpenSize | Sizes):
        wanted = sizes_of(shape, "shape")
        if wanted in ([-1], [1 if isinstance(x, OpenSize) else len(x)]):
            return Sizes([x] if isinstance(x, OpenSize) else x)
    tensor, sizes = operand(builder, x), sizes_of(shape, "shape")
    if sizes.count(-1) > 1 or any(isinstance(size, int) and size < -1 for size in sizes):
        builder.refuse(f"it reshapes to {_shown(sizes)}")
    unknown = _unknown(sizes)
    written = all(isinstance(size, int) for size in sizes)
    if unknown and (0 in sizes or not (written or isinstance(tensor, Tensor))):
        builder.refuse(f"it reshapes {describe(tensor)} to {_shown(sizes)}")
    if written or not isinstance(tensor, Tensor):
        return builder.op("reshape", tensor, tuple(sizes))
    trials = _trials(builder, tensor, sizes)
    if len(unknown) > 1 and trials is not None:
        for axis in unknown:
            found = {trial[axis] for trial in trials}
            sizes[axis] = found.pop() if len(found) == 1 else sizes[axis]
        unknown = _unknown(sizes)
    target = tuple(-1 if axis in unknown else size for axis, size in enumerate(sizes))
    if len(unknown) <= 1:  # the sizes around it leave it no choice
        return builder.op("reshape", tensor, target)
    kept = trials is not None and tensor.shape[:1] == (None,) and all(trial[0] == trial[-1] for trial in trials)
    if len(unknown) > 2 or unknown[0] != 0 or not kept:
        builder.refuse(
            f"it reshapes {describe(tensor)} to {_shown(sizes)}, and more than one of these sizes is known only when "
            "it runs"
        )
    return _keep_batch(builder, tensor, target[1:])


def _unknown(sizes: Sequence[Size]) -> list[int]:
    return [axis for axis, size in enumerate(sizes) if not isinstance(size, int) or size == -1]


def _shown(sizes: Sequence[Size]) -> str:
    return f"({', '.join('?' if isinstance(size, OpenSize) else str(size) for size in sizes)})"


def _trials(builder: Builder, tensor: Tensor, sizes: Sequence[Size]) -> list[list[int]] | None:
    """The shape in numbers, and the tensor's first size, in several trials; None where that is not to be known."""
    if None in sizes:
        return None
    own = own_sizes(tensor)
    numbers = measured([*own, *sizes])
    if numbers is None:
        return None
    found, fits = [], []
    for number in numbers:
        total, wanted = math.prod(number[: len(own)]), number[len(own) :]
        known = math.prod(size for size in wanted if size != -1)
        fits.append(total % known == 0 if -1 in wanted else total == known)
        found.append([*(total // known if size == -1 else size for size in wanted), *number[: len(own)][:1]])
    if -1 not in sizes and not any(fits):
        builder.refuse(f"it reshapes {describe(tensor)} to {_shown(sizes)}, which has another number of elements")
    return found if all(fits) else None


def _keep_batch(builder: Builder, tensor: Tensor, rest: tuple[Size, ...]) -> Tensor:
    import keras

    made: Tensor = builder.layer(
        keras.layers.Reshape(rest), tensor, text=f"keras.layers.Reshape({rest})({tensor.text})"
    )
    return made


@rule("K.flatten ops.ravel (x)", "np.ravel (a: x)")
def flatten(builder: Builder, x: Value) -> Value:
    return builder.op("reshape", operand(builder, x), (-1,))


@rule("K.batch_flatten (x)", "tf.layers.flatten (inputs: x, name: _=None, data_format: default='channels_last')")
def batch_flatten(builder: Builder, x: Value) -> Value:
    tensor = operand(builder, x)
    if rank_of(tensor) == 0:
        builder.refuse("it flattens a single number")
    rest = tensor.shape[1:]
    if None not in rest:
        size = math.prod(each for each in rest if each is not None)
        if size == 0:
            builder.refuse(f"it flattens {describe(tensor)}")
        return builder.op("reshape", tensor, (-1, size))
    assert isinstance(tensor, Tensor)
    return _keep_batch(builder, tensor, (-1,))


def insert_axes(builder: Builder, tensor: Tensor | np.ndarray, axes: Sequence[int]) -> Tensor | np.ndarray:
    """New axes of size 1, at these places in the result."""
    rank = rank_of(tensor) + len(axes)
    places = sorted(axis_of(axis, rank) for axis in axes)
    if len({*places}) != len(places):
        builder.refuse(f"it makes one of the axes {places} twice")
    for place in places:
        tensor = builder.op("expand_dims", tensor, place)
    return tensor


@rule("K.tile (x, n: times)", "tf.tile (input: x, multiples: times, name: _=None)")
def tile(builder: Builder, x: Value, times: Value) -> Value:
    tensor = operand(builder, x)
    counts = sizes_of(times, "number of repetitions")
    if len(counts) != rank_of(tensor):
        builder.refuse(f"it repeats {describe(tensor)} along {len(counts)} axes")
    return _tile(builder, tensor, counts)


@rule("ops.tile (x, repeats: times)", "np.tile (A: x, reps: times)")
def tile_any(builder: Builder, x: Value, times: Value) -> Value:
    tensor = operand(builder, x)
    counts = sizes_of(times, "number of repetitions")
    missing = rank_of(tensor) - len(counts)
    if missing < 0:
        tensor = insert_axes(builder, tensor, list(range(-missing)))
    return _tile(builder, tensor, [1] * missing + counts)


def _tile(builder: Builder, tensor: Tensor | np.ndarray, counts: Sequence[Size]) -> Value:
    if None in counts or any(isinstance(count, int) and count < 0 for count in counts):
        builder.refuse(f"it repeats {describe(tensor)} {_shown(counts)} times")
    whole = tuple(1 if isinstance(count, OpenSize) else count for count in counts)
    if any(count != 1 for count in whole):
        tensor = builder.op("tile", tensor, whole)
    if all(isinstance(count, int) for count in counts):
        return tensor
    own = own_sizes(tensor) if isinstance(tensor, Tensor) else list(tensor.shape)
    for axis, count in enumerate(counts):
        if isinstance(count, OpenSize) and not equal(own[axis], 1):
            builder.refuse(
                f"it repeats axis {axis} of {describe(tensor)} a number of times that is known only when it runs"
            )
    return spread(
        builder, tensor, [count if isinstance(count, OpenSize) else own[axis] for axis, count in enumerate(counts)]
    )


@rule("K.repeat (x, n: times)")
def repeat_vector(builder: Builder, x: Value, times: Value) -> Value:
    tensor = operand(builder, x)
    if rank_of(tensor) != 2:
        builder.refuse(f"it repeats {describe(tensor)}, where a tensor of two axes is needed")
    counts = sizes_of(times, "number of repetitions")
    return _tile(builder, builder.op("expand_dims", tensor, 1), [1, *counts, 1])


@rule("K.repeat_elements (x, rep: times, axis)")
def repeat_elements(builder: Builder, x: Value, times: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    place = axis_of(axis, rank_of(tensor))
    if integer(axis, "axis") < 0 and tensor.shape[place] is None:
        builder.refuse(f"it repeats the axis {axis} of {describe(tensor)}, which Keras gets wrong for an open size")
    return _repeat(builder, tensor, integer(times, "number of repetitions"), place)


@rule("tf.repeat (input: x, repeats: times, axis=None, name: _=None)", "np.repeat (a: x, repeats: times, axis=None)")
@rule("ops.repeat (x, repeats: times, axis=None)")
def repeat(builder: Builder, x: Value, times: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    counts = integers(times, "number of repetitions")
    place = None if axis is None else axis_of(axis, rank_of(tensor))
    if place is None:
        tensor, place = builder.op("reshape", tensor, (-1,)), 0
    if len(counts) == 1:
        return _repeat(builder, tensor, counts[0], place)
    if len(counts) != tensor.shape[place] or any(count < 0 for count in counts):
        builder.refuse(f"it repeats {describe(tensor)} along axis {place} by {len(counts)} numbers")
    builder.check_size([sum(counts)])
    chosen = [index for index, count in enumerate(counts) for _ in range(count)]
    return builder.op("take", tensor, np.asarray(chosen, "int32"), axis=place)


def _repeat(builder: Builder, tensor: Tensor | np.ndarray, times: int, axis: int) -> Value:
    if times < 1:
        builder.refuse(f"it repeats {describe(tensor)} {times} times")
    return builder.op("repeat", tensor, times, axis=axis) if times > 1 else tensor


@rule("tf.broadcast_to (input: x, shape, name: _=None)", "ops.broadcast_to np.broadcast_to (x, shape)")
def broadcast_to(builder: Builder, x: Value, shape: Value) -> Value:
    return spread(builder, operand(builder, x), sizes_of(shape, "shape"))
