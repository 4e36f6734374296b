"""Activations, products and images in Lambdas: what is made of them against what the libraries compute."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ModelError
from converters.lambdas.builder import Builder
from converters.lambdas.interpret import evaluate
from converters.lambdas.rules.sampling import repeats, sampling
from converters.lambdas.source_text import parse_function
from converters.lambdas.values import Era, Tensor

TF1, TF2 = Era(2, 1, "channels_last", centred=False), Era(2, 2, "channels_last", centred=True)
UNKNOWN = Era(2, None, "channels_last")
KERAS3 = Era(3, 2, "channels_last")
# Rounding: the operations are the same, or sums of a few dozen float32 terms in another order.
TOLERANCE = 1e-6

Shapes = tuple[tuple[int | None, ...], ...]


@dataclasses.dataclass(frozen=True)
class Group:
    """Lambdas on inputs of the same shapes, behind the batch, that become one model.

    lines: each a Lambda, or two with ` == ` between them, of which the second is what the first means in that era.
    """

    name: str
    shapes: Shapes
    lines: str
    era: Era = TF2
    dtype: str = "float32"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        parts = [line.strip().split(" == ") for line in self.lines.strip().splitlines()]
        return [(part[0], part[-1]) for part in parts]


def _each(template: str, values: str) -> str:
    return "\n".join(template.replace("?", value) for value in values.split())


def _resizes(template: str, methods: str, sizes: tuple[str, ...]) -> str:
    return "\n".join(_each(template.replace("!", size), methods) for size in sizes)


_ROWS: Shapes = ((4, 6),)
_IMAGE: Shapes = ((8, 6, 3),)
_OPEN: Shapes = ((None, None, 8),)
_MATRICES: Shapes = ((3, 4), (4, 5))
_SIZES = ("(16, 12)", "(4, 3)", "(13, 5)", "(8, 6)", "(1, 24)")

GROUPS = [
    Group(
        "activations",
        _ROWS,
        _each(
            "lambda x: tf.?(x)",
            "nn.relu nn.relu6 nn.leaky_relu nn.elu nn.selu nn.crelu nn.softmax nn.log_softmax math.softmax sigmoid "
            "nn.sigmoid math.sigmoid nn.tanh tanh math.tanh nn.softplus math.softplus nn.softsign nn.swish "
            "nn.silu nn.gelu math.log_sigmoid compat.v1.log_sigmoid compat.v1.nn.softmax",
        )
        + "\n"
        + _each("lambda x: K.?(x)", "relu elu softmax sigmoid hard_sigmoid tanh softplus softsign")
        + """
        lambda x: activations.hard_sigmoid(x) == lambda x: K.hard_sigmoid(x)
        lambda x: activations.get('hard_sigmoid')(x) == lambda x: K.hard_sigmoid(x)
        lambda x: K.elu(x, .3)
        lambda x: tf.nn.leaky_relu(x, alpha=.1)
        lambda x: tf.nn.crelu(x, axis=1)
        lambda x: tf.compat.v1.nn.crelu(x, None, 1)
        lambda x: K.softmax(x, axis=1)
        lambda x: K.softmax(x, axis=(1, 2))
        lambda x: tf.nn.softmax(x, axis=0)
        lambda x: tf.compat.v1.nn.softmax(x, dim=1)
        lambda x: tf.nn.log_softmax(x, axis=-2)
        lambda x: tf.nn.swish(x, beta=2.)
        lambda x: tf.nn.gelu(x, True)
        lambda x: tf.nn.softplus(features=x)""",
    ),
    Group(
        "relu",
        _ROWS,
        "\n".join(
            f"lambda x: K.relu(x, alpha={alpha}, max_value={limit}, threshold={start})"
            for alpha in (0.0, 0.3, 1.5)
            for limit in (None, 6.0, 2.5)
            for start in (0.0, 1.0, -0.5)
        ),
    ),
    Group(
        "keras 3",
        _ROWS,
        _each(
            "lambda x: ops.?(x)",
            "relu relu6 leaky_relu elu selu softmax log_softmax sigmoid tanh softplus softsign silu swish gelu "
            "hard_sigmoid hard_silu hard_swish log_sigmoid celu glu squareplus hard_shrink soft_shrink "
            "sparse_plus tanh_shrink hard_tanh normalize",
        )
        + "\n"
        + _each(
            "lambda x: activations.get('?')(x)",
            "relu leaky_relu relu6 softmax elu selu softplus softsign silu gelu tanh sigmoid exponential "
            "hard_sigmoid linear mish log_softmax swish",
        )
        + """
        lambda x: keras.activations.relu(x, negative_slope=.1, max_value=3., threshold=1.)
        lambda x: keras.activations.threshold(x, .5, 2)
        lambda x: K.hard_sigmoid(x)
        lambda x: keras.layers.Activation('relu')(x)
        lambda x: tf.keras.activations.elu(x, .2)
        lambda x: ops.gelu(x, approximate=False)
        lambda x: ops.softmax(x, axis=(1, 2))
        lambda x: ops.normalize(x, axis=1, order=1)
        lambda x: ops.normalize(x, axis=-1, order=3, epsilon=.1)""",
        era=KERAS3,
    ),
    Group(
        "normalizing",
        _ROWS,
        """
        lambda x: tf.nn.l2_normalize(x)
        lambda x: K.l2_normalize(x)
        lambda x: K.l2_normalize(x, axis=-1)
        lambda x: K.l2_normalize(x * 0, axis=-1)
        lambda x: tf.nn.l2_normalize(x, [1, 2])
        lambda x: tf.math.l2_normalize(x, axis=-1, epsilon=100.)
        lambda x: tf.compat.v1.nn.l2_normalize(x, dim=-1)
        lambda x: tf.linalg.normalize(x, 1, axis=1)[0]
        lambda x: tf.nn.batch_normalization(x, tf.reduce_mean(x, 1, keepdims=True), 2., None, None, 1e-3)
        lambda x: tf.nn.batch_normalization(x, .5, tf.square(x), .1, 3., variance_epsilon=1e-3)
        lambda x: tf.nn.bias_add(x, [1., 2., 3., 4., 5., 6.])
        lambda x: K.bias_add(x, tf.ones((6,)), 'channels_last')
        lambda x: tf.norm(x)
        lambda x: tf.norm(x, axis=-1, keepdims=True)
        lambda x: tf.norm(x, ord=1, axis=-1)
        lambda x: tf.norm(x, ord=3, axis=-1)
        lambda x: tf.norm(x, ord=0.5, axis=1)
        lambda x: tf.norm(x, ord=np.inf)
        lambda x: tf.norm(x, ord='fro', axis=[-2, -1])
        lambda x: tf.norm(x, ord=1, axis=[2, 1], keepdims=True)
        lambda x: tf.norm(x, ord=np.inf, axis=[1, 2])
        lambda x: tf.compat.v1.norm(x, axis=1, keep_dims=True)""",
    ),
    Group(
        "products",
        _MATRICES,
        """
        lambda x: tf.matmul(x[0], x[1])
        lambda x: tf.matmul(x[0], x[0], transpose_b=True)
        lambda x: tf.linalg.matmul(x[0], x[0], adjoint_a=True)
        lambda x: tf.matmul(x[0], tf.ones((4, 2)))
        lambda x: tf.matmul(tf.ones((2, 3)), x[0])
        lambda x: tf.linalg.matvec(x[1], x[1][:, :, 0], transpose_a=True)
        lambda x: tf.einsum('bij, bjk -> bki', x[0], x[1])
        lambda x: tf.einsum('...ij,...jk->...ik', x[0], x[1])
        lambda x: tf.einsum('bij->b', x[0])
        lambda x: tf.tensordot(x[0], x[1][0], 1)
        lambda x: tf.tensordot(x[0], x[1], [2, 1])
        lambda x: tf.tensordot(x[0], x[1], axes=[[0, 2], [0, 1]])
        lambda x: K.dot(x[0], x[1])
        lambda x: K.dot(x[0], x[1][0])
        lambda x: tf.linalg.trace(x[0])
        lambda x: tf.linalg.diag_part(x[1])
        lambda x: tf.linalg.matrix_transpose(x[1])
        lambda x: tf.linalg.band_part(x[1], 1, 0)
        lambda x: tf.linalg.band_part(x[1], 0, -1)""",
    ),
    Group(
        "merging",
        _MATRICES,
        """
        lambda x: ops.matmul(x[0], x[1])
        lambda x: keras.ops.numpy.dot(x[0], x[1])
        lambda x: keras.ops.nn.relu(x[0])
        lambda x: ops.linalg.norm(x[0], axis=-1)
        lambda x: ops.tensordot(x[0], x[1], axes=[[2], [1]])
        lambda x: ops.norm(x[0], ord=1, axis=-1, keepdims=True)
        lambda x: ops.norm(x[0], ord='fro', axis=(1, 2))
        lambda x: keras.layers.dot([x[0], x[1]], axes=(2, 1))
        lambda x: keras.layers.dot([x[0], x[0]], axes=-1, normalize=True)
        lambda x: keras.layers.add([x[0], x[0], x[0] * 2])
        lambda x: keras.layers.subtract([x[0], x[0] * 2])
        lambda x: keras.layers.multiply([x[0], x[0]])
        lambda x: keras.layers.average([x[0], x[0] * 2, x[0] * x[0]])
        lambda x: tf.keras.layers.maximum([x[0], -x[0]])
        lambda x: keras.layers.concatenate([x[0], x[0]], axis=1)""",
        era=KERAS3,
    ),
    *(
        Group(
            f"batch_dot {shapes} {era}",
            shapes,
            "\n".join(f"lambda x: K.batch_dot(x[0], x[1]{each})" for each in axes),
            era=era,
        )
        for shapes, axes, era in (
            (((4,), (4,)), ("", ", 1", ", axes=(-1, 1)"), TF2),
            (((4,), (4,)), (", 1", ", axes=(1, 1)"), TF1),
            (((3, 4), (4,)), ("", ", axes=(2, 1)", ", axes=[-1, -1]"), TF2),
            (((4, 3), (4,)), (", 1",), TF1),
            (((4,), (5, 4)), (", axes=(1, 2)",), TF1),
            (((3, 4), (4, 5)), ("", ", axes=[2, 1]"), UNKNOWN),
            (((4, 3), (5, 4)), (", axes=(1, 2)",), TF1),
            (((2, 3, 4), (5, 4, 3)), ("", ", axes=(3, 2)", ", axes=(2, 3)"), TF2),
            (((4, 2), (3, 4, 5)), (", axes=(1, 2)",), KERAS3),
        )
    ),
    Group(
        "windows",
        _IMAGE,
        """
        lambda x: tf.nn.max_pool(x, 2, 2, 'VALID')
        lambda x: tf.nn.max_pool(x, [1, 3, 2, 1], [1, 2, 1, 1], 'SAME')
        lambda x: tf.nn.avg_pool(x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding='SAME')
        lambda x: tf.compat.v1.nn.max_pool(value=x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding='SAME')
        lambda x: tf.nn.avg_pool1d(x[:, 0], 3, 1, 'SAME')
        lambda x: K.pool2d(x, (2, 2))
        lambda x: K.pool2d(x, (3, 2), strides=(2, 2), padding='same', pool_mode='avg')
        lambda x: tf.nn.conv2d(x, tf.ones((3, 2, 3, 2)), strides=[1, 2, 2, 1], padding='VALID')
        lambda x: tf.nn.conv2d(x, filters=tf.ones((3, 3, 3, 2)), strides=1, padding='SAME', dilations=2)
        lambda x: tf.nn.depthwise_conv2d(x, tf.ones((3, 3, 3, 2)), strides=[1, 2, 2, 1], padding='SAME')
        lambda x: K.depthwise_conv2d(x, tf.ones((3, 3, 3, 1)) / 9, padding='same')
        lambda x: tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], 'VALID')
        lambda x: tf.image.extract_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 2, 2, 1], 'SAME')
        lambda x: tf.image.extract_patches(x, [1, 3, 2, 1], [1, 3, 4, 1], [1, 1, 1, 1], 'SAME')
        lambda x: tf.compat.v1.extract_image_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], 'SAME')
        lambda x: tf.image.sobel_edges(x)
        lambda x: tf.nn.lrn(x)
        lambda x: tf.nn.local_response_normalization(x, depth_radius=1, bias=2., alpha=.3, beta=.75)
        lambda x: tf.nn.space_to_depth(x, 2)
        lambda x: tf.nn.depth_to_space(tf.concat([x, x, x, x], -1), 2)
        lambda x: tf.compat.v1.depth_to_space(tf.concat([x, x, x], -1), 3)""",
    ),
    Group(
        "images",
        _IMAGE,
        """
        lambda x: tf.image.rgb_to_grayscale(x)
        lambda x: tf.image.grayscale_to_rgb(x[..., :1])
        lambda x: tf.image.rgb_to_yuv(x)
        lambda x: tf.image.yuv_to_rgb(x)
        lambda x: tf.image.rgb_to_yiq(x)
        lambda x: tf.image.yiq_to_rgb(x)
        lambda x: tf.image.rgb_to_hsv(tf.abs(x))
        lambda x: tf.image.hsv_to_rgb(tf.sigmoid(x))
        lambda x: tf.image.flip_left_right(x)
        lambda x: tf.image.flip_up_down(x)
        lambda x: tf.image.transpose(x)
        lambda x: tf.image.rot90(x)
        lambda x: tf.image.rot90(x, k=2)
        lambda x: tf.image.rot90(x, 3)
        lambda x: tf.image.per_image_standardization(x)
        lambda x: tf.image.per_image_standardization(x * 0 + 1)
        lambda x: tf.image.adjust_brightness(x, .3)
        lambda x: tf.image.adjust_contrast(x, 2.)
        lambda x: tf.image.adjust_gamma(tf.abs(x), .5, 2)
        lambda x: tf.image.convert_image_dtype(x, tf.float64)
        lambda x: tf.image.central_crop(x, .73)
        lambda x: tf.image.crop_to_bounding_box(x, 1, 2, 5, 4)
        lambda x: tf.image.pad_to_bounding_box(x, 1, 2, 10, 9)
        lambda x: tf.image.resize_with_crop_or_pad(x, 5, 9)
        lambda x: tf.image.resize_with_crop_or_pad(x, 11, 3)
        lambda x: tf.image.total_variation(x)
        lambda x: keras.applications.imagenet_utils.preprocess_input(x, mode='torch')
        lambda x: resnet50.preprocess_input(x) == lambda x: keras.applications.resnet50.preprocess_input(x)
        """
        + _each(
            "lambda x: keras.applications.?.preprocess_input(x)",
            "vgg16 resnet xception inception_v3 mobilenet_v2 nasnet resnet_v2 densenet efficientnet",
        ),
    ),
    Group(
        "open sizes",
        _OPEN,
        """
        lambda x: tf.nn.depth_to_space(x, 2)
        lambda x: tf.nn.space_to_depth(tf.image.resize(x, (6, 4)), 2)
        lambda x: tf.nn.space_to_depth(tf.nn.depth_to_space(x, 2), 2)
        lambda x: tf.image.extract_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], 'SAME')
        lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], 'SAME')
        lambda x: tf.image.sobel_edges(x)
        lambda x: tf.nn.max_pool(x, 2, 2, 'SAME')
        lambda x: tf.image.resize(x, (5, 7))
        lambda x: tf.image.resize(x, (5, 7), 'nearest')
        lambda x: K.resize_images(x, 2, 3, 'channels_last')
        lambda x: K.resize_images(x, 2, 3, 'channels_last', interpolation='bilinear')
        lambda x: tf.image.total_variation(x)""",
    ),
    Group(
        "resizing",
        _IMAGE,
        _resizes("lambda x: tf.image.resize(x, !, method='?')", "bilinear nearest bicubic lanczos3", _SIZES)
        + """
        lambda x: tf.image.resize(x, (5, 3), antialias=True)
        lambda x: tf.image.resize(x, tf.shape(x)[1:3] * 2)
        lambda x: tf.image.resize(x, (20, 9), preserve_aspect_ratio=True)
        lambda x: tf.image.resize(x, (4, 2), 'area')
        lambda x: tf.image.resize(x[0], (5, 7))
        lambda x: tf.image.resize(x, [16, 12], tf.image.ResizeMethod.BICUBIC)
        lambda x: K.resize_images(x, 7, 11, 'channels_last')
        lambda x: K.resize_images(x, 2, 3, 'channels_last', interpolation='bilinear')
        lambda x: K.resize_images(x, 2, 3, 'channels_first')
        lambda x: K.resize_images(x, 2, 2, 'channels_first', 'bilinear')""",
    ),
    Group(
        "resizing of TensorFlow 1",
        ((7, 5, 3),),
        _resizes(
            "lambda x: tf.compat.v1.image.resize_?(x, !)\n"
            "lambda x: tf.compat.v1.image.resize_?(x, !, align_corners=True)",
            "bilinear nearest_neighbor bicubic",
            (*_SIZES, "(33, 100)"),
        )
        + "\n"
        + _resizes(
            "lambda x: tf.image.resize(x, !, method='?') == lambda x: tf.compat.v1.image.resize(x, !, method='?')",
            "bilinear nearest bicubic",
            ("(9, 14)",),
        )
        + """
        lambda x: tf.compat.v1.image.resize_bilinear(x, (9, 4), half_pixel_centers=True)
        lambda x: tf.compat.v1.image.resize_images(x, (11, 12), method=2, align_corners=True)
        lambda x: tf.compat.v1.image.resize_images(x, (11, 12), 1)
        lambda x: tf.compat.v1.image.resize(x, (7, 5))
        lambda x: tf.image.resize_images(x, (9, 4)) == lambda x: tf.compat.v1.image.resize_images(x, (9, 4))
        lambda x: tf.image.resize(x, (9, 4), antialias=False)
        lambda x: K.resize_images(x, 2, 3, 'channels_last')
        lambda x: K.resize_images(x, 2, 2, 'channels_last', 'bilinear') \
