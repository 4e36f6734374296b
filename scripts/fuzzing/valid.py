"""Lambdas that are right, with constants that nobody would write: what is rescued must compute what TensorFlow does."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fuzzing.case import Case, Draw
from fuzzing.templates import Templates, input2, lambda2, model2

_NUMBERS: Final = (
    "0", "1", "-1", "2", "3", "0.5", "-0.5", "-0.0", "1e-7", "1e30", "1e308", "-1e308", "1e-320", "1e400", "3.3", "255",
    "2**31", "2**40", "-2**31", "7", "1e-45", "16777217", "0.1", "np.pi", "True", "float('inf')", "float('nan')",
)  # fmt: skip
_AXES: Final = ("0", "1", "2", "3", "-1", "-2", "-3", "(1, 2)", "[1]", "(1, 2, 3)", "None", "[-1, -2]", "(3, 1)", "[]")
_SLICES: Final = (
    "...", ":", "1:", ":-1", "::2", "::-1", "0", "-1", "2:1", "None", "-100:100", "5:0:-2", ":0", "1:2", "-2:", "2",
)  # fmt: skip
_UNARY: Final = (
    "-{a}", "abs({a})", "tf.abs({a})", "tf.sqrt({a})", "tf.square({a})", "tf.exp({a})", "tf.sign({a})", "tf.round({a})",
    "tf.floor({a})", "tf.math.ceil({a})", "tf.nn.relu({a})", "tf.nn.relu6({a})", "tf.sigmoid({a})", "tf.tanh({a})",
    "tf.nn.softmax({a})", "tf.nn.softmax({a}, axis={i})", "tf.nn.elu({a})", "tf.math.log({a})", "tf.nn.softplus({a})",
    "tf.nn.leaky_relu({a}, {n})", "tf.clip_by_value({a}, {n}, {n})", "tf.pow({a}, {n})", "tf.math.rsqrt({a})",
    "tf.where({a} > {n}, {a}, {b})", "tf.nn.swish({a})", "tf.nn.selu({a})", "tf.nn.gelu({a})", "tf.identity({a})",
    "tf.stop_gradient({a})", "tf.nn.l2_normalize({a}, {i})", "tf.math.l2_normalize({a}, axis={i}, epsilon={n})",
    "tf.math.reciprocal({a})", "tf.math.sin({a})", "tf.math.log1p({a})", "tf.cast({a}, 'int32')",
    "tf.cast({a}, 'bool')", "tf.cast({a}, 'float16')", "tf.zeros_like({a})", "tf.ones_like({a})",
    "tf.math.cumsum({a}, {i})",
)  # fmt: skip
_BINARY: Final = (
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}", "{a} // {n}", "{a} % {n}", "{a} ** {n}", "{n} ** {a}",
    "{n} / {a}", "{n} - {a}", "{n} * {a}", "{n} // {a}", "{n} % {a}", "{a} + {n}", "{a} - {n}", "{a} * {n}",
    "{a} / {n}",
    "tf.maximum({a}, {n})", "tf.minimum({a}, {b})", "tf.math.floordiv({a}, {n})", "tf.math.mod({a}, {n})",
    "tf.math.divide_no_nan({a}, {b})", "tf.math.squared_difference({a}, {b})", "tf.math.atan2({a}, {b})",
    "{a} * tf.cast(tf.cast({n}, 'int32'), 'float32')", "{a} * tf.cast(tf.cast({n}, 'uint8'), 'float32')",
    "{a} * tf.cast(tf.cast({n}, 'float16'), 'float32')", "{a} * tf.cast(tf.cast({n}, 'bool'), 'float32')",
    "tf.cast({a} > {n}, 'float32')", "tf.cast({a} == {b}, 'float32')", "tf.cast({a} != {n}, 'float32')",
)  # fmt: skip
_REDUCED: Final = (
    "tf.reduce_max", "tf.reduce_min", "tf.reduce_mean", "tf.reduce_sum", "tf.reduce_prod", "tf.math.reduce_std",
    "tf.math.reduce_variance", "tf.reduce_logsumexp", "tf.norm",
)  # fmt: skip
_SHAPED: Final = (
    "tf.transpose({a}, [0, 3, 1, 2])", "tf.transpose({a})", "tf.tile({a}, [1, 1, 2, 1])", "tf.tile({a}, [1, 0, 1, 1])",
    "tf.concat([{a}, {b}], {i})", "tf.stack([{a}, {b}], {i})", "tf.expand_dims({a}, {i})", "tf.squeeze({a})",
    "tf.reverse({a}, [{i}])", "tf.pad({a}, [[0, 0], [1, 2], [0, 3], [2, 0]])", "tf.reshape({a}, [-1, 3])",
    "tf.pad({a}, [[0, 0], [1, 1], [2, 2], [1, 0]], 'REFLECT')", "tf.reshape({a}, [tf.shape({a})[0], -1])",
    "tf.pad({a}, [[0, 0], [1, 1], [2, 2], [0, 0]], 'SYMMETRIC')", "tf.pad({a}, [[0, 0]] * 4, constant_values={n})",
    "tf.gather({a}, [0, 2, 2], axis={i})", "tf.repeat({a}, 2, axis={i})", "tf.split({a}, 3, axis={i})[1]",
    "tf.unstack({a}, axis={i})[-1]", "tf.argmax({a}, {i})", "tf.image.resize({a}, [3, 9])", "tf.roll({a}, 2, {i})",
    "tf.image.rgb_to_grayscale({a})", "tf.nn.depth_to_space({a}, 1)", "tf.nn.space_to_depth({a}, 2)",
    "tf.matmul({a}, {b}, transpose_b=True)", "tf.einsum('bhwc,bhwd->bcd', {a}, {b})",
    "tf.one_hot(tf.argmax({a}, -1), 4)", "tf.nn.avg_pool2d({a}, 2, 2, 'SAME')", "tf.nn.max_pool2d({a}, 3, 1, 'VALID')",
    "tf.linalg.matrix_transpose({a})",
)  # fmt: skip


def expression(draw: Draw, depth: int) -> str:
    if not depth or draw.randrange(6) == 0:
        return "x"
    kind = draw.randrange(8)
    if kind < 2:
        form = draw.choice(_UNARY)
    elif kind < 4:
        form = f"({draw.choice(_BINARY)})"
    elif kind == 4:
        keep = draw.choice((", keepdims=True", ", keepdims=True", "", ", keepdims=False"))
        form = f"{draw.choice(_REDUCED)}({{a}}, axis={draw.choice(_AXES)}{keep})"
    elif kind == 5:
        form = "{a}[" + ", ".join(draw.choice(_SLICES) for _ in range(draw.randrange(1, 5))) + "]"
    elif kind == 6:
        form = draw.choice(_SHAPED)
    else:
        form = "(lambda a, b: a + b)({a}, {b})"
    filled = {"a": f"({expression(draw, depth - 1)})", "b": f"({expression(draw, draw.randrange(depth))})"}
    return form.format(**filled, n=draw.choice(_NUMBERS), i=draw.choice(("0", "1", "2", "3", "-1", "-4", "4")))


def of_valid(draw: Draw, templates: Templates) -> Case:
    """A Lambda of a file of TensorFlow 2, whose text is kept to compute with."""
    text = f"lambda x: {expression(draw, 3)}"
    return Case(model2(input2(), lambda2(text)), computes=text)


def difference(text: str, model: Any) -> str:
    """How what a rescued model computes differs from what the Lambda computes in TensorFlow; or nothing.

    The text is of this module's own grammar, so running it runs nothing of a file.
    """
    import tensorflow as tf

    image = np.random.default_rng(7).normal(0, 3, (3, 6, 6, 3)).astype("float32")
    image[0, 0] = ((0, -0.0, 1), (-1, 2, 0.5), (1e30, -1e30, 1e-30), (3, 3, 3), (-7, 7, 255), (0.1, 0.2, 0.3))
    try:
        wanted = eval(text, {"tf": tf, "np": np})(tf.constant(image))  # noqa: S307
    except Exception as error:  # TensorFlow has dozens
        return f"TensorFlow refuses it ({type(error).__name__})"
    try:
        given = model(tf.constant(image))
    except tf.errors.InvalidArgumentError:  # as a graph of TensorFlow does where shapes do not match, or are empty
        return "stops when it computes, by the sizes of its input"
    except Exception as error:
        return f"is a model that fails to compute ({type(error).__name__})"
    if tuple(given.shape) != tuple(wanted.shape):
        return f"is of shape {tuple(given.shape)} instead of {tuple(wanted.shape)}"
    ours, theirs = np.asarray(given, "float64"), np.asarray(wanted, "float64")
    finite = np.isfinite(theirs)
    if not np.array_equal(np.where(finite, 0, theirs), np.where(np.isfinite(ours), 0, ours), equal_nan=True):
        return "is infinite, or no number, elsewhere"
    if not finite.any():
        return ""
    # Each element by itself counts only down to what is rounding of the largest.
    off = np.abs(ours[finite] - theirs[finite]).max() / max(np.abs(theirs[finite]).max(), 1e-30)
    coarse = "float16" in text
    return f"is off by {off:.2g} of the largest" if off > (2e-3 if coarse else 1e-5) else ""
