"""Shapes, constants and Python's built-ins in Lambdas: what is made of them against what the libraries compute."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from converters.errors import ModelError
from converters.lambdas.builder import Builder
from converters.lambdas.interpret import evaluate
from converters.lambdas.source_text import parse_function
from converters.lambdas.sums import adds_rightly
from converters.lambdas.values import Era, Tensor

ERA = Era(2, 2, "channels_last")
# The inputs: their shapes behind the batch, an open size as 0.
IMAGE = ((4, 6, 3),)
WIDE = ((0, 6, 3),)  # an open height
FREE = ((0, 0, 3),)
ROW = ((5,),)
PAIR = ((4, 6, 3), (4, 6, 2))
TWINS = ((4, 3), (4, 3))
IDS = ((-7, 5),)  # five integers below 7

CASES = [
    # shapes
    ("lambda x: tf.cast(tf.shape(x)[1:3], tf.float32) * tf.ones_like(x[..., :2])", IMAGE),
    ("lambda x: x * (K.int_shape(x)[1] + K.ndim(x))", IMAGE),
    ("lambda x: x * float(K.shape(x)[2]) + tf.cast(tf.rank(x), tf.float32)", IMAGE),
    ("lambda x: x[:, :tf.shape(x)[1] // 2]", IMAGE),
    ("lambda x: tf.reshape(x, tf.shape(x)[:1] + [0]) if False else x * tf.cast(tf.size(x[0]), tf.float32)", IMAGE),
    ("lambda x: tf.tile(x, tf.shape(tf.zeros((1, 2, 1, 3))))", IMAGE),
    ("lambda x: tf.reshape(x, tf.shape(x) * [1, 2, 1, 1] // [1, 1, 2, 1])", IMAGE),
    ("lambda x: ops.reshape(x, (ops.shape(x)[0], -1))", IMAGE),
    ("lambda x: ops.reshape(x, ops.shape(x)[:2] + (18,)) * ops.ndim(x)", IMAGE),
    # joining
    ("lambda x: K.concatenate([x[0], x[1]], axis=3)", PAIR),
    ("lambda x: K.concatenate(x)", PAIR),
    ("lambda x: tf.concat(x, -1)", PAIR),
    ("lambda x: tf.concat(values=[x, [[1, 2], [3, 4]]] if False else [x, x], axis=0)", ROW),
    ("lambda x: tf.concat(x, 1)", ROW),
    ("lambda x: tf.concat([x[:1], [[1, 2, 3, 4, 5]]], 0)", ROW),
    ("lambda x: tf.concat([x, np.ones((4, 5))], axis=0)", ROW),
    ("lambda x: ops.concatenate(x, axis=-1)", PAIR),
    ("lambda x: K.stack(x, axis=1)", TWINS),
    ("lambda x: tf.stack(x)", TWINS),
    ("lambda x: tf.stack([x[0], x[1], x[0]], -1)", TWINS),
    ("lambda x: ops.stack(x, axis=2)", TWINS),
    ("lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [6, 12]], 0))", IMAGE),
    ("lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:-2], [18]], axis=-1))", IMAGE),
    ("lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 3, 24]))", IMAGE),
    ("lambda x: K.reshape(x, K.stack([-1, K.prod(K.shape(x)[1:])]))", IMAGE),
    ("lambda x: K.reshape(x, K.concatenate([K.shape(x)[:1], K.shape(x)[2:], K.shape(x)[1:2]], axis=0))", IMAGE),
    # axes
    ("lambda x: K.squeeze(K.expand_dims(x), -1)", IMAGE),
    ("lambda x: K.expand_dims(x, 1)", IMAGE),
    ("lambda x: K.expand_dims(x, axis=-2)", IMAGE),
    ("lambda x: tf.expand_dims(x, -1)", IMAGE),
    ("lambda x: tf.compat.v1.expand_dims(x, dim=2)", IMAGE),
    ("lambda x: tf.expand_dims(input=x, axis=0)", IMAGE),
    ("lambda x: tf.squeeze(tf.expand_dims(tf.expand_dims(x, 1), 3), [1, 3])", ROW),
    ("lambda x: tf.squeeze(tf.expand_dims(x, 1), axis=1)", ROW),
    ("lambda x: tf.compat.v1.squeeze(tf.expand_dims(x, 2), squeeze_dims=-1)", ROW),
    ("lambda x: ops.squeeze(ops.expand_dims(x, (1, 3)), axis=(3, 1))", ROW),
    ("lambda x: K.permute_dimensions(x, (0, 3, 1, 2))", IMAGE),
    ("lambda x: K.permute_dimensions(x, pattern=[1, 0, 2, 3])", IMAGE),
    ("lambda x: tf.transpose(x)", IMAGE),
    ("lambda x: K.transpose(x)", ROW),
    ("lambda x: tf.transpose(x, perm=[0, 2, 1, 3])", IMAGE),
    ("lambda x: tf.transpose(a=x, perm=[0, -1, 1, 2])", IMAGE),
    ("lambda x: tf.compat.v1.transpose(x, [3, 1, 2, 0])", IMAGE),
    ("lambda x: ops.transpose(x, axes=(0, 3, 2, 1))", IMAGE),
    ("lambda x: ops.moveaxis(x, -1, 1)", IMAGE),
    ("lambda x: ops.moveaxis(x, [1, 2], [3, 1])", IMAGE),
    ("lambda x: ops.swapaxes(x, 1, -1)", IMAGE),
    ("lambda x: K.reverse(x, 1)", IMAGE),
    ("lambda x: K.reverse(x, axes=[-1, 2])", IMAGE),
    ("lambda x: tf.reverse(x, [0])", IMAGE),
    ("lambda x: tf.reverse(x, axis=[1, -1])", WIDE),
    ("lambda x: ops.flip(x)", IMAGE),
    ("lambda x: ops.flip(x, axis=2)", IMAGE),
    ("lambda x: tf.roll(x, 2, 1)", IMAGE),
    ("lambda x: tf.roll(x, shift=[1, -2, 4], axis=[1, 2, 1])", IMAGE),
    ("lambda x: ops.roll(x, 1)", IMAGE),
    ("lambda x: ops.roll(x, -1, axis=0)", IMAGE),
    # reshaping
    ("lambda x: K.reshape(x, (-1, 12, 6))", IMAGE),
    ("lambda x: K.reshape(x, [-1])", IMAGE),
    ("lambda x: tf.reshape(x, -1)", IMAGE),
    ("lambda x: tf.reshape(x, [-1, tf.shape(x)[1] * tf.shape(x)[2], x.shape[3]])", IMAGE),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0], -1))", IMAGE),
    ("lambda x: tf.reshape(x, [tf.shape(x)[0], -1, 6, x.get_shape()[-1]])", IMAGE),
    ("lambda x: tf.reshape(tf.reshape(x, (-1, 9)), (tf.shape(x)[0], -1))", IMAGE),
    ("lambda x: tf.reshape(tf.reshape(x, (-1, 6)), (-1, 4, 18))", IMAGE),
    ("lambda x: tf.reshape(tf.reshape(x, (-1, 6)), (tf.shape(x)[0], tf.shape(x)[1], 18))", IMAGE),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0], -1, 3))", WIDE),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1], 18))", WIDE),
    ("lambda x: tf.reshape(x, (-1, tf.shape(x)[1], 9, 2))", WIDE),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0], -1, tf.shape(x)[3]))", FREE),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0] * 1, 3, -1))", FREE),
    ("lambda x: K.reshape(x, (K.shape(x)[0], K.shape(x)[1], 18))", IMAGE),
    ("lambda x: tf.reshape(tf.tile(x[:1], [3, 1, 1, 1]), (3, -1, 3))", IMAGE),
    ("lambda x: tf.reshape(x[1:], (tf.shape(x[1:])[0], -1))", IMAGE),
    ("lambda x: tf.reshape(x[1:], (tf.shape(x)[0] - 0, -1)) if False else x", IMAGE),
    ("lambda x: tf.reshape(tf.transpose(x, [1, 0, 2, 3]), (4, tf.shape(x)[0], -1))", IMAGE),
    ("lambda x: x[0] + tf.reshape(x[1], (tf.shape(x[0])[0], -1, 3))", TWINS),
    ("lambda x: tf.reshape(x, (tf.shape(x)[0] * 24, 3))", IMAGE),
    ("lambda x: tf.reshape(x, [K.shape(x)[0] * K.shape(x)[1], 6 * x.shape[3]])", WIDE),
    ("lambda x: tf.reshape(x, (K.prod(K.shape(x)[:3]), 3))", FREE),
    ("lambda x: tf.reshape(tf.reshape(x, (tf.shape(x)[0] * tf.shape(x)[1], 18)), tf.shape(x))", IMAGE),
    ("lambda x: tf.reshape(x, [tf.size(x) // 3, 3])", IMAGE),
    ("lambda x: tf.reshape(tf.zeros(tf.size(x)) + 1, tf.shape(x)) + x", IMAGE),
    ("lambda x: K.flatten(x)", IMAGE),
    ("lambda x: K.batch_flatten(x)", IMAGE),
    ("lambda x: K.batch_flatten(x)", FREE),
    ("lambda x: ops.ravel(x)", IMAGE),
    # repeating
    ("lambda x: K.tile(x, (1, 2, 1, 3))", IMAGE),
    ("lambda x: K.tile(x, [2, 1, 1, 1])", IMAGE),
    ("lambda x: tf.tile(x, [1, 1, 2, 1])", FREE),
    ("lambda x: tf.tile(input=x, multiples=tf.constant([1, 1, 1, 2]))", IMAGE),
    ("lambda x: ops.tile(x, 2)", IMAGE),
    ("lambda x: ops.tile(x, (2, 1, 1, 1, 1))", IMAGE),
    ("lambda x: K.repeat(x, 3)", ROW),
    ("lambda x: K.repeat(x[0], K.shape(x[1])[1])", ((5,), (0, 3))),
    ("lambda x: K.repeat_elements(x, 3, 1)", IMAGE),
    ("lambda x: K.repeat_elements(x, rep=2, axis=-1)", IMAGE),
    ("lambda x: K.repeat_elements(x, 2, 1)", WIDE),
    ("lambda x: tf.repeat(x, 2, axis=2)", IMAGE),
    ("lambda x: tf.repeat(x, 2)", IMAGE),
    ("lambda x: tf.repeat(x, [1, 0, 3], axis=-1)", IMAGE),
    ("lambda x: tf.repeat(x, repeats=[2], axis=0)", IMAGE),
    ("lambda x: ops.repeat(x, 3, axis=1)", IMAGE),
    ("lambda x: tf.tile(tf.constant([[1., 2., 3.]]), [tf.shape(x)[0], 2])", IMAGE),
    ("lambda x: tf.tile(x[:, :1], (1, tf.shape(x)[1], 2, 1))", WIDE),
    ("lambda x: tf.broadcast_to(tf.constant([1.5, 2.5]), [tf.shape(x)[0], 4, 2])", IMAGE),
    ("lambda x: tf.broadcast_to(x[:, :1], tf.shape(x))", IMAGE),
    ("lambda x: ops.broadcast_to(ops.mean(x, axis=(0, 1), keepdims=True), (2, 4, 6, 3))", IMAGE),
    # parts
    ("lambda x: tf.split(x, 3, axis=2)", IMAGE),
    ("lambda x: tf.split(x, [1, 2], -1)", IMAGE),
    ("lambda x: tf.split(x, [1, -1, 2], 2)", IMAGE),
    ("lambda x: tf.split(x, [2, -1], axis=1)", WIDE),
    ("lambda x: tf.split(value=x, num_or_size_splits=2, axis=1)[1]", IMAGE),
    ("lambda x: tf.split(x, 1, axis=-1)[0] * tf.split(x, [3], 3)[0]", IMAGE),
    ("lambda x: ops.split(x, [1, 2], axis=-1)", IMAGE),
    ("lambda x: ops.split(x, 2, axis=2)", IMAGE),
    ("lambda x: tf.unstack(x, axis=1)", IMAGE),
    ("lambda x: tf.unstack(x, num=3, axis=-1)[2]", IMAGE),
    ("lambda x: ops.unstack(x, axis=-1)", IMAGE),
    ("lambda x: tf.stack(tf.unstack(x, axis=3)[::-1], 3)", IMAGE),
    ("lambda x: tf.slice(x, [0, 1, 0, 0], [-1, 2, 6, -1])", IMAGE),
    ("lambda x: tf.slice(x, (0, 1, 2, 1), (tf.shape(x)[0], 3, 1, 2))", IMAGE),
    ("lambda x: tf.slice(x, [0, 1, 0, 0], [-1, 2, -1, 1])", FREE),
    ("lambda x: ops.slice(x, (1, 1, 0, 0), (1, 2, 6, 3))", IMAGE),
    ("lambda x: tf.strided_slice(x, [0, 0, 1, 0], [2, 4, 6, 3], [1, 2, 3, 1])", IMAGE),
    ("lambda x: tf.strided_slice(x, [0, 0, 0], [tf.shape(x)[0], 4, 6], [1, 2, 2])", IMAGE),
    ("lambda x: tf.strided_slice(x, [0, 3, 0], [0, 0, 2], [1, -1, 1], begin_mask=4, end_mask=3)", IMAGE),
    ("lambda x: tf.strided_slice(x, [0, 1, 0, -1], [0, 0, 9, 0], end_mask=1, shrink_axis_mask=10)", IMAGE),
    ("lambda x: K.gather(x, [1, 0, 1])", IMAGE),
    ("lambda x: tf.gather(x, [2, 0], axis=3)", IMAGE),
    ("lambda x: tf.gather(x, 1, axis=-1)", IMAGE),
    ("lambda x: tf.one_hot(x, 3, 0.9, 0.1)", IDS),
    ("lambda x: tf.cumsum(x, 1, exclusive=True)", IMAGE),
    ("lambda x: tf.cumsum(x, 2, reverse=True)", IMAGE),
    ("lambda x: tf.math.cumprod(x, 3, exclusive=True, reverse=True)", IMAGE),
    ("lambda x: tf.scalar_mul(0.5, tf.atan2(x, x * x + 1.))", IMAGE),
    ("lambda x: tf.debugging.check_numerics(x, 'no')", IMAGE),
    ("lambda x: tf.image.resize_with_pad(x, 9, 5)", IMAGE),
    ("lambda x: x.__add__(2.).__mul__(x)", IMAGE),
    ("lambda x: tf.gather(x, indices=[[0, 1], [2, 2]], axis=2)", IMAGE),
    ("lambda x: tf.gather(tf.constant([[1.,2.], [3.,4.], [5.,6.], [7.,8.], [9.,1.], [2.,3.], [4.,0.]]), x)", IDS),
    ("lambda x: K.gather(K.constant(np.arange(21).reshape(7, 3)), x)", IDS),
    ("lambda x: tf.reshape(x, (tf.gather(tf.shape(x), 0), 72))", IMAGE),
    ("lambda x: ops.take(x, [-1, 0], axis=1)", IMAGE),
    ("lambda x: ops.take(x, 3)", IMAGE),
    ("lambda x: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1)", IMAGE),
    # padding
    ("lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3], [0, 0]])", IMAGE),
    ("lambda x: tf.pad(x, tf.constant([[0, 0], [1, 1], [2, 2], [0, 1]]), 'REFLECT')", IMAGE),
    ("lambda x: tf.pad(x, paddings=((0, 0), (4, 1), (2, 6), (0, 0)), mode='SYMMETRIC')", IMAGE),
    ("lambda x: tf.pad(x, [[1, 0], [1, 1], [2, 2], [0, 1]], constant_values=-2.5)", IMAGE),
    ("lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], 'reflect')", FREE),
    ("lambda x: tf.pad(x, [[0, 0], [0, 2]], constant_values=3)", IDS),
    ("lambda x: tf.compat.v1.pad(x, [[0, 0], [0, 2]], 'CONSTANT', constant_values=1)", ROW),
    ("lambda x: K.spatial_2d_padding(x)", IMAGE),
    ("lambda x: K.spatial_2d_padding(x, ((1, 2), (3, 0)), 'channels_first')", IMAGE),
    ("lambda x: K.spatial_2d_padding(x, padding=((0, 1), (0, 1)), data_format='channels_last')", FREE),
    ("lambda x: K.temporal_padding(x, (2, 0))", ((5, 3),)),
    ("lambda x: K.temporal_padding(x)", ((5, 3),)),
    ("lambda x: K.spatial_3d_padding(x, ((1, 0), (0, 2), (1, 1)))", ((2, 3, 4, 2),)),
    ("lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0)), constant_values=1.0)", IMAGE),
    ("lambda x: ops.pad(x, [[0, 0], [2, 1], [1, 1], [0, 0]], mode='reflect')", IMAGE),
    # order
    ("lambda x: tf.nn.top_k(x, 2)[0]", IMAGE),
    ("lambda x: tf.math.top_k(x, k=3).values", ROW),
    ("lambda x: tf.nn.top_k(x, 2, sorted=True).indices", ROW),
    ("lambda x: list(ops.top_k(x, 2))", ROW),
    ("lambda x: tf.sort(x, axis=1)", IMAGE),
    ("lambda x: tf.sort(x, direction='DESCENDING')", IMAGE),
    ("lambda x: tf.sort(x, -1, 'DESCENDING')", IDS),
    ("lambda x: tf.argsort(x)", IMAGE),
    ("lambda x: tf.argsort(tf.round(x), axis=2, direction='DESCENDING')", IMAGE),
    ("lambda x: ops.sort(x, axis=2)", IMAGE),
    ("lambda x: tf.one_hot(x, 7)", IDS),
    ("lambda x: tf.one_hot(x, depth=5, axis=1)", IDS),
    ("lambda x: tf.one_hot(x - 1, 5, 1.0, 0.0, dtype=tf.float32)", IDS),
    ("lambda x: K.one_hot(K.cast(x, 'uint8'), 7)", IDS),
    ("lambda x: K.one_hot(x, num_classes=4)", IDS),
    ("lambda x: ops.one_hot(x, 7, dtype='int32')", IDS),
    ("lambda x: tf.sequence_mask(x, 6)", IDS),
    ("lambda x: tf.sequence_mask(x[:, 0], maxlen=6, dtype=tf.float32)", IDS),
    # constants
    ("lambda x: x * tf.constant([1, 2, 3.5])", IMAGE),
    ("lambda x: x + tf.constant(2.0, shape=[4, 1, 3])", IMAGE),
    ("lambda x: x + tf.constant([1, 2, 3, 4, 5, 6], tf.float32, [6, 1])", IMAGE),
    ("lambda x: x - K.constant([[1, 2, 3]])", IMAGE),
    ("lambda x: x - K.constant(value=7, shape=(6, 3))", IMAGE),
    ("lambda x: x * tf.convert_to_tensor([0.5, 1, 2], dtype=tf.float32)", IMAGE),
    ("lambda x: tf.convert_to_tensor([x, x])", ROW),
    ("lambda x: x * np.array([0.1, 0.2, 0.3]) + np.float32(1) / np.int32(3)", IMAGE),
    ("lambda x: x + np.zeros((6, 3)) - np.ones(3, dtype='float32') * np.full((4, 1, 1), 3)", IMAGE),
    ("lambda x: x + tf.zeros((6, 3)) - tf.ones([3])", IMAGE),
    ("lambda x: tf.ones((tf.shape(x)[0], 3))", IMAGE),
    ("lambda x: tf.zeros([tf.shape(x)[0], 2, tf.shape(x)[1]], tf.int32)", WIDE),
    ("lambda x: tf.ones(tf.shape(x)[:-1], dtype=tf.bool)", WIDE),
    ("lambda x: tf.ones(tf.shape(x))", FREE),
    ("lambda x: tf.concat([tf.zeros(tf.stack([tf.shape(x)[0], 1])), x], 1)", ROW),
    ("lambda x: tf.fill([tf.shape(x)[0], 2], 0.25)", ROW),
    ("lambda x: tf.fill((2, 3), 7) + tf.cast(x[0, 0], tf.int32)", ROW),
    ("lambda x: K.zeros((2, 5)) + K.ones((5,)) + x[:2]", ROW),
    ("lambda x: K.zeros_like(x) + K.ones_like(x[:, :1])", IMAGE),
    ("lambda x: K.ones_like(x, dtype='int32')", IMAGE),
    ("lambda x: tf.zeros_like(x, tf.bool)", IMAGE),
    ("lambda x: tf.ones_like(x)", IDS),
    ("lambda x: ops.full_like(x, 2.5)", IMAGE),
    ("lambda x: x + ops.full((3,), 2) + ops.zeros((6, 1)) * ops.ones((3,))", IMAGE),
    ("lambda x: x[:, :, :3] * K.eye(3) - tf.eye(3)", IMAGE),
    ("lambda x: tf.eye(2, 3, batch_shape=[tf.shape(x)[0]])", IMAGE),
    ("lambda x: x[:, :, :3] * ops.eye(3, k=1) + np.eye(3)", IMAGE),
    ("lambda x: x * K.epsilon() * (1 if K.floatx() == 'float32' and K.dtype(x) == 'float32' else 2)", IMAGE),
    ("lambda x: x * (2 if K.image_data_format() == 'channels_last' else 3)", IMAGE),
    ("lambda x: x * (2 if K.backend() == 'tensorflow' else 3)", IMAGE),
    ("lambda x: K.cast_to_floatx(x)", IDS),
    ("lambda x: tf.stop_gradient(x) * tf.identity(x) + K.identity(x)", IMAGE),
    ("lambda x: K.stop_gradient(x) + tf.ensure_shape(x, (None, 4, 6, 3))", IMAGE),
    # ranges
    ("lambda x: x * tf.cast(tf.range(3), tf.float32)", IMAGE),
    ("lambda x: x * tf.range(0.5, 2, 0.5)", IMAGE),
    ("lambda x: x * tf.range(1, 4, dtype=tf.float32)", IMAGE),
    ("lambda x: x * K.arange(3, dtype='float32')", IMAGE),
    ("lambda x: x * K.arange(0., 1.5, 0.5)", IMAGE),
    ("lambda x: K.gather(x, K.arange(2))", IMAGE),
    ("lambda x: x * K.cast(K.arange(5, -1, -2), 'float32')", IMAGE),
    ("lambda x: x * K.cast(K.arange(0, K.shape(x)[3]), K.floatx())", IMAGE),
    ("lambda x: x * np.arange(3) + np.arange(6).reshape(6, 1)", IMAGE),
    ("lambda x: x * np.linspace(-1, 1, 3)", IMAGE),
    ("lambda x: x + tf.linspace(-1.0, 1.0, 3)", IMAGE),
    ("lambda x: x + ops.linspace(0.0, 1.0, 3) + ops.arange(3, dtype='float32')", IMAGE),
    ("lambda x: x + tf.reshape(tf.meshgrid(tf.range(3.0), tf.range(6.0))[1], (6, 3))", IMAGE),
    ("lambda x: x + tf.cast(tf.stack(tf.meshgrid([0, 1, 2], [4, 5], indexing='ij'), 0), tf.float32)[1, 0, 1]", IMAGE),
    # Python
    ("lambda x: x + tf.constant([[0.0], [1.0], [2.0]])", ((4, 3, 3),)),  # which Keras alone gets wrong
    ("lambda x: tf.constant([[0.0], [1.0], [2.0]]) + x + K.sum(x, axis=-1, keepdims=True)", ((3, 3),)),
    ("lambda x: x[0] * len(x) + sum(x) + sum([1, 2])", TWINS),
    ("lambda x: x * max(1, 2, 3) - min([4.5, 2]) + abs(-2) * int(7.9) + float('2') + round(2.4)", IMAGE),
    ("lambda x: K.concatenate(list(map(lambda i: x[..., i:i + 1] * i, range(3))))", IMAGE),
    ("lambda x: K.stack(list(map(lambda p: p[0] * p[1], zip(tf.unstack(x, axis=-1), [1., 2., 3.]))))", IMAGE),
    ("lambda x: K.stack(tuple(reversed(tf.unstack(x, axis=1))), 1)", IMAGE),
    ("lambda x: K.permute_dimensions(x, (0,) + tuple(range(2, K.ndim(x))) + (1,))", IMAGE),
    ("lambda x: K.stack(list(map(lambda p: p[1] * p[0], enumerate(tf.unstack(x, axis=1)))), 1)", IMAGE),
    ("lambda x: x[:, slice(1, 3)] * (2 if isinstance(x, (list, tuple)) else 3)", IMAGE),
    ("lambda x: (x[0] if isinstance(x, list) else x) * sorted([3, 1, 2])[0] * bool(1)", TWINS),
    ("lambda x: abs(x)", IMAGE),
]  # fmt: skip


class Backend:
    """keras.backend as Keras 2 had it: from Keras 3's own copy of it."""

    def __getattr__(self, name: str) -> object:
        import keras
        import tensorflow as tf
        from keras.src.legacy import backend

        if name in ("backend", "epsilon", "floatx", "image_data_format"):
            return getattr(keras.backend, name)
        return tf.identity if name == "identity" else getattr(backend, name)


