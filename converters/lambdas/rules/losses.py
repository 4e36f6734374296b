"""Losses as people compute them in a Lambda: cross entropies of logits, and those of keras.losses that never changed.

Of probabilities, Keras clipped them and added to them in other ways from version to version, and took the logits from
before the activation where it found one; near 0 and 1 the results differ, so nothing is guessed there.
"""

from __future__ import annotations

import math
from typing import Final, NoReturn

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, flag, floating, operand, rank_of
from converters.lambdas.rules.linear import Array, pair
from converters.lambdas.rules.settings import epsilon
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Value, describe

_LOSSES: Final = (
    ("mean_squared_error", "mse MSE"), ("mean_absolute_error", "mae MAE"), ("logcosh", "log_cosh"), ("poisson", ""),
)  # fmt: skip


def _same(builder: Builder, labels: Value, outputs: Value) -> tuple[Array, Array]:
    """Both as floats of one shape: what is broadcast, or loses an axis first, differs between versions."""
    left, right = pair(builder, labels, outputs)
    if left.shape != right.shape:
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}, whose shapes differ")
    return left, right


def _check(builder: Builder, from_logits: Value) -> None:
    if not flag(from_logits, "from_logits"):
        _of_probabilities(builder)
    if builder.era.keras < 3 and builder.era.tensorflow != 2 and not builder.era.is_keras_2_3:
        builder.refuse("it takes a cross entropy, whose two tensors change places within Keras 2.0")


def _of_probabilities(builder: Builder) -> NoReturn:
    builder.refuse(
        "it takes the cross entropy of probabilities, which versions of Keras clip in different ways; "
        "from_logits=True is one thing in all"
    )


@rule("tf.nn.sigmoid_cross_entropy_with_logits (labels, logits, name: _=None)")
def sigmoid_cross_entropy(builder: Builder, labels: Value, logits: Value) -> Value:
    """`max(x, 0) - x z + log(1 + exp(-|x|))`, of logits x and labels z."""
    z, x = _same(builder, labels, logits)
    first = builder.op("subtract", builder.op("relu", x), builder.op("multiply", x, z))
    return builder.op(
        "add", first, builder.op("log1p", builder.op("exp", builder.op("negative", builder.op("abs", x))))
    )


@rule(
    "tf.nn.softmax_cross_entropy_with_logits tf.nn.softmax_cross_entropy_with_logits_v2 "
    "(labels, logits, axis=-1, name: _=None, dim: axis=-1)"
)
def softmax_cross_entropy(builder: Builder, labels: Value, logits: Value, axis: Value) -> Value:
    z, x = _same(builder, labels, logits)
    place = axis_of(-1 if axis is None else axis, rank_of(x))
    logs = builder.op("log_softmax", x, axis=place)
    return builder.op("negative", builder.op("sum", builder.op("multiply", z, logs), axis=place))


@rule("tf.nn.sparse_softmax_cross_entropy_with_logits (labels, logits, name: _=None)")
def sparse_cross_entropy(builder: Builder, labels: Value, logits: Value) -> Value:
    numbers, x = operand(builder, labels), floating(builder, logits)
    if str(numbers.dtype) not in ("int32", "int64") or numbers.shape != x.shape[:-1]:
        builder.refuse(f"its labels are {describe(numbers)} of {numbers.dtype} for logits that are {describe(x)}")
    logs = builder.op("log_softmax", x, axis=-1)
    taken = builder.op("take_along_axis", logs, builder.op("expand_dims", numbers, -1), axis=-1)
    return builder.op("negative", builder.op("squeeze", taken, axis=-1))


@rule("K.binary_crossentropy (target, output, from_logits=False)")
def binary_cross_entropy(builder: Builder, target: Value, output: Value, from_logits: Value) -> Value:
    _check(builder, from_logits)
    return sigmoid_cross_entropy(builder, target, output)


@rule("K.categorical_crossentropy (target, output, from_logits=False, axis=-1)")
def categorical_cross_entropy(builder: Builder, target: Value, output: Value, from_logits: Value, axis: Value) -> Value:
    _check(builder, from_logits)
    return softmax_cross_entropy(builder, target, output, axis)


@rule("ops.binary_crossentropy (target, output, from_logits=False)")
def binary_of_keras_3(builder: Builder, target: Value, output: Value, from_logits: Value) -> Value:
    z, x = _same(builder, target, output)
    return builder.op("binary_crossentropy", z, x, from_logits=flag(from_logits, "from_logits"))


@rule("ops.categorical_crossentropy (target, output, from_logits=False, axis=-1)")
def categorical_of_keras_3(builder: Builder, target: Value, output: Value, from_logits: Value, axis: Value) -> Value:
    z, x = _same(builder, target, output)
    place = axis_of(axis, rank_of(x))
    return builder.op("categorical_crossentropy", z, x, from_logits=flag(from_logits, "from_logits"), axis=place)


def _loss(name: str, others: str) -> None:
    def build(builder: Builder, y_true: Value, y_pred: Value) -> Value:
        true, made = _same(builder, y_true, y_pred)
        return builder.op("mean", _error(builder, name, true, made), axis=-1)

    names = " ".join(f"keras.losses.{each}" for each in (name, *others.split()))
    rule(f"{names} (y_true, y_pred)")(build)


def _error(builder: Builder, name: str, true: Array, made: Array) -> Value:
    if name == "poisson":
        logs = builder.op("log", builder.op("add", made, epsilon(builder)))
        return builder.op("subtract", made, builder.op("multiply", true, logs))
    off = builder.op("subtract", made, true)
    if name != "logcosh":
        return builder.op("square" if name == "mean_squared_error" else "abs", off)
    soft = builder.op("softplus", builder.op("multiply", off, -2.0))
    return builder.op("subtract", builder.op("add", off, soft), float(np.float32(math.log(2.0))))


for _name, _others in _LOSSES:
    _loss(_name, _others)
