"""Activation functions of keras.backend, keras.activations, tensorflow and keras.ops."""

from __future__ import annotations

from typing import Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, flag, floating, number, operand, rank_of
from converters.lambdas.rules.table import find_rule, rule
from converters.lambdas.values import Closure, Library, RefusedError, Tensor, Value, describe

# By keras.ops's name: the other names, which take the tensor and nothing that matters.
_PLAIN: Final[dict[str, str]] = {
    "sigmoid": "K.sigmoid tf.sigmoid tf.nn.sigmoid tf.math.sigmoid activations.sigmoid",
    "tanh": "K.tanh tf.tanh tf.nn.tanh tf.math.tanh activations.tanh",
    "softplus": "K.softplus tf.nn.softplus tf.math.softplus activations.softplus",
    "softsign": "K.softsign tf.nn.softsign tf.math.softsign activations.softsign",
    "selu": "tf.nn.selu activations.selu",
    "relu6": "tf.nn.relu6 activations.relu6",
    "log_sigmoid": "tf.math.log_sigmoid tf.log_sigmoid activations.log_sigmoid",
    "sparse_plus": "activations.sparse_plus", "tanh_shrink": "activations.tanh_shrink",
    "hard_tanh": "activations.hard_tanh", "sparse_sigmoid": "activations.sparse_sigmoid",
    "hard_silu": "activations.hard_silu activations.hard_swish ops.hard_swish",
}  # fmt: skip
# Of Keras 3 alone, with one further argument: its name, whether it is an axis, its default.
_PARAMETRIC: Final[dict[str, tuple[str, float]]] = {
    "celu": ("alpha", 1.0), "glu": ("axis", -1), "squareplus": ("b", 4), "hard_shrink": ("threshold", 0.5),
    "soft_shrink": ("threshold", 0.5), "sparsemax": ("axis", -1),
}  # fmt: skip


def _plain(name: str) -> None:
    def build(builder: Builder, x: Value) -> Value:
        return builder.op(name, floating(builder, x))

    names = f"ops.{name} {_PLAIN[name]}".split()
    old = [each for each in names if each.split(".")[0] in ("K", "tf")]
    rows = [
        f"{' '.join(each for each in names if each not in old)} (x)",
        f"{' '.join(each for each in old if each.startswith('K.'))} (x)",
        # One word for the tensor in `tf.math`, another in `tf.nn`; each function takes one of them.
        f"{' '.join(each for each in old if each.startswith('tf.'))} (x=None, name: _=None, features: x=None)",
    ]
    rule(*(row for row in rows if not row.startswith(" ")))(build)


def _parametric(name: str) -> None:
    parameter, default = _PARAMETRIC[name]

    def build(builder: Builder, x: Value, value: Value) -> Value:
        tensor = floating(builder, x)
        taken = axis_of(value, rank_of(tensor)) if parameter == "axis" else number(value, parameter)
        return builder.op(name, tensor, **{parameter: taken})

    rule(f"ops.{name} activations.{name} (x, {parameter}: value={default})")(build)


for _name in _PLAIN:
    _plain(_name)
for _name in _PARAMETRIC:
    _parametric(_name)


@rule("tf.nn.relu (features: x, name: _=None)", "ops.relu (x)")
def plain_relu(builder: Builder, x: Value) -> Value:
    return builder.op("relu", operand(builder, x))


@rule(
    "K.relu (x, alpha=0.0, max_value=None, threshold=0.0)",
    "activations.relu (x, alpha=0.0, max_value=None, threshold=0.0, negative_slope: alpha=0.0)",
)
def relu(builder: Builder, x: Value, alpha: Value, max_value: Value, threshold: Value) -> Value:
    """Keras's: `alpha (x - threshold)` below the threshold, 0 above it there, at most max_value."""
    slope, limit = number(alpha, "alpha"), None if max_value is None else number(max_value, "max_value")
    start = number(threshold, "threshold")
    if limit is not None and (limit < 0 or slope < 0):
        # Keras 2.1 took the minimum, later ones cut on both sides.
        builder.refuse("its max_value or alpha is negative, which versions of Keras took differently")
    if slope == 0 and limit is None and start == 0:
        return builder.op("relu", operand(builder, x))
    tensor = floating(builder, x)
    if slope != 0 and limit is None and start == 0:
        return builder.op("leaky_relu", tensor, negative_slope=slope)
    if start != 0:
        above = builder.op("greater", tensor, start)
        positive = builder.op("multiply", tensor, builder.op("cast", above, str(tensor.dtype)))
    else:
        positive = builder.op("relu6" if limit == 6 else "relu", tensor)
    if limit is not None and (start != 0 or limit != 6):
        positive = builder.op("clip", positive, 0.0, limit)
    if slope == 0:
        return positive
    below = builder.op("negative", tensor)
    below = builder.op("relu", below if start == 0 else builder.op("add", below, start))
    return builder.op("subtract", positive, builder.op("multiply", below, slope))


@rule(
    "tf.nn.leaky_relu (features: x, alpha=0.2, name: _=None)",
    "ops.leaky_relu (x, negative_slope: alpha=0.2)",
    "activations.leaky_relu (x, alpha=0.2, negative_slope: alpha=0.2)",
)
def leaky_relu(builder: Builder, x: Value, alpha: Value) -> Value:
    return builder.op("leaky_relu", floating(builder, x), negative_slope=number(alpha, "alpha"))