def _built(text: str, shapes: tuple, era: Era = ERA) -> tuple[list, list, Builder]:
    import keras

    integers = shapes == IDS
    inputs = [
        keras.Input(batch_shape=(None, 5), dtype="int32") if integers else keras.Input([size or None for size in shape])
        for shape in shapes
    ]
    tensors = [Tensor(each, "x") for each in inputs]
    builder = Builder(era)
    made = evaluate(parse_function(text), tensors if len(tensors) > 1 else tensors[0], builder)
    return inputs, list(made) if isinstance(made, list | tuple) else [made], builder


def _data(shapes: tuple, batch: int, random: np.random.Generator) -> list[np.ndarray]:
    if shapes == IDS:
        return [random.integers(0, 7, (batch, 5), "int32")]
    sizes = [[size or 7 + axis for axis, size in enumerate(shape)] for shape in shapes]
    return [(2 * random.standard_normal((batch, *each))).astype("float32") for each in sizes]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list:
    """For each case and two batch sizes: the inputs, and the outputs of the model after saving and opening it."""
    import keras

    inputs, outputs, counts = [], [], []
    for text, shapes in CASES:
        ins, made, _ = _built(text, shapes)
        counts.append((len(ins), len(made)))
        inputs += ins
        outputs += [keras.layers.Identity()(each.keras) for each in made]
    path: Path = tmp_path_factory.mktemp("shapes") / "model.keras"
    keras.Model(inputs, outputs).save(path)
    model = keras.models.load_model(path)
    found: list = [[] for _ in CASES]
    for batch in (2, 4):
        data = [_data(shapes, batch, np.random.default_rng(batch)) for _, shapes in CASES]
        made = iter(model([array for arrays in data for array in arrays]))
        for index, (_, count) in enumerate(counts):
            found[index].append((data[index], [np.asarray(next(made)) for _ in range(count)]))
    return found