== lambda x: tf.compat.v1.image.resize_bilinear(x, (14, 10))""",
        era=TF1,
    ),
    Group(
        "resizing of either",
        _IMAGE,
        """
        lambda x: tf.image.resize(x, (16, 12), 'nearest')
        lambda x: tf.image.resize(x, (8, 6))
        lambda x: tf.image.resize(x, (9, 4), antialias=False)
        lambda x: tf.image.resize(x, (9, 4), align_corners=False) == lambda x: tf.compat.v1.image.resize(x, (9, 4))
        lambda x: K.resize_images(x, 3, 2, 'channels_last')
        lambda x: K.resize_images(x, 1, 1, 'channels_last', 'bilinear')""",
        era=UNKNOWN,
    ),
    Group(
        "bytes",
        _IMAGE,
        """
        lambda x: tf.image.resize(x, (5, 7))
        lambda x: tf.image.resize(x, (8, 6))
        lambda x: tf.image.resize(x, (5, 7), 'nearest')
        lambda x: tf.compat.v1.image.resize_bilinear(x, (5, 7))
        lambda x: tf.compat.v1.image.resize(x, (8, 6))
        lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, (5, 7))
        lambda x: tf.image.convert_image_dtype(x, tf.float32)
        lambda x: tf.image.flip_left_right(x)
        lambda x: tf.nn.space_to_depth(x, 2)
        lambda x: tf.nn.relu(tf.cast(x, tf.int32) - 100)""",
        dtype="uint8",
    ),
    Group(
        "doubles",
        _IMAGE,
        """
        lambda x: K.relu(x, alpha=.1, max_value=2., threshold=.5)
        lambda x: tf.nn.softmax(x)
        lambda x: K.l2_normalize(x, -1)
        lambda x: tf.image.resize(x, (5, 7))
        lambda x: tf.image.rgb_to_yuv(x)
        lambda x: tf.norm(x, axis=-1)
        lambda x: tf.nn.depth_to_space(tf.concat([x, x, x, x], -1), 2)
        lambda x: keras.applications.vgg16.preprocess_input(x)""",
        dtype="float64",
    ),
]

# Each with a part of the reason.
REFUSED = [
    ("lambda x: K.relu(x, alpha=-.1, max_value=2.)", _ROWS, TF2, "is negative"),
    ("lambda x: K.softmax(x, axis=None)", _ROWS, TF2, "its axis is None"),
    ("lambda x: K.softmax(x, axis=5)", _ROWS, TF2, "the tensor has 3 axes"),
    ("lambda x: activations.get('foo')(x)", _ROWS, TF2, "activations.foo, which is not known"),
    ("lambda x: tf.nn.sigmoid(tf.cast(x, 'int32'))", _ROWS, TF2, "where floats are needed"),
    ("lambda x: tf.matmul(x[0], x[0], True, False, True)", _MATRICES, TF2, "both transpose_a and adjoint_a"),
    ("lambda x: tf.matmul(x[0][0, 0], x[1])", _MATRICES, TF2, "where 2 are the least"),
    ("lambda x: tf.matmul(x[0], tf.cast(x[1], 'float64'))", _MATRICES, TF2, "float32 and float64"),
    ("lambda x: tf.norm(x, ord=2, axis=[1, 2])", _ROWS, TF2, "its order is 2"),
    ("lambda x: K.batch_dot(x[0], x[1], axes=(1, 1))", _MATRICES, TF2, "its axes have 3 and 4 elements"),
    ("lambda x: K.batch_dot(x[0], x[1], axes=0)", _MATRICES, TF2, "hold 0, the batch"),
    ("lambda x: K.batch_dot(x[0], x[1], axes=(-1, 1))", _MATRICES, UNKNOWN, "in another way than later versions"),
    ("lambda x: K.batch_dot(x[0], x[1])", ((4,), (4,)), TF1, "in another way than later versions"),
    ("lambda x: K.batch_dot(x[0], x[1])", ((2, 3, 4), (2, 4, 5)), TF1, "in another way than later versions"),
    ("lambda x: keras.layers.add([x])", _ROWS, TF2, "its inputs are 1"),
    ("lambda x: K.batch_normalization(x, 0., 1., 0., 1.)", _IMAGE, TF2, "a least epsilon of its own"),
    ("lambda x: tf.nn.max_pool(x, [2, 2, 2, 1], 1, 'SAME')", _IMAGE, TF2, "must be 1"),
    ("lambda x: tf.nn.conv2d(x, tf.ones((3, 3, 2, 2)), 1, 'SAME')", _IMAGE, TF2, "2 channels, and there are 3"),
    ("lambda x: tf.image.resize(x, (16, 12))", _IMAGE, UNKNOWN, r"antialias=False\) would be clear"),
    ("lambda x: tf.image.resize(x, (4, 3), 'nearest')", _IMAGE, UNKNOWN, "does not tell which it was"),
    ("lambda x: tf.image.resize(x, (16, 12), 'gaussian')", _IMAGE, TF2, "its method is 'gaussian'"),
    ("lambda x: tf.image.resize(x, (5, 4), 'area')", _IMAGE, TF2, "which parts pixels"),
    ("lambda x: tf.image.resize(x, 16)", _IMAGE, TF2, "its size is 16"),
    ("lambda x: tf.image.resize(x, (5, 4))", _OPEN, TF1, "are not fixed in the model"),
    ("lambda x: K.resize_images(x, 2, 2, 'channels_last', 'bilinear')", _IMAGE, UNKNOWN, "does not tell which"),
    ("lambda x: K.resize_images(x, 10**8, 1, 'channels_last')", _IMAGE, TF2, "larger than"),
    ("lambda x: tf.compat.v2.image.resize(x, (5, 4))", _IMAGE, TF1, "may be of TensorFlow 1"),
    ("lambda x: preprocess_input(x)", _IMAGE, TF2, "which network's preprocess_input"),
    ("lambda x: keras.applications.vgg16.preprocess_input(x[..., :2])", _IMAGE, TF2, "not three channels"),
    ("lambda x: tf.image.rgb_to_grayscale(x[..., :2])", _IMAGE, TF2, "where 3 channels are needed"),
    ("lambda x: tf.image.per_image_standardization(x)", _OPEN, TF2, "no fixed size"),
    ("lambda x: tf.nn.depth_to_space(x, 2)", _IMAGE, TF2, "no multiple of 2"),
    ("lambda x: tf.linalg.lu(x)", _ROWS, TF2, "not known"),
    ("lambda x: tf.image.resize_with_crop_or_pad(x, 100000, 100000)", _IMAGE, TF2, "larger than"),
]


def _build(text: str, inputs: list[Any], era: Era) -> Any:
    tensors = [Tensor(each, f"x{index}") for index, each in enumerate(inputs)]
    return evaluate(parse_function(text), tensors if len(tensors) > 1 else tensors[0], Builder(era))


def _data(shapes: Shapes, dtype: str) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    arrays = []
    for shape in shapes:
        sizes = (2, *(6 + index if size is None else size for index, size in enumerate(shape)))
        array = generator.normal(size=sizes) * (60 if dtype == "uint8" else 3)
        array.flat[0] = 0
        arrays.append(np.abs(array).astype(dtype) if dtype == "uint8" else array.astype(dtype))
    return arrays


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_computes_what_the_library_does(group: Group, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf
    from keras.src.legacy import backend

    inputs = [keras.Input(shape, dtype=group.dtype) for shape in group.shapes]
    outputs = [_build(text, inputs, group.era).keras for text, _ in group.pairs]
    single = len(inputs) == 1
    keras.Model(inputs[0] if single else inputs, outputs).save(tmp_path / "m.keras")
    arrays = _data(group.shapes, group.dtype)
    made = keras.models.load_model(tmp_path / "m.keras")(arrays[0] if single else arrays)
    names = {
        "tf": tf, "K": backend, "np": np, "keras": keras, "ops": keras.ops, "activations": keras.activations,
    }  # fmt: skip
    tensors = [tf.constant(array) for array in arrays]
    wrong = []
    for (text, meaning), output, got in zip(
        group.pairs, outputs, made if isinstance(made, list) else [made], strict=True
    ):
        function = eval(meaning, dict(names))  # noqa: S307 - written above
        wanted = np.asarray(function(tensors[0] if single else tensors))
        found = np.asarray(got)
        declared = (len(output.shape), str(output.dtype))
        if found.shape != wanted.shape or found.dtype != wanted.dtype or declared != (wanted.ndim, str(wanted.dtype)):
            wrong.append(f"{text}: {found.shape} {found.dtype}, not {wanted.shape} {wanted.dtype}")
            continue
        off = np.max(np.abs(found.astype("float64") - wanted.astype("float64")), initial=0)
        if not off <= TOLERANCE * max(float(np.max(np.abs(wanted.astype("float64")), initial=0)), 1e-30):
            wrong.append(f"{text}: off by {off}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("text", "shapes", "era", "reason"), REFUSED, ids=[f"{case[0]} {case[2]}" for case in REFUSED])
def test_refuses(text: str, shapes: Shapes, era: Era, reason: str) -> None:
    import keras

    with pytest.raises(ModelError, match=reason):
        _build(text, [keras.Input(shape) for shape in shapes], era)


def test_what_is_taken_for_granted_is_noted() -> None:
    import keras

    builder = Builder(Era(2, 2))
    image = Tensor(keras.Input((8, 6, 3)), "x")
    evaluate(parse_function("lambda x: vgg16.preprocess_input(tf.image.resize(x, (4, 3)))"), image, builder)
    assert builder.assumptions == (
        "vgg16 is keras.applications.vgg16",
        "tf.image.resize is TensorFlow 2's",
        "images are channels_last",
    )


def test_nearest_neighbours_that_rounding_moves() -> None:
    """TensorFlow's float32 positions do not always meet a pixel's first copy, and nothing is guessed then."""
    import tensorflow as tf

    moved = [factor for factor in range(2, 200) if not repeats(64, factor, half=False)]
    assert moved
    factor = moved[0]
    line = np.arange(64, dtype="float32").reshape(1, 64, 1, 1)
    real = tf.compat.v1.image.resize_nearest_neighbor(line, (64 * factor, 1))
    index = sampling("nearest", 64, 64 * factor, align=False, half=False).taps[0][0]
    assert np.array_equal(np.asarray(real).ravel(), index)
    assert not np.array_equal(index, np.repeat(np.arange(64), factor))
    assert all(repeats(None, factor, half=True) for factor in range(1, 65))
