"""Products of matrices and tensors, and what is read off a matrix."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axes, axis_of, flag, floating, integer, operand, rank_of, shape_of, text
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Tensor, Value, describe

__all__ = ["Array", "as_floats", "batch_dot", "norm", "pair"]

Array = Tensor | np.ndarray


def pair(builder: Builder, x: Value, y: Value, rank: int = 0) -> tuple[Array, Array]:
    """Two operands of one kind of floats, a constant in the tensor's, of at least `rank` axes."""
    if isinstance(x, Tensor) != isinstance(y, Tensor):
        x, y = as_floats(builder, x, y), as_floats(builder, y, x)
    left, right = floating(builder, x), floating(builder, y)
    if str(left.dtype) != str(right.dtype):
        raise RefusedError(f"it multiplies tensors of {left.dtype} and {right.dtype}, which TensorFlow refuses")
    for each in (left, right):
        if rank_of(each) < rank:
            raise RefusedError(f"it multiplies a tensor of {rank_of(each)} axes, where {rank} are the least")
    return left, right


def as_floats(builder: Builder, value: Value, other: Value) -> Array:
    """A tensor as it is, a constant in the dtype of the tensor beside it."""
    if isinstance(value, Tensor):
        return value
    return np.asarray(builder.constant(value), str(other.dtype))


@rule(
    "tf.matmul tf.linalg.matmul (a, b, transpose_a=False, transpose_b=False, adjoint_a=False, adjoint_b=False,"
    " a_is_sparse: _=False, b_is_sparse: _=False, output_type: default=None, name: _=None)"
)
def matmul(builder: Builder, a: Value, b: Value, **flags: Value) -> Value:
    sides = []
    for name, side in zip("ab", pair(builder, a, b, 2), strict=True):
        # The adjoint of a real matrix is its transpose.
        turned = [flag(flags[f"{word}_{name}"], f"{word}_{name}") for word in ("transpose", "adjoint")]
        if all(turned):
            builder.refuse(f"it is called with both transpose_{name} and adjoint_{name}")
        sides.append(_turned(builder, side) if any(turned) else side)
    return builder.op("matmul", *sides)


@rule("tf.linalg.matvec (a, b, transpose_a=False, name: _=None)")
def matvec(builder: Builder, a: Value, b: Value, transpose_a: Value) -> Value:
    left, right = pair(builder, a, b, 1)
    if rank_of(left) < 2:
        builder.refuse("its first argument is no matrix")
    if flag(transpose_a, "transpose_a"):
        left = _turned(builder, left)
    return builder.op("squeeze", builder.op("matmul", left, builder.op("expand_dims", right, axis=-1)), axis=-1)


def _turned(builder: Builder, tensor: Array) -> Any:
    return builder.op("swapaxes", tensor, -1, -2)


def _of_keras_3(name: str) -> None:
    def build(builder: Builder, x1: Value, x2: Value) -> Value:
        return builder.op(name, *pair(builder, x1, x2))

    rule(f"ops.{name} (x1, x2)")(build)


for _name in ("matmul", "dot", "outer", "inner", "vdot"):
    _of_keras_3(_name)


@rule("tf.linalg.matrix_transpose tf.matrix_transpose (a: x, name: _=None, conjugate: _=False)")
def matrix_transpose(builder: Builder, x: Value) -> Value:
    return _turned(builder, operand(builder, x))


@rule("K.dot (x, y)")
def dot(builder: Builder, x: Value, y: Value) -> Value:
    left, right = pair(builder, x, y, 2)
    if rank_of(right) == 2:
        return builder.op("matmul", left, right)
    return _contract(builder, (left, right), [[rank_of(left) - 1], [rank_of(right) - 2]])