@rule("K.elu ops.elu activations.elu (x, alpha=1.0)", "tf.nn.elu (features: x, name: _=None)")
def elu(builder: Builder, x: Value, alpha: Value = 1.0) -> Value:
    return builder.op("elu", floating(builder, x), alpha=number(alpha, "alpha"))


@rule(
    "tf.nn.crelu (features: x, axis=-1, name: _=None)",
    "tf1.nn.crelu (features: x, name: _=None, axis=-1)",
)
def crelu(builder: Builder, x: Value, axis: Value) -> Value:
    tensor = floating(builder, x)
    both = [tensor, builder.op("negative", tensor)]
    return builder.op("relu", builder.op("concatenate", both, axis=axis_of(axis, rank_of(tensor))))


@rule("K.softmax ops.softmax activations.softmax (x, axis=-1)")
def softmax(builder: Builder, x: Value, axis: Value) -> Value:
    tensor = floating(builder, x)
    if isinstance(axis, list | tuple):
        several = tuple(axis_of(each, rank_of(tensor)) for each in axis)
        top = builder.op("max", tensor, axis=several, keepdims=True)
        powers = builder.op("exp", builder.op("subtract", tensor, top))
        return builder.op("true_divide", powers, builder.op("sum", powers, axis=several, keepdims=True))
    return _over(builder, "softmax", tensor, axis)


@rule("tf.nn.softmax tf.math.softmax (logits: x, axis=None, name: _=None, dim: axis=None)")
def softmax_of_tensorflow(builder: Builder, x: Value, axis: Value) -> Value:
    return _over(builder, "softmax", floating(builder, x), -1 if axis is None else axis)


@rule("tf.nn.log_softmax tf.math.log_softmax (logits: x, axis=None, name: _=None, dim: axis=None)")
def log_softmax_of_tensorflow(builder: Builder, x: Value, axis: Value) -> Value:
    return _over(builder, "log_softmax", floating(builder, x), -1 if axis is None else axis)


@rule("ops.log_softmax activations.log_softmax (x, axis=-1)")
def log_softmax(builder: Builder, x: Value, axis: Value) -> Value:
    return _over(builder, "log_softmax", floating(builder, x), axis)


def _over(builder: Builder, name: str, tensor: Tensor | np.ndarray, axis: Value) -> Value:
    rank = rank_of(tensor)
    found = axis_of(axis, rank)
    return builder.op(name, tensor, axis=-1 if found == rank - 1 else found)


@rule("K.hard_sigmoid (x)")
def hard_sigmoid(builder: Builder, x: Value) -> Value:
    line = builder.op("add", builder.op("multiply", floating(builder, x), 0.2), 0.5)
    return builder.op("clip", line, 0.0, 1.0)


@rule("ops.hard_sigmoid (x)")
def hard_sigmoid_of_keras_3(builder: Builder, x: Value) -> Value:
    return builder.op("hard_sigmoid", floating(builder, x))


@rule("activations.hard_sigmoid (x)")
def hard_sigmoid_by_era(builder: Builder, x: Value) -> Value:
    return (hard_sigmoid_of_keras_3 if builder.era.keras >= 3 else hard_sigmoid)(builder, x)


@rule("ops.silu ops.swish activations.silu activations.swish (x)", "tf.nn.silu tf.nn.swish (features: x, beta=1.0)")
def silu(builder: Builder, x: Value, beta: Value = 1.0) -> Value:
    tensor, factor = floating(builder, x), number(beta, "beta")
    if factor == 1:
        return builder.op("silu", tensor)
    return builder.op("multiply", tensor, builder.op("sigmoid", builder.op("multiply", tensor, factor)))


@rule(
    "tf.nn.gelu (features: x, approximate=False, name: _=None)",
    "activations.gelu (x, approximate=False)",
    "ops.gelu (x, approximate=True)",
)
def gelu(builder: Builder, x: Value, approximate: Value) -> Value:
    return builder.op("gelu", floating(builder, x), approximate=flag(approximate, "approximate"))


@rule("activations.mish (x)")
def mish(builder: Builder, x: Value) -> Value:
    tensor = floating(builder, x)
    return builder.op("multiply", tensor, builder.op("tanh", builder.op("softplus", tensor)))


@rule("activations.exponential (x)")
def exponential(builder: Builder, x: Value) -> Value:
    return builder.op("exp", floating(builder, x))


@rule("activations.linear (x)")
def linear(builder: Builder, x: Value) -> Value:
    return x if isinstance(x, Tensor) else operand(builder, x)


@rule("ops.threshold activations.threshold (x, threshold, default_value)")
def threshold(builder: Builder, x: Value, threshold: Value, default_value: Value) -> Value:
    tensor = floating(builder, x)
    above = builder.op("greater", tensor, number(threshold, "threshold"))
    return builder.op("where", above, tensor, float(number(default_value, "default_value")))


@rule(
    "activations.get activations.deserialize (identifier)",
    "keras.layers.Activation (activation: identifier, name: _=None)",
)
def by_name(builder: Builder, identifier: Value) -> Value:
    """The function that a name stands for, to be called."""
    del builder
    if identifier is None:
        return Library("activations.linear")
    if isinstance(identifier, Library | Closure):
        return identifier
    if not isinstance(identifier, str):
        raise RefusedError(f"it asks for the activation {describe(identifier)}, where a name is needed")
    return Library(find_rule(f"activations.{identifier}").name)
