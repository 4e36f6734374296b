"""Shapes of tensors, and what changes the axes but no number: joining, transposing, turning round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, integer, integers, operand, rank_of, sequence
from converters.lambdas.rules.reshaping import insert_axes
from converters.lambdas.rules.sizes import equal, own_sizes, sizes_of, vector
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Shape, Sizes, Tensor, Value, describe


@rule("K.shape (x)", "tf.shape (input: x, out_type: _=None, name: _=None)")
def shape(builder: Builder, x: Value) -> Value:
    if isinstance(x, Shape):
        return Sizes([len(x)])
    tensor = operand(builder, x)
    return Sizes(own_sizes(tensor) if isinstance(tensor, Tensor) else tensor.shape)


@rule("ops.shape (x)")
def shape_tuple(builder: Builder, x: Value) -> Value:
    return Shape(shape(builder, x))


@rule("K.int_shape (x)", "np.shape (a: x)")
def static_shape(builder: Builder, x: Value) -> Value:
    return Shape(operand(builder, x).shape)


@rule("K.ndim ops.ndim (x)", "tf.rank (input: x, name: _=None)", "np.ndim (a: x)")
def rank(builder: Builder, x: Value) -> Value:
    return 1 if isinstance(x, Shape) else rank_of(operand(builder, x))


@rule(
    "tf.size (input: x, out_type: _=None, name: _=None)", "K.size (x, name: _=None)", "ops.size (x)", "np.size (a: x)"
)
def size(builder: Builder, x: Value) -> Value:
    if isinstance(x, Shape):
        return len(x)
    tensor = operand(builder, x)
    product: Value = 1
    for each in shape(builder, tensor):
        product = operators.binary(builder, "*", product, each)
    return product


def _tensors(builder: Builder, values: Value, strict: bool = True) -> list[Tensor | np.ndarray]:
    """What is joined: tensors of one dtype, and constants that take it."""
    parts = [operand(builder, each) for each in sequence(values, "first argument")]
    if not parts:
        builder.refuse("it joins an empty list")
    first = next((part for part in parts if isinstance(part, Tensor)), None)
    if first is None or not strict:
        return parts
    made = []
    for part in parts:
        if part.dtype != first.dtype and isinstance(part, Tensor):
            builder.refuse(f"it joins tensors of {first.dtype} and {part.dtype}, which TensorFlow refuses")
        made.append(part if isinstance(part, Tensor) else operators.like(builder, part, first))
    return made


@rule("K.concatenate (tensors: values, axis=-1)", "tf.concat (values, axis, name: _=None, concat_dim: axis=0)")
def concatenate(builder: Builder, values: Value, axis: Value) -> Value:
    if isinstance(axis, list | tuple | Tensor) and isinstance(values, int):
        builder.refuse("it calls tf.concat with the axis first, as before TensorFlow 1.0")
    if isinstance(values, Tensor):
        return values  # TensorFlow takes one tensor for a list of it
    joined = vector(sequence(values, "first argument"))
    if joined is not None:
        axis_of(axis, 1)
        return joined
    return _concatenate(builder, _tensors(builder, values), axis)


@rule("ops.concatenate (xs: values, axis=0)", "np.concatenate (arrays: values, axis=0)")
def concatenate_any(builder: Builder, values: Value, axis: Value) -> Value:
    return _concatenate(builder, _tensors(builder, values, strict=False), axis)


def _concatenate(builder: Builder, parts: Sequence[Tensor | np.ndarray], axis: Value) -> Value:
    return builder.op("concatenate", list(parts), axis=axis_of(axis, rank_of(parts[0])))


@rule(
    "K.stack (x: values, axis=0)", "tf.stack (values, axis=0, name: _=None)", "tf.pack (values, axis=0, name: _=None)"
)
def stack(builder: Builder, values: Value, axis: Value) -> Value:
    if isinstance(values, list | tuple) and any(isinstance(each, OpenSize) for each in values):
        axis_of(axis, 1)
        return vector([each if isinstance(each, OpenSize) else integer(each, "size") for each in values])
    return _stack(builder, _tensors(builder, values), axis)


@rule("ops.stack (x: values, axis=0)", "np.stack (arrays: values, axis=0)")
def stack_any(builder: Builder, values: Value, axis: Value) -> Value:
    return _stack(builder, _tensors(builder, values, strict=False), axis)


def _stack(builder: Builder, parts: Sequence[Tensor | np.ndarray], axis: Value) -> Value:
    return builder.op("stack", list(parts), axis=axis_of(axis, rank_of(parts[0]) + 1))


@rule("K.squeeze (x, axis)", "ops.squeeze (x, axis=None)", "np.squeeze (a: x, axis=None)")
@rule("tf.squeeze (input: x, axis=None, name: _=None, squeeze_dims: axis=None)")
def squeeze(builder: Builder, x: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    if axis is None or (isinstance(axis, list | tuple) and not axis):
        if None in tensor.shape:
            builder.refuse(f"it removes all axes of size 1 from {describe(tensor)}, and some sizes are not fixed")
        axis = [index for index, each in enumerate(tensor.shape) if each == 1]
    chosen = tuple(sorted({axis_of(each, rank_of(tensor)) for each in integers(axis, "axis")}))
    for each in chosen:
        if tensor.shape[each] != 1:
            builder.refuse(f"it removes axis {each} of {describe(tensor)}, which is not known to be of size 1")
    return builder.op("squeeze", tensor, axis=chosen) if chosen else tensor


@rule("K.expand_dims (x, axis=-1)", "ops.expand_dims (x, axis)", "np.expand_dims (a: x, axis)")
@rule("tf.expand_dims (input: x, axis=None, name: _=None, dim: axis=None)")
def expand_dims(builder: Builder, x: Value, axis: Value) -> Value:
    if isinstance(x, OpenSize):
        axis_of(axis, 1)
        return Sizes([x])
    return insert_axes(builder, operand(builder, x), integers(axis, "axis"))


@rule("K.permute_dimensions (x, pattern: perm)", "K.transpose (x)", "ops.transpose (x, axes: perm=None)")
@rule("tf.transpose (a: x, perm=None, *, conjugate: _=False, name: _=None)", "np.transpose (a: x, axes: perm=None)")
def transpose(builder: Builder, x: Value, perm: Value = None) -> Value:
    tensor = operand(builder, x)
    if perm is None:
        return builder.op("transpose", tensor)
    axes = tuple(axis_of(each, rank_of(tensor), "order of axes") for each in integers(perm, "order of axes"))
    if sorted(axes) != list(range(rank_of(tensor))):
        builder.refuse(f"its order of axes is {axes}, and the tensor has {rank_of(tensor)} axes")
    return builder.op("transpose", tensor, axes=axes)


@rule("ops.swapaxes (x, axis1: one, axis2: other)", "np.swapaxes (a: x, axis1: one, axis2: other)")
def swap_axes(builder: Builder, x: Value, one: Value, other: Value) -> Value:
    tensor = operand(builder, x)
    order = list(range(rank_of(tensor)))
    first, second = axis_of(one, len(order)), axis_of(other, len(order))
    order[first], order[second] = second, first
    return transpose(builder, tensor, order)


@rule("ops.moveaxis (x, source, destination)", "np.moveaxis (a: x, source, destination)")
def move_axes(builder: Builder, x: Value, source: Value, destination: Value) -> Value:
    tensor = operand(builder, x)
    moved = [axis_of(each, rank_of(tensor)) for each in integers(source, "source")]
    places = [axis_of(each, rank_of(tensor)) for each in integers(destination, "destination")]
    if len({*moved}) != len(moved) or len({*places}) != len(places) or len(moved) != len(places):
        builder.refuse(f"it moves the axes {moved} to {places}")
    order = [axis for axis in range(rank_of(tensor)) if axis not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return transpose(builder, tensor, order)


@rule("K.reverse (x, axes: axis)", "tf.reverse tf.reverse_v2 (tensor: x, axis, name: _=None)")
@rule("ops.flip (x, axis=None)", "np.flip (m: x, axis=None)")
def reverse(builder: Builder, x: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    every = range(rank_of(tensor)) if axis is None else integers(axis, "axis")
    axes = tuple(axis_of(each, rank_of(tensor)) for each in every)
    if len(set(axes)) != len(axes):
        builder.refuse(f"it reverses one of the axes {axes} twice")
    return builder.op("flip", tensor, axis=axes) if axes else tensor


@rule(
    "tf.roll (input: x, shift, axis, name: _=None)",
    "ops.roll (x, shift, axis=None)",
    "np.roll (a: x, shift, axis=None)",
)
def roll(builder: Builder, x: Value, shift: Value, axis: Value) -> Value:
    tensor = operand(builder, x)
    if axis is None:
        return builder.op("roll", tensor, integer(shift, "shift"))
    shifts = integers(shift, "shift")
    axes = [axis_of(each, rank_of(tensor)) for each in integers(axis, "axis")]
    if len(shifts) != len(axes):
        builder.refuse(f"it shifts {len(axes)} axes by {len(shifts)} numbers")
    for by, each in zip(shifts, axes, strict=True):
        tensor = builder.op("roll", tensor, by, axis=each)
    return tensor


@rule("K.identity (x, name: _=None)", "tf.identity (input: x, name: _=None)", "K.to_dense (tensor: x)")
def identity(builder: Builder, x: Value) -> Value:
    if builder.masks and isinstance(x, Tensor):
        return builder.op("copy", x)  # another tensor than the one it was, to which no mask is fastened
    return x if isinstance(x, Tensor | Sizes | OpenSize | int) else operand(builder, x)


@rule("tf.ensure_shape (x, shape: wanted, name: _=None)")
def ensure_shape(builder: Builder, x: Value, wanted: Value) -> Value:
    tensor = operand(builder, x)
    sizes = None if wanted is None else sizes_of(wanted, "shape")
    own = own_sizes(tensor) if isinstance(tensor, Tensor) else list(tensor.shape)
    if sizes is not None and (
        len(sizes) != len(own)
        or not all(said in (None, -1) or equal(mine, said) for mine, said in zip(own, sizes, strict=True))
    ):
        builder.refuse(f"it says that {describe(tensor)} is of another shape, which only running it would tell")
    return tensor


@rule("K.stop_gradient (variables: x)", "tf.stop_gradient (input: x, name: _=None)", "ops.stop_gradient (variable: x)")
def stop_gradient(builder: Builder, x: Value) -> Value:
    if isinstance(x, list | tuple) and any(isinstance(each, Tensor) for each in x):
        return [stop_gradient(builder, each) for each in x]
    return builder.op("stop_gradient", x) if isinstance(x, Tensor) else identity(builder, x)


@rule("tf.meshgrid (*values, indexing='xy', name: _=None)", "np.meshgrid (*values, indexing='xy')")
@rule("ops.meshgrid (*values, indexing='xy')")
def meshgrid(builder: Builder, values: Value, indexing: Value) -> Value:
    arrays = [builder.constant(each) for each in values]
    if indexing not in ("xy", "ij") or not all(array.ndim == 1 for array in arrays):
        builder.refuse(f"its indexing is {describe(indexing)}, or it is not given lists of numbers")
    builder.check_size([len(array) for array in arrays])
    builder.check_size([len(arrays)])
    return [np.asarray(array) for array in np.meshgrid(*arrays, indexing=indexing)]