@pytest.mark.parametrize("index", range(len(CASES)), ids=[text for text, _ in CASES])
def test_a_lambda_computes_what_the_library_does(index: int, results: list) -> None:
    import keras
    import tensorflow as tf

    function = eval(CASES[index][0], {"K": Backend(), "tf": tf, "np": np, "ops": keras.ops})  # noqa: S307
    for data, made in results[index]:
        tensors = [tf.constant(array) for array in data]
        wanted = function(tensors if len(tensors) > 1 else tensors[0])
        wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        assert len(made) == len(wanted)
        for one, other in zip(made, map(np.asarray, wanted), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_no_number_of_a_tensor_enters_what_takes_its_size() -> None:
    import keras

    inputs, (made,), _ = _built("lambda x: tf.ones((tf.shape(x)[0], tf.shape(x)[1] * 2))", WIDE)
    result = keras.Model(inputs, made.keras)([np.full((3, 5, 6, 3), np.nan, "float32")])
    np.testing.assert_array_equal(result, np.ones((3, 10)))


def test_a_size_survives_a_changed_batch_axis() -> None:
    """Axis 0 of a reshaped tensor is not the batch, though both are open."""
    _, (made,), _ = _built("lambda x: tf.reshape(tf.reshape(x, (-1, 9)), (tf.shape(x)[0], -1))", IMAGE)
    assert made.shape == (None, 72)
    with pytest.raises(ModelError):  # (144, ...) of an even batch, (72,) of one image
        _built("lambda x: tf.reshape(x, (tf.shape(x[::2])[0], -1))", IMAGE)


@pytest.mark.parametrize(
    ("era", "text", "assumption"),
    [
        (Era(data_format="channels_first"), "'th'", "K.image_data_format() is 'channels_first', as the layers of"),
        (Era(), "'tf'", "K.image_data_format() is 'channels_last', Keras's default"),
    ],
)
def test_the_layout_is_that_of_the_layers(era: Era, text: str, assumption: str) -> None:
    _, (made,), builder = _built(f"lambda x: x * (2 if K.image_dim_ordering() == {text} else 3)", IMAGE, era)
    assert "2" in made.text
    assert any(each.startswith(assumption) for each in builder.assumptions)


def test_keras_adds_only_where_it_is_right() -> None:
    """Every pair of shapes up to rank 3 of sizes 1 to 3, the first of which may be open."""
    from keras import ops

    shapes = [shape for rank in range(4) for shape in itertools.product((1, 2, 3), repeat=rank)]
    wrong = 0
    for one, other in itertools.product(shapes, shapes):
        if any(size != than and 1 not in (size, than) for size, than in zip(one[::-1], other[::-1], strict=False)):
            continue
        x, y = (np.arange(1.0, np.prod(shape) + 1, dtype="float32").reshape(shape) for shape in (one, other))
        made = np.asarray(ops.add(x, y)) if one != other else x + y
        if made.shape == (x + y).shape and np.array_equal(made, x + y):
            continue
        wrong += 1
        for first, second in itertools.product((one, (None, *one[1:])), (other, (None, *other[1:]))):
            assert not adds_rightly(first if one else (), second if other else ())
    assert wrong  # else Keras is mended, and sums.py can go
