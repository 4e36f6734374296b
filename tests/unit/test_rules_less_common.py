"""Less common functions in Lambdas (losses, items by number, inverses, NumPy's): against what the libraries compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy import backend

from converters.errors import ModelError
from converters.lambdas.builder import Builder
from converters.lambdas.interpret import evaluate
from converters.lambdas.source_text import parse_function
from converters.lambdas.values import Era, Tensor

TF2, TF1, KERAS3 = Era(2, 2, "channels_last", centred=True), Era(2, 1, "channels_last"), Era(3, 2, "channels_last")
ROWS = [(5, 6), (5, 6)]

CASES = [
    # (inputs' shapes behind the batch, era, lambdas)
    (
        ROWS,
        TF2,
        """
        lambda z: tf.nn.sigmoid_cross_entropy_with_logits(labels=z[0], logits=z[1])
        lambda z: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(z[0]), z[1])
        lambda z: tf.nn.softmax_cross_entropy_with_logits(labels=z[0], logits=z[1], axis=1)
        lambda z: tf.compat.v1.nn.softmax_cross_entropy_with_logits_v2(labels=z[0], logits=z[1])
        lambda z: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.argmax(z[0], -1), logits=z[1])
        lambda z: K.binary_crossentropy(z[0], z[1], from_logits=True)
        lambda z: K.categorical_crossentropy(z[0], z[1], from_logits=True)
        lambda z: keras.losses.mean_squared_error(z[0], z[1])
        lambda z: K.mean(keras.losses.mean_absolute_error(z[0], z[1]), axis=-1)
        lambda z: keras.losses.poisson(z[0], tf.abs(z[1]))
        lambda z: keras.losses.log_cosh(z[0], z[1])
        lambda z: tf.math.xlogy(tf.nn.relu(z[0]), tf.abs(z[1]))
        lambda z: tf.math.xdivy(tf.nn.relu(z[0]), z[1])
        lambda z: tf.math.xlog1py(tf.nn.relu(z[0]), tf.abs(z[1]))
        lambda z: tf.gather(z[0], tf.argmax(z[1], axis=1, output_type=tf.int32) % 5, batch_dims=1)
        lambda z: tf.gather(z[0], tf.argsort(z[1][:, :, :5], -1) % 5, batch_dims=1, axis=1)
        lambda z: tf.gather(z[0][:, :, 0], tf.argsort(z[1][:, :, 0]), batch_dims=1)
        lambda z: tf.linalg.cross(z[0][..., :3], z[1][..., 3:])
        """,
    ),
    (
        ROWS[:1],
        TF2,
        """
        lambda x: tf.gather_nd(tf.transpose(x, (1, 2, 0)), [[0, 1], [4, 5]])
        lambda x: tf.gather_nd(x, [[0], [1]])
        lambda x: tf.nn.embedding_lookup(tf.constant([[1., 2.], [3., 4.]]), tf.cast(x[:, :, 0] > 0, tf.int32))
        lambda x: tf.boolean_mask(x, [True, False, True, True, False], axis=1)
        lambda x: tf.boolean_mask(x, np.ones((5, 6)) > np.eye(5, 6), axis=1)
        lambda x: tf.linalg.diag(x)
        lambda x: tf.math.count_nonzero(tf.nn.relu(x), axis=-1)
        lambda x: tf.math.count_nonzero(tf.nn.relu(x), axis=[1, 2], keepdims=True, dtype=tf.int32)
        lambda x: tf.math.polyval([1., -2., 0.5], x)
        lambda x: tf.math.polyval([3., x], x)
        lambda x: tf.clip_by_norm(x, 2.0)
        lambda x: tf.clip_by_norm(x, 0.5, axes=[-1])
        lambda x: tf.saturate_cast(x * 200, tf.uint8)
        lambda x: tf.saturate_cast(x * 1e6, tf.int16)
        lambda x: tf.linalg.det(x[:, :3, :3])
        lambda x: tf.linalg.inv(x[:, :5, :5] + 5 * tf.eye(5))
        lambda x: x * np.cos(0.3) + np.sin([0.1] * 6)
        lambda x: x * np.outer(np.hanning(5), np.hamming(6)).astype('float32')
        lambda x: x + np.where(np.arange(6) > 2, 1.0, -1.0)
        lambda x: x @ np.diag([1., 2., 3., 4., 5., 6.]).astype('float32') + np.arctan2(1.0, 2.0)
        lambda x: x + np.vstack([np.zeros(6), np.ones((4, 6))])
        lambda x: x * np.floor(np.tanh(np.deg2rad(30.0)) * 10)
        """,
    ),
    (
        [(None, 6)],
        TF2,
        """
        lambda x: K.sum(x, axis=1) / K.cast(K.shape(x)[1], 'float32')
        lambda x: x * tf.cast(tf.shape(x)[1], tf.float32) / tf.sqrt(tf.cast(tf.shape(x)[0], tf.float32))
        lambda x: tf.reshape(x, (tf.cast(tf.shape(x)[0], 'int32'), -1, 3))
        """,
    ),
    (
        ROWS,
        KERAS3,
        """
        lambda z: ops.binary_crossentropy(ops.sigmoid(z[0]), ops.sigmoid(z[1]))
        lambda z: ops.binary_crossentropy(z[0], z[1], from_logits=True)
        lambda z: ops.categorical_crossentropy(ops.softmax(z[0]), ops.softmax(z[1]))
        lambda z: ops.det(z[0][:, :2, :2]) + ops.inv(z[1][:, :1, :1])[:, 0, 0]
        """,
    ),
]  # fmt: skip
REFUSED = [
    ("lambda z: K.binary_crossentropy(z[0], z[1])", TF2, "versions of Keras clip in different ways"),
    ("lambda z: K.categorical_crossentropy(z[0], z[1])", TF1, "versions of Keras clip in different ways"),
    ("lambda z: K.binary_crossentropy(z[0], z[1], from_logits=True)", TF1, "change places within Keras 2.0"),
    ("lambda z: keras.losses.mse(z[0], z[1][..., :1])", TF2, "whose shapes differ"),
    ("lambda z: tf.boolean_mask(z[0], z[1] > 0)", TF2, "whose shape depends on the numbers in it"),
    ("lambda z: tf.boolean_mask(z[0], [True, False], axis=1)", TF2, "it masks a tensor of shape"),
    ("lambda z: tf.gather_nd(z[0], tf.cast(z[1], tf.int32))", TF2, "that are no constants"),
    ("lambda z: tf.gather_nd(z[0], [[0, 7]])", TF2, "an item that is not there"),
    ("lambda z: tf.gather(z[0], tf.cast(z[1], tf.int32), batch_dims=2)", TF2, "batch_dims=2"),
    ("lambda z: tf.saturate_cast(z[0], tf.int32)", TF2, "to the nearest number of int32"),
    ("lambda z: np.cos(z[0])", TF2, "np.cos of a tensor, which NumPy does not compute"),
    ("lambda z: z[0] * np.outer(np.ones(10**5), np.ones(10**5))", TF2, "larger than"),
    ("lambda z: z[0] * np.hanning(10**9)", TF2, "larger than"),
    ("lambda z: tf.linalg.inv(z[0])", TF2, "for square matrices"),
    ("lambda z: tf.reduce_maen(z[0])", TF2, "tf.reduce_maen, which is not known; did you mean 'tf.reduce_mean'"),
    ("lambda z: tf.linalg.lu(z[0])", TF2, "tf.linalg.lu, which is not known$"),
    ("lambda z: tf.signal.fft(z[0])", TF2, "tf.signal, which is not known$"),
    ("lambda z: keras.layers.Masking()(z[0])", TF2, "Masking, which is not known$"),
    ("lambda z: tf.math.erfc(z[0])", TF2, "tf.math.erfc, which is not known$"),
]


def test_keras_2_3_multiplies_as_later_versions_do() -> None:
    """Compared with files of Keras 2.3.1 for every pair of axes of 2, 3 and 4 dimensions; here with TensorFlow's."""
    from converters.lambdas.era import era_of

    assert era_of({}, "2.3.1").is_keras_2_3
    for version in ("2.2.4-tf", "2.2.4", "2.4.0", None):
        assert not era_of({}, version).is_keras_2_3
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(3, 2, 4, 5)).astype("f"), random.normal(size=(3, 6, 2, 5)).astype("f")]
    inputs = [keras.Input(array.shape[1:]) for array in arrays]
    text = "lambda z: K.batch_dot(z[0], z[1], axes=[3, 3])"
    made = keras.Model(inputs, _build(text, inputs, Era(2, None, is_keras_2_3=True)).keras)(arrays)
    np.testing.assert_allclose(np.asarray(made), np.einsum("abcd,aefd->abcef", *arrays), rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r"Keras 2\.2 and TensorFlow 1 multiplied in another way"):
        _build(text, inputs, Era(2, None))