@rule("K.batch_dot (x, y, axes=None)")
def batch_dot(builder: Builder, x: Value, y: Value, axes: Value = None) -> Value:
    left, right = pair(builder, x, y, 2)
    ranks = (rank_of(left), rank_of(right))
    if axes is None:
        given = [ranks[0] - 1, 1 if ranks[1] == 2 else ranks[1] - 2]
    elif isinstance(axes, list | tuple):
        given = [integer(each, "axes") for each in axes]
    else:
        given = [integer(axes, "axes")] * 2
    if len(given) != 2:
        builder.refuse(f"its axes are {len(given)}, where 2 are needed")
    over = [axis_of(axis, rank, "axes") for axis, rank in zip(given, ranks, strict=True)]
    if 0 in over:
        builder.refuse("its axes hold 0, the batch")
    sizes = [shape_of(side)[axis] for side, axis in zip((left, right), over, strict=True)]
    if None not in sizes and sizes[0] != sizes[1]:
        builder.refuse(f"its axes have {sizes[0]} and {sizes[1]} elements")
    if builder.era.keras < 3 and builder.era.tensorflow != 2 and not builder.era.is_keras_2_3:
        _as_before(builder, ranks, None if axes is None else given, over)
    if max(ranks) > 3:
        return _contract(builder, (left, right), [over[:1], over[1:]], batch=True)
    if ranks == (2, 2):
        return builder.op("sum", builder.op("multiply", left, right), axis=1, keepdims=True)
    if ranks[0] == 2:
        left = builder.op("expand_dims", left, axis=1)
    elif over[0] == 1:
        left = _turned(builder, left)
    if ranks[1] == 2:
        right = builder.op("expand_dims", right, axis=2)
    elif over[1] == 2:
        right = _turned(builder, right)
    made = builder.op("matmul", left, right)
    return made if 2 not in ranks else builder.op("squeeze", made, axis=1 if ranks[0] == 2 else 2)


def _as_before(builder: Builder, ranks: tuple[int, int], given: list[int] | None, over: list[int]) -> None:
    """Refuse what keras.backend computed otherwise in Keras 2.2.4 and TensorFlow 1.15."""
    rank = max(ranks)
    if given is None:
        given = [ranks[0] - 1, ranks[1] - 2]
    if rank == 2:
        same = over == [1, 1] and given[0] == given[1]
    else:
        # It multiplied matrices of equal rank, and took any axis but the last one for the one before it.
        last = [axis == rank - 1 for axis in given]
        same = rank == 3 and over == [2 if last[0] else 1, 2 if last[1] else 1]
    if not same:
        builder.refuse(
            f"its axes are {given} for tensors of {ranks[0]} and {ranks[1]} axes, which Keras 2.2 and"
            " TensorFlow 1 multiplied in another way than later versions"
        )


def _contract(
    builder: Builder, sides: tuple[Array, Array], over: Sequence[Sequence[int]], batch: bool = False
) -> Value:
    """The sum of products over pairs of axes; batch: the first axes are one. An einsum, as Keras's tensordot does not
    tell the shape where a size is open.
    """
    letters = iter(string.ascii_letters)
    labels = [[next(letters) for _ in range(rank_of(side))] for side in sides]
    for left, right in ([(0, 0)] if batch else []) + list(zip(*over, strict=True)):
        labels[1][right] = labels[0][left]
    summed = {labels[0][axis] for axis in over[0]}
    kept = dict.fromkeys(label for each in labels for label in each if label not in summed)
    return builder.op("einsum", f"{''.join(labels[0])},{''.join(labels[1])}->{''.join(kept)}", *sides)


@rule("tf.einsum tf.linalg.einsum ops.einsum (equation, *tensors, name: _=None, optimize: _=None)")
def einsum(builder: Builder, equation: Value, tensors: tuple[Value, ...]) -> Value:
    operands = [floating(builder, each) for each in tensors]
    dtypes = sorted({str(each.dtype) for each in operands})
    if len(dtypes) > 1:
        builder.refuse(f"it multiplies tensors of {' and '.join(dtypes)}, which TensorFlow refuses")
    return builder.op("einsum", text(equation, "equation").replace(" ", ""), *operands)


