"""Reductions over axes: max, min, mean, sum, prod, std, var and their kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axes, axis_of, flag, operand, rank_of
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Value

_KERAS: Final = "(x, axis=None, keepdims=False)"
_TENSORFLOW: Final = (
    "(input_tensor: x, axis=None, keepdims=False, name: _=None, "
    "reduction_indices: axis=None, keep_dims: keepdims=False)"
)


def _reduce(builder: Builder, name: str, x: Value, axis: Value, keepdims: Value) -> Value:
    tensor = operand(builder, x)
    if name in ("max", "min") and 0 in tensor.shape:
        builder.refuse(f"it takes the {name} of nothing: a tensor of shape {tuple(tensor.shape)}")
    return builder.op(name, tensor, axis=axes(axis, rank_of(tensor)), keepdims=flag(keepdims, "keepdims"))


@rule(
    f"K.max ops.max ops.amax {_KERAS}",
    f"tf.reduce_max tf.math.reduce_max {_TENSORFLOW}",
    "np.max np.amax (a: x, axis=None)",
)
def maximum_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "max", x, axis, keepdims)


@rule(
    f"K.min ops.min ops.amin {_KERAS}",
    f"tf.reduce_min tf.math.reduce_min {_TENSORFLOW}",
    "np.min np.amin (a: x, axis=None)",
)
def minimum_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "min", x, axis, keepdims)


@rule(f"K.mean ops.mean {_KERAS}", f"tf.reduce_mean tf.math.reduce_mean {_TENSORFLOW}", "np.mean (a: x, axis=None)")
def mean_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    tensor = operand(builder, x)
    if isinstance(tensor, np.ndarray) or "float" in tensor.dtype:
        return _reduce(builder, "mean", tensor, axis, keepdims)
    # keras.backend takes the mean of truth values in floats; TensorFlow's mean of integers is an integer.
    if tensor.dtype != "bool":
        builder.refuse(f"it takes the mean of integers ({tensor.dtype}), which libraries round differently")
    return _reduce(builder, "mean", builder.op("cast", tensor, "float32"), axis, keepdims)


@rule(f"K.sum ops.sum {_KERAS}", f"tf.reduce_sum tf.math.reduce_sum {_TENSORFLOW}", "np.sum (a: x, axis=None)")
def sum_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "sum", x, axis, keepdims)


@rule(f"K.prod ops.prod {_KERAS}", f"tf.reduce_prod tf.math.reduce_prod {_TENSORFLOW}", "np.prod (a: x, axis=None)")
def product_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    if isinstance(x, list | tuple) and all(isinstance(size, int | OpenSize) for size in x):
        product: Value = 1
        for size in x:
            product = operators.binary(builder, "*", product, size)
        return product
    return _reduce(builder, "prod", x, axis, keepdims)


@rule(f"K.std ops.std {_KERAS}", f"tf.math.reduce_std {_TENSORFLOW}")
def deviation_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "std", x, axis, keepdims)


@rule(f"K.var ops.var {_KERAS}", f"tf.math.reduce_variance {_TENSORFLOW}")
def variance_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "var", x, axis, keepdims)


@rule(f"K.any ops.any {_KERAS}", f"tf.reduce_any tf.math.reduce_any {_TENSORFLOW}")
def any_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "any", x, axis, keepdims)


@rule(f"K.all ops.all {_KERAS}", f"tf.reduce_all tf.math.reduce_all {_TENSORFLOW}")
def all_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "all", x, axis, keepdims)


@rule(f"K.logsumexp ops.logsumexp {_KERAS}", f"tf.reduce_logsumexp tf.math.reduce_logsumexp {_TENSORFLOW}")
def logsumexp_over(builder: Builder, x: Value, axis: Value = None, keepdims: Value = False) -> Value:
    return _reduce(builder, "logsumexp", x, axis, keepdims)


@rule(
    "K.argmax ops.argmax (x, axis=-1)",
    "tf.argmax tf.math.argmax (input: x, axis=0, output_type: dtype='int64', name: _=None, dimension: axis=0)",
)
def argmax(builder: Builder, x: Value, axis: Value, dtype: Value = None) -> Value:
    return _arg(builder, "argmax", x, axis, dtype)


@rule(
    "K.argmin ops.argmin (x, axis=-1)",
    "tf.argmin tf.math.argmin (input: x, axis=0, output_type: dtype='int64', name: _=None, dimension: axis=0)",
)
def argmin(builder: Builder, x: Value, axis: Value, dtype: Value = None) -> Value:
    return _arg(builder, "argmin", x, axis, dtype)


def _arg(builder: Builder, name: str, x: Value, axis: Value, dtype: Value) -> Value:
    tensor = operand(builder, x)
    index = builder.op(name, tensor, axis=axis_of(axis, rank_of(tensor)))
    wanted = dtype or ("int32" if builder.era.keras >= 3 else "int64")  # of tf.keras's backend
    return index if str(index.dtype) == wanted else builder.op("cast", index, wanted)


@rule("tf.nn.moments (x, axes: axis, shift: default=None, keepdims=False, name: _=None, keep_dims: keepdims=False)")
def moments(builder: Builder, x: Value, axis: Value, keepdims: Value) -> Value:
    return (_reduce(builder, "mean", x, axis, keepdims), _reduce(builder, "var", x, axis, keepdims))


@rule(
    "K.cumsum (x, axis=0)",
    "ops.cumsum (x, axis=None)",
    "tf.cumsum tf.math.cumsum (x, axis=0, exclusive=False, reverse=False, name: _=None)",
)
def cumsum(builder: Builder, x: Value, axis: Value, **how: Value) -> Value:
    return _running(builder, "cumsum", x, axis, how)


@rule(
    "K.cumprod (x, axis=0)",
    "ops.cumprod (x, axis=None)",
    "tf.math.cumprod (x, axis=0, exclusive=False, reverse=False, name: _=None)",
)
def cumprod(builder: Builder, x: Value, axis: Value, **how: Value) -> Value:
    return _running(builder, "cumprod", x, axis, how)


def _running(builder: Builder, name: str, x: Value, axis: Value, how: Mapping[str, Value]) -> Value:
    """Cumulative sums or products; from the end where `reverse`, each without its own element where `exclusive`."""
    tensor = operand(builder, x)
    reverse, exclusive = flag(how.get("reverse"), "reverse"), flag(how.get("exclusive"), "exclusive")
    if not reverse and not exclusive:
        return builder.op(name, tensor, axis=axes(axis, rank_of(tensor)))
    place = axis_of(axis, rank_of(tensor))
    made = builder.op("flip", tensor, axis=place) if reverse else tensor
    made = builder.op(name, made, axis=place)
    if exclusive:
        widths = [(1, 0) if each == place else (0, 0) for each in range(rank_of(tensor))]
        made = builder.op("pad", made, widths, mode="constant", constant_values=0 if name == "cumsum" else 1)
        made = operators.subscript(builder, made, (*[slice(None)] * place, slice(None, -1)))
    return builder.op("flip", made, axis=place) if reverse else made
