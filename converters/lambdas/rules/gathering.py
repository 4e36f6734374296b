"""Items by number where they lie on other axes than the first: tf.gather_nd, batches of indices, constant masks."""

from __future__ import annotations

import math

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, integer, operand, rank_of
from converters.lambdas.rules.refused import GIVES_ANY_SHAPE
from converters.lambdas.rules.slicing import gather
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Tensor, Value, describe


@rule(
    "tf.gather (params: x, indices, validate_indices: _=None, *, axis=None, batch_dims: batch=0, name: _=None)",
    "tf.batch_gather (params: x, indices, name: _=None, *, batch: batch=None)",
)
def gather_any(builder: Builder, x: Value, indices: Value, batch: Value, axis: Value = None) -> Value:
    if batch is None:  # tf.batch_gather: all axes of the indices but the last
        batch = rank_of(operand(builder, indices)) - 1
    count = integer(batch, "batch_dims")
    if count == 0:
        return gather(builder, x, indices, axis)
    tensor, places = operand(builder, x), operand(builder, indices)
    if count != 1 or rank_of(tensor) < 2 or rank_of(places) < 1:
        builder.refuse(f"it takes items with batch_dims={count} of {describe(tensor)}")
    if axis_of(1 if axis is None else axis, rank_of(tensor)) != 1:
        builder.refuse("it takes items of each example along another axis than the one after the batch")
    return _of_each(builder, tensor, places)


def _of_each(builder: Builder, tensor: Tensor | np.ndarray, places: Tensor | np.ndarray) -> Value:
    """Items of axis 1 by each example's own numbers, from all examples behind one another."""
    size, rest = tensor.shape[1], tensor.shape[2:]
    if not isinstance(places, Tensor) or places.dtype not in ("int32", "int64") or size is None or None in rest:
        raise RefusedError(f"it takes items of each example of {describe(tensor)} by {describe(places)}")
    first = builder.index(places, (slice(None), *[0] * (places.rank - 1)))
    before = builder.op("subtract", builder.op("cumsum", builder.op("ones_like", first), axis=0), 1)
    start = builder.op("reshape", builder.op("multiply", before, size), (-1, *[1] * (places.rank - 1)))
    whole = builder.op("reshape", tensor, (-1, *rest))
    return builder.op("take", whole, builder.op("add", places, start), axis=0)


@rule("tf.gather_nd (params: x, indices, *, batch_dims: default=0, name: _=None, bad_indices_policy: _='')")
def gather_nd(builder: Builder, x: Value, indices: Value) -> Value:
    tensor, places = operand(builder, x), operand(builder, indices)
    if isinstance(places, Tensor) or "int" not in str(places.dtype) or not places.ndim or not places.size:
        builder.refuse("it takes items by numbers on several axes that are no constants")
    count = places.shape[-1]
    sizes = tensor.shape[:count]
    if count > rank_of(tensor) or None in sizes[1:] or places.min() < 0:
        builder.refuse(f"it takes items by {count} numbers each of {describe(tensor)}")
    for axis, size in enumerate(sizes):
        if size is not None and places[..., axis].max() >= size:
            builder.refuse(f"it takes an item that is not there of {describe(tensor)}")
    flat = np.zeros(places.shape[:-1], np.int64)
    for axis, size in enumerate(sizes):
        flat = flat * (int(size or 0) if axis else 1) + places[..., axis]
    if count > 1:
        joined = (None if None in sizes else math.prod(map(int, sizes)), *tensor.shape[count:])
        if sum(size is None for size in joined) > 1:
            builder.refuse(f"it takes items of {describe(tensor)}, of which several sizes are not fixed")
        tensor = builder.op("reshape", tensor, tuple(-1 if size is None else size for size in joined))
    return builder.op("take", tensor, flat.astype("int32"), axis=0)


@rule("tf.nn.embedding_lookup (params: x, ids: indices, *, max_norm: default=None, partition_strategy: _='mod', "
      "validate_indices: _=True, name: _=None)")  # fmt: skip
def embedding_lookup(builder: Builder, x: Value, indices: Value) -> Value:
    if isinstance(x, list | tuple) and any(isinstance(each, Tensor | np.ndarray) for each in x):
        builder.refuse("it looks items up in several tables")
    return gather(builder, x, indices)


@rule("tf.boolean_mask (tensor: x, mask, *, axis=None, name: _=None)")
def boolean_mask(builder: Builder, x: Value, mask: Value, axis: Value) -> Value:
    tensor, kept = operand(builder, x), operand(builder, mask)
    if isinstance(kept, Tensor):
        builder.refuse(f"it calls tf.boolean_mask, which {GIVES_ANY_SHAPE}")
    first = axis_of(0 if axis is None else axis, rank_of(tensor))
    over = tensor.shape[first : first + kept.ndim]
    if kept.dtype != bool or not kept.ndim or over != kept.shape:
        builder.refuse(f"it masks {describe(tensor)} from axis {first} on by {describe(kept)} of shape {kept.shape}")
    if kept.ndim > 1:
        sizes = (*tensor.shape[:first], kept.size, *tensor.shape[first + kept.ndim :])
        if sum(size is None for size in sizes) > 1:
            builder.refuse(f"it masks {describe(tensor)}, of which several sizes are not fixed")
        tensor = builder.op("reshape", tensor, tuple(-1 if size is None else size for size in sizes))
    return builder.op("take", tensor, np.flatnonzero(kept).astype("int32"), axis=first)