@rule(
    "tf.tensordot tf.linalg.tensordot (a: x, b: y, axes: over, name: _=None)",
    "ops.tensordot (x1: x, x2: y, axes: over=2)",
)
def tensordot(builder: Builder, x: Value, y: Value, over: Value) -> Value:
    left, right = pair(builder, x, y)
    ranks = (rank_of(left), rank_of(right))
    if not isinstance(over, list | tuple | np.ndarray):
        count = integer(over, "axes")
        if not 0 <= count <= min(ranks):
            builder.refuse(f"its axes are {count} for tensors of {ranks[0]} and {ranks[1]} axes")
        return _contract(builder, (left, right), [range(ranks[0] - count, ranks[0]), range(count)])
    if len(over) != 2:
        builder.refuse(f"its axes are {len(over)} lists, where 2 are needed")
    lists = [
        [axis_of(axis, rank, "axes") for axis in (each if np.ndim(each) else [each])]
        for each, rank in zip(over, ranks, strict=True)
    ]
    if any(len(set(each)) != len(lists[0]) for each in lists):
        builder.refuse(f"its axes are {lists}, which are no pairs")
    return _contract(builder, (left, right), lists)


@rule("tf.linalg.trace tf.trace (x, name: _=None)")
def trace(builder: Builder, x: Value) -> Value:
    return builder.op("trace", floating(builder, x), axis1=-2, axis2=-1)


@rule("tf.linalg.diag_part tf.matrix_diag_part (input: x, name: _=None, k: default=0)")
def diagonal(builder: Builder, x: Value) -> Value:
    return builder.op("diagonal", floating(builder, x), axis1=-2, axis2=-1)


@rule("tf.linalg.band_part tf.matrix_band_part (input: x, num_lower, num_upper, name: _=None)")
def band_part(builder: Builder, x: Value, num_lower: Value, num_upper: Value) -> Value:
    tensor = floating(builder, x)
    if rank_of(tensor) < 2 or None in shape_of(tensor)[-2:]:
        builder.refuse("its matrices have no fixed size")
    rows, columns = (int(size or 0) for size in shape_of(tensor)[-2:])
    below, above = integer(num_lower, "num_lower"), integer(num_upper, "num_upper")
    builder.check_size((rows, columns))
    offset = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    kept = (offset >= (-below if below >= 0 else -rows)) & (offset <= (above if above >= 0 else columns))
    return builder.op("where", kept, tensor, 0.0)


@rule(
    "tf.norm tf.linalg.norm (tensor: x, ord: order='euclidean', axis=None, keepdims=None, name: _=None,"
    " keep_dims: keepdims=None)"
)
def norm(builder: Builder, x: Value, order: Value, axis: Value, keepdims: Value) -> Value:
    tensor = floating(builder, x)
    over, kept = axes(axis, rank_of(tensor)), flag(keepdims, "keepdims")
    matrix = isinstance(over, tuple)
    if isinstance(over, tuple) and (len(over) != 2 or over[0] == over[1]):
        builder.refuse(f"its axis is {over}, where one axis or two are needed")
    if order == "euclidean" or (order == "fro" and matrix) or (order == 2 and not matrix):
        squares = builder.op("sum", builder.op("square", tensor), axis=over, keepdims=kept)
        return builder.op("sqrt", squares)
    size = builder.op("abs", tensor)
    if isinstance(over, tuple):
        if order not in (1, math.inf):
            builder.refuse(f"its order is {describe(order)}, which no operation of Keras expresses for matrices")
        first, second = over if order == 1 else over[::-1]
        sums = builder.op("sum", size, axis=first, keepdims=True)
        largest = builder.op("max", sums, axis=second, keepdims=True)
        return largest if kept else builder.op("squeeze", largest, axis=over)
    if order == math.inf:
        return builder.op("max", size, axis=over, keepdims=kept)
    power = order if isinstance(order, int | float) and not isinstance(order, bool) else 0
    if not power > 0:
        builder.refuse(f"its order is {describe(order)}, which is not known")
    if power == 1:
        return builder.op("sum", size, axis=over, keepdims=kept)
    total = builder.op("sum", builder.op("power", size, float(power)), axis=over, keepdims=kept)
    return builder.op("power", total, 1.0 / power)


@rule("ops.norm (x, ord: order=None, axis=None, keepdims=False)")
def norm_of_keras_3(builder: Builder, x: Value, order: Value, axis: Value, keepdims: Value) -> Value:
    tensor = floating(builder, x)
    if not isinstance(order, int | float | str | None):
        builder.refuse(f"its order is {describe(order)}, which is not known")
    return builder.op("norm", tensor, ord=order, axis=axes(axis, rank_of(tensor)), keepdims=flag(keepdims, "keepdims"))
