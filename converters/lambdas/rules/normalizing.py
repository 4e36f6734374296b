"""Normalization: to length 1, by given statistics, across channels; and the addition of a bias."""

from __future__ import annotations

from typing import Any

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axes, floating, integer, layout, number, rank_of, shape_of
from converters.lambdas.rules.linear import as_floats, norm
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Tensor, Value, describe

__all__ = ["bias_add", "l2_normalize"]


@rule(
    "tf.nn.l2_normalize tf.math.l2_normalize tf.linalg.l2_normalize"
    " (x, axis=None, epsilon=1e-12, name: _=None, dim: axis=None)",
    "K.l2_normalize (x, axis=None)",
)
def l2_normalize(builder: Builder, x: Value, axis: Value = None, epsilon: Value = 1e-12) -> Value:
    tensor = floating(builder, x)
    squares = builder.op("sum", builder.op("square", tensor), axis=axes(axis, rank_of(tensor)), keepdims=True)
    least = builder.op("maximum", squares, number(epsilon, "epsilon"))
    return builder.op("multiply", tensor, builder.op("rsqrt", least))


@rule("tf.linalg.normalize (tensor: x, ord: order='euclidean', axis=None, name: _=None)")
def normalize_with_norm(builder: Builder, x: Value, order: Value, axis: Value) -> Value:
    length = norm(builder, x, order, axis, True)
    return (builder.op("true_divide", floating(builder, x), length), length)


@rule("ops.normalize (x, axis=-1, order=2, epsilon=None)")
def normalize(builder: Builder, x: Value, axis: Value, order: Value, epsilon: Value) -> Value:
    tensor = floating(builder, x)
    if tensor.dtype != "float32":
        builder.refuse(f"it normalizes {tensor.dtype}, for which versions of Keras 3 differ")
    least = None if epsilon is None else number(epsilon, "epsilon")
    over = axes(axis, rank_of(tensor))
    return builder.op("normalize", tensor, axis=over, order=integer(order, "order"), epsilon=least)


@rule("tf.nn.batch_normalization (x, mean, variance, offset, scale, variance_epsilon: epsilon, name: _=None)")
def batch_normalization(builder: Builder, x: Value, mean: Value, variance: Value, **rest: Value) -> Value:
    tensor = floating(builder, x)
    offset, scale, epsilon = rest["offset"], rest["scale"], number(rest["epsilon"], "variance_epsilon")
    mean, variance = (as_floats(builder, each, tensor) for each in (mean, variance))
    factor = builder.op("rsqrt", operators.apply(builder, "add", variance, epsilon))
    if scale is not None:
        factor = operators.apply(builder, "multiply", factor, as_floats(builder, scale, tensor))
    shift = operators.apply(builder, "multiply", mean, factor)
    shift = (
        builder.op("negative", shift)
        if offset is None
        else operators.apply(builder, "subtract", as_floats(builder, offset, tensor), shift)
    )
    return operators.apply(builder, "add", operators.apply(builder, "multiply", tensor, factor), shift)


@rule("K.batch_normalization (x, mean, var: variance, beta: offset, gamma: scale, axis: _=-1, epsilon=1e-3)")
def batch_normalization_of_keras(builder: Builder, x: Value, mean: Value, variance: Value, **rest: Value) -> Value:
    if rank_of(floating(builder, x)) == 4 and builder.era.keras < 3:
        builder.refuse("it normalizes images, for which Keras 2 took a fused operation with a least epsilon of its own")
    return batch_normalization(builder, x, mean, variance, **rest)


@rule(
    "tf.nn.local_response_normalization tf.nn.lrn (input: x, depth_radius: radius=5, bias=1.0, alpha=1.0, beta=0.5,"
    " name: _=None)"
)
def local_response_normalization(builder: Builder, x: Value, radius: Value, **factors: Value) -> Value:
    """`x / (bias + alpha s) ** beta`, where s sums the squares of the channels up to `radius` away."""
    tensor = floating(builder, x)
    if str(tensor.dtype) != "float32":
        builder.refuse(f"it normalizes {tensor.dtype}, where float32 is needed")
    channels = shape_of(tensor)[-1] if rank_of(tensor) == 4 else None
    if channels is None:
        builder.refuse("its input is no batch of images with a fixed number of channels")
    bias, alpha, beta = (number(factors[name], name) for name in ("bias", "alpha", "beta"))
    reach = min(max(integer(radius, "depth_radius"), 0), channels - 1)
    squares = builder.op("pad", builder.op("square", tensor), [[0, 0], [0, 0], [0, 0], [reach, reach]])
    total = _channels(builder, squares, 0, channels)
    for start in range(1, 2 * reach + 1):
        total = builder.op("add", total, _channels(builder, squares, start, channels))
    scale = builder.op("add", builder.op("multiply", total, alpha), bias)
    return builder.op("multiply", tensor, builder.op("power", scale, -beta))


def _channels(builder: Builder, tensor: Any, start: int, count: int) -> Any:
    key = (Ellipsis, slice(start, start + count))
    return builder.index(tensor, key) if isinstance(tensor, Tensor) else tensor[key]


@rule("tf.nn.bias_add (value: x, bias, data_format=None, name: _=None)")
def bias_add_of_tensorflow(builder: Builder, x: Value, bias: Value, data_format: Value) -> Value:
    first = str(data_format or "NHWC").startswith("NC")
    return _add_bias(builder, x, bias, first)


@rule("K.bias_add (x, bias, data_format=None)")
def bias_add(builder: Builder, x: Value, bias: Value, data_format: Value = None) -> Value:
    return _add_bias(builder, x, bias, layout(builder, data_format) == "channels_first")


def _add_bias(builder: Builder, x: Value, bias: Value, first: bool) -> Value:
    tensor = floating(builder, x)
    added = as_floats(builder, bias, tensor)
    axis = 1 if first else rank_of(tensor) - 1
    if rank_of(added) != 1 or rank_of(tensor) < 2:
        raise RefusedError(f"its bias is {describe(bias)}, where one number for each channel is needed")
    if shape_of(tensor)[axis] != shape_of(added)[0]:
        raise RefusedError(f"its bias has {shape_of(added)[0]} numbers for {shape_of(tensor)[axis]} channels")
    if str(tensor.dtype) != str(added.dtype):
        raise RefusedError(f"its bias is of {added.dtype}, and the tensor of {tensor.dtype}")
    if axis != rank_of(tensor) - 1:
        added = builder.op("reshape", added, (-1, *([1] * (rank_of(tensor) - 2))))
    return builder.op("add", tensor, added)