def _build(text: str, inputs: list[Any], era: Era) -> Any:
    tensors = [Tensor(each, f"x{index}") for index, each in enumerate(inputs)]
    return evaluate(parse_function(text), tensors if len(tensors) > 1 else tensors[0], Builder(era))


@pytest.mark.parametrize("case", range(len(CASES)))
def test_computes_what_the_library_computes(case: int, tmp_path: Path) -> None:
    shapes, era, text = CASES[case]
    lines = [line.strip() for line in text.strip().splitlines()]
    inputs = [keras.Input(shape) for shape in shapes]
    outputs = [_build(line, inputs, era).keras for line in lines]
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(3, *(4 if size is None else size for size in shape))).astype("f") for shape in shapes]
    arrays[0][0, 0] = 0.0
    model = keras.models.load_model(tmp_path / "m.keras")
    made = model(arrays)
    names = {"tf": tf, "K": backend, "np": np, "keras": keras, "ops": keras.ops}
    tensors = [tf.constant(array) for array in arrays]
    wrong = []
    for line, got in zip(lines, made, strict=True):
        wanted = np.asarray(eval(line, dict(names))(tensors[0] if len(tensors) == 1 else tensors))  # noqa: S307 - above
        found = np.asarray(got)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            wrong.append(f"{line}: {found.shape} {found.dtype}, not {wanted.shape} {wanted.dtype}")
        elif not np.allclose(found.astype("d"), wanted.astype("d"), rtol=2e-6, atol=2e-6 * np.abs(wanted).max()):
            wrong.append(f"{line}: off by {np.abs(found.astype('d') - wanted.astype('d')).max()}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("text", "era", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refuses(text: str, era: Era, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        _build(text, [keras.Input(shape) for shape in ROWS], era)
