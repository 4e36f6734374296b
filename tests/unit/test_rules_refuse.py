"""What rules refuse in Lambdas, and the reasons they give: shapes, constants and Python's built-ins."""

from __future__ import annotations

import pytest

from converters.errors import ModelError
from converters.lambdas.builder import Builder
from converters.lambdas.interpret import evaluate
from converters.lambdas.source_text import parse_function
from converters.lambdas.values import Era, Tensor

ERA = Era(2, 2, "channels_last")
IMAGE = ((4, 6, 3),)
WIDE = ((0, 6, 3),)  # an open height
PAIR = ((4, 6, 3), (4, 6, 2))
IDS = ((5,),)  # of integers

REFUSED = [
    ("lambda x: K.reshape(x, (-1, -1, 3))", IMAGE, "it reshapes to (-1, -1, 3)"),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0], 7))", IMAGE, "to (?, 7), which has another number of elements"),
    ("lambda x: tf.reshape(x, [x.shape[0], -1])", IMAGE, "more than one of these sizes is known only when it runs"),
    ("lambda x: tf.reshape(x, (-1, tf.shape(x)[0], 3))", WIDE, "more than one of these sizes is known only when"),
    ("lambda x: tf.reshape(tf.reshape(x, (-1, 6, 3)), (-1, K.shape(x)[1], 18))", WIDE, "more than one of these sizes"),
    (
        "lambda x: tf.squeeze(x)",
        IMAGE,
        "it removes all axes of size 1 from a tensor of shape (?, 4, 6, 3), and some sizes",
    ),
    (
        "lambda x: K.squeeze(x, 1)",
        IMAGE,
        "it removes axis 1 of a tensor of shape (?, 4, 6, 3), which is not known to be",
    ),
    ("lambda x: tf.concat(1, x)", PAIR, "with the axis first, as before TensorFlow 1.0"),
    ("lambda x: tf.split(1, 3, x)", IMAGE, "with the axis first, as before TensorFlow 1.0"),
    ("lambda x: tf.concat([x, tf.cast(x, tf.int32)], 0)", IMAGE, "it joins tensors of float32 and int32"),
    ("lambda x: tf.split(x, 4, axis=2)", IMAGE, "along axis 2 into 4 parts"),
    ("lambda x: tf.split(x, [1, 1], axis=3)", IMAGE, "along axis 3 into parts of (1, 1)"),
    ("lambda x: tf.unstack(x)", IMAGE, "it takes a tensor of shape (?, 4, 6, 3) apart along axis 0"),
    ("lambda x: tf.gather(x, [-1], axis=3)", IMAGE, "it takes items -1 to -1 of a tensor"),
    (
        "lambda x: tf.gather(x, [0], batch_dims=1)",
        IMAGE,
        "it takes items of each example of a tensor of shape (?, 4, 6, 3) by a ndarray",
    ),
    ("lambda x: tf.gather(x, x)", IMAGE, "by indices of float32"),
    ("lambda x: tf.slice(x, [0, 1, 0, 0], [-1, 4, 6, 3])", IMAGE, "it slices axis 1 of a tensor of shape (?, 4, 6, 3)"),
    ("lambda x: tf.pad(x, [[0, 0], [4, 0], [0, 0], [0, 0]], 'REFLECT')", IMAGE, "of itself (reflect)"),
    ("lambda x: tf.pad(x, [[0, 0]] * 4, 'EDGE')", IMAGE, "its mode is 'EDGE'"),
    ("lambda x: tf.tile(x, [2, 1])", IMAGE, "along 2 axes"),
    ("lambda x: tf.tile(x, [tf.shape(x)[0], 1, 1, 1])", IMAGE, "a number of times that is known only when it runs"),
    ("lambda x: tf.broadcast_to(x, (5, 4, 6, 3))", IMAGE, "it broadcasts axis 0"),
    ("lambda x: K.repeat_elements(x, 2, -3)", WIDE, "which Keras gets wrong for an open size"),
    ("lambda x: tf.ensure_shape(x, (8, 4, 6, 3))", IMAGE, "is of another shape"),
    (
        "lambda x: K.permute_dimensions(x, (0, 1, 2))",
        IMAGE,
        "its order of axes is (0, 1, 2), and the tensor has 4 axes",
    ),
    ("lambda x: tf.nn.top_k(x, 2, sorted=False)[0]", IMAGE, "in no defined order"),
    ("lambda x: tf.one_hot(x, 3)", IMAGE, "it makes one-hot vectors of float32, where integers are needed"),
    ("lambda x: tf.one_hot(x, 3, 9, 1)", IDS, "its on_value is 9"),
    ("lambda x: x * tf.shape(x)[0]", IMAGE, "it computes with a size that is not fixed in the model"),
    ("lambda x: tf.shape(x)[1:3] == tf.shape(x)[1:3]", IMAGE, "it compares a shape with a shape"),
    ("lambda x: x[:, :tf.shape(x)[0] // 2]", IMAGE, "// 2, which only running it would tell"),
    ("lambda x: tf.range(tf.shape(x)[0])", IMAGE, "its limit is a size that is not fixed in the model"),
    ("lambda x: x * tf.range(0.0, 3.0000001, 1.0)", IMAGE, "rounding decides how many numbers its range has"),
    ("lambda x: tf.ones((1 << 20, 1 << 10)) * x", IMAGE, "is larger than 4194304 elements"),
    ("lambda x: x * np.zeros((99999, 99999))", IMAGE, "is larger than 4194304 elements"),
    ("lambda x: x + range(10 ** 9)", IMAGE, "it makes the range (1000000000,)"),
    ("lambda x: x + tf.constant(3000000000)", IMAGE, "3000000000 does not fit an int32"),
    ("lambda x: x + np.uint8(300)", IMAGE, "300 to 300 does not fit uint8"),
    ("lambda x: K.random_normal(K.shape(x))", IMAGE, "it calls K.random_normal, which draws random numbers"),
    ("lambda x: tf.random.normal(tf.shape(x))", IMAGE, "it calls tf.random.normal, which draws random numbers"),
    ("lambda x: tf.compat.v1.random_normal((3,)) * x", IMAGE, "it calls tf1.random_normal, which draws random numbers"),
    ("lambda x: np.random.rand(3) * x", IMAGE, "it calls np.random.rand, which draws random numbers"),
    ("lambda x: K.in_train_phase(x, -x)", IMAGE, "which asks whether the model is being trained"),
    ("lambda x: K.map_fn(lambda t: t, x)", IMAGE, "which calls a function on one part of a tensor after the other"),
    ("lambda x: tf.boolean_mask(x, x > 0)", IMAGE, "which gives a tensor whose shape depends on the numbers in it"),
    ("lambda x: K.variable(3.0) * x", IMAGE, "which makes or changes a variable"),
    ("lambda x: K.print_tensor(x)", IMAGE, "it calls K.print_tensor, which prints while the model runs"),
    ("lambda x: hasattr(x, 'a')", IMAGE, "it calls hasattr, which asks what a value is"),
    ("lambda x: K.is_keras_tensor(x)", IMAGE, "which differs from version to version"),
    ("lambda x: eval('1')", IMAGE, "it calls eval, which runs code of Python"),
    ("lambda x: len(x)", IMAGE, "it asks for the length of a tensor"),
    ("lambda x: sum(x)", IMAGE, "it takes Python's sum of a tensor"),
    ("lambda x: max(x, axis=1)", IMAGE, "max got the argument 'axis', which is not known"),
    ("lambda x: round(2.5) * x", IMAGE, "it rounds 2.5, which Python 2 and Python 3 round to different numbers"),
    ("lambda x: x if isinstance(x, float) else -x", IMAGE, "is of another type than a list or a tuple"),
]


def _build(text: str, shapes: tuple) -> None:
    import keras

    sizes = [[size or None for size in shape] for shape in shapes]
    tensors = [Tensor(keras.Input(each, dtype="int32" if shapes == IDS else "float32"), "x") for each in sizes]
    evaluate(parse_function(text), tensors if len(tensors) > 1 else tensors[0], Builder(ERA))


@pytest.mark.parametrize(("text", "shapes", "reason"), REFUSED, ids=[text for text, _, _ in REFUSED])
def test_what_is_not_certain_is_refused(text: str, shapes: tuple, reason: str) -> None:
    with pytest.raises(ModelError) as caught:
        _build(text, shapes)
    assert reason in str(caught.value)
