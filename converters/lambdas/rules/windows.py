"""Windows that move over an image: pooling, convolution with constant kernels, patches, edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import floating, integers, layout, rank_of, shape_of, text
from converters.lambdas.rules.linear import Array, as_floats
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Tensor, Value, describe

__all__ = ["move_channels", "spatial"]

_SLICES: Final = 64  # patches of more pixels are made by one operation
_NHWC: Final = "data_format='NHWC', name: _=None"


def spatial(value: Value, count: int, what: str, first: bool = False) -> tuple[int, ...]:
    """Sizes along the image's axes: one for all, one for each, or with 1 for batch and channels too, as TensorFlow."""
    sizes = integers(value, what)
    if len(sizes) == 1:
        sizes *= count
    if len(sizes) == count + 2:
        others = (sizes[0], sizes[1] if first else sizes[-1])
        sizes = sizes[2:] if first else sizes[1:-1]
        if others != (1, 1):
            raise RefusedError(f"its {what} is {describe(value)}, of which the batch's and the channels' must be 1")
    if len(sizes) != count or min(sizes) < 1:
        raise RefusedError(f"its {what} is {describe(value)}, where {count} positive sizes are needed")
    return sizes


def is_first(value: Value) -> bool:
    """Whether TensorFlow's data_format, such as NCHW, has the channels before the image's axes."""
    if value is None:
        return False
    name = text(value, "data_format")
    if name.startswith("NC") and not name.startswith("NCHW_"):
        return True
    if name.startswith("N") and name.endswith("C"):
        return False
    raise RefusedError(f"its data_format is {name!r}, which is not known")


def padding_of(value: Value) -> str:
    """`same` or `valid`."""
    name = text(value, "padding").lower()
    if name not in ("same", "valid"):
        raise RefusedError(f"its padding is {name!r}, where 'same' or 'valid' is needed")
    return name


def move_channels(builder: Builder, tensor: Array, to_last: bool) -> Any:
    """The tensor with its channels moved from axis 1 to the end, or back."""
    last = rank_of(tensor) - 1
    order = (0, *range(2, last + 1), 1) if to_last else (0, last, *range(1, last))
    return builder.op("transpose", tensor, order)


def _images(builder: Builder, x: Value, first: bool, ranks: Sequence[int] = (4,)) -> Any:
    tensor = floating(builder, x)
    if rank_of(tensor) not in ranks:
        builder.refuse(f"its input has {rank_of(tensor)} axes, where {' or '.join(map(str, ranks))} are needed")
    return move_channels(builder, tensor, True) if first else tensor


def _back(builder: Builder, tensor: Array, first: bool) -> Any:
    return move_channels(builder, tensor, False) if first else tensor


def _pool(builder: Builder, kind: str, x: Value, first: bool, **window: Value) -> Value:
    tensor = _images(builder, x, first, (3, 4, 5))
    count = rank_of(tensor) - 2
    if window["size"] is None or window["padding"] is None:
        builder.refuse("it is called without its window's size or padding")
    size = spatial(window["size"], count, "window", first)
    steps = size if window["strides"] is None else spatial(window["strides"], count, "strides", first)
    made = builder.op(
        f"{kind}_pool", tensor, size, strides=steps, padding=padding_of(window["padding"]), data_format="channels_last"
    )
    return _back(builder, made, first)


def _tensorflow_pool(kind: str, names: str) -> None:
    def build(builder: Builder, x: Value, data_format: Value, **window: Value) -> Value:
        if x is None or window["strides"] is None:
            builder.refuse("it is called without its input or its strides")
        return _pool(builder, kind, x, is_first(data_format), **window)

    rule(
        f"{names} (input: x=None, ksize: size=None, strides=None, padding=None, data_format=None,"
        " name: _=None, value: x=None)"
    )(build)


for _kind, _short in (("max", "max"), ("average", "avg")):
    _tensorflow_pool(_kind, f"tf.nn.{_short}_pool tf.nn.{_short}_pool_v2 tf.nn.{_short}_pool2d")
    _tensorflow_pool(_kind, f"tf.nn.{_short}_pool1d tf.nn.{_short}_pool3d")


def _keras_pool(kind: str) -> None:
    def build(builder: Builder, x: Value, data_format: Value, **window: Value) -> Value:
        return _pool(builder, kind, x, layout(builder, data_format) == "channels_first", **window)

    rule(f"ops.{kind}_pool (inputs: x, pool_size: size, strides=None, padding='valid', data_format=None)")(build)


_keras_pool("max")
_keras_pool("average")


@rule("K.pool2d K.pool3d (x, pool_size: size, strides=1, padding='valid', data_format=None, pool_mode='max')")
def pool(builder: Builder, x: Value, data_format: Value, pool_mode: Value, **window: Value) -> Value:
    kind = {"max": "max", "avg": "average"}.get(text(pool_mode, "pool_mode"))
    if kind is None:
        builder.refuse(f"its pool_mode is {describe(pool_mode)}")
    return _pool(builder, str(kind), x, layout(builder, data_format) == "channels_first", **window)


def _plain(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """One number where all are equal: from a file Keras reads a list, which its depthwise convolution does not take."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def _convolve(builder: Builder, name: str, x: Value, kernel: Value, first: bool, **window: Value) -> Value:
    tensor = _images(builder, x, first)
    weights = as_floats(builder, kernel, tensor)
    if rank_of(weights) != 4 or str(weights.dtype) != str(tensor.dtype):
        builder.refuse(f"its kernel is {describe(kernel)}, where four axes of {tensor.dtype} are needed")
    if shape_of(weights)[2] != shape_of(tensor)[-1]:
        builder.refuse(f"its kernel is for {shape_of(weights)[2]} channels, and there are {shape_of(tensor)[-1]}")
    steps, holes = spatial(window["strides"], 2, "strides", first), window["dilations"]
    apart = (1, 1) if holes is None else spatial(holes, 2, "dilations", first)
    if max(steps) > 1 and max(apart) > 1:
        builder.refuse("it has both strides and dilations")
    if name == "depthwise_conv" and (steps[0] != steps[1] or apart[0] != apart[1]):
        builder.refuse(f"its strides are {steps} and its dilations {apart}, where equal ones are needed")
    made = builder.op(
        name, tensor, weights, strides=_plain(steps), padding=padding_of(window["padding"]),
        data_format="channels_last", dilation_rate=_plain(apart),
    )  # fmt: skip
    return _back(builder, made, first)


@rule(
    f"tf.nn.conv2d (input: x, filters: kernel=None, strides=1, padding=None, *, {_NHWC}, dilations=None,"
    " filter: kernel=None, use_cudnn_on_gpu: _=None)"
)
def convolution_of_tensorflow(builder: Builder, x: Value, kernel: Value, data_format: Value, **window: Value) -> Value:
    return _convolve(builder, "conv", x, kernel, is_first(data_format), **window)


@rule(
    f"tf.nn.depthwise_conv2d (input: x, filter: kernel, strides, padding, *, {_NHWC}, dilations=None,"
    " rate: dilations=None)"
)
def depthwise_of_tensorflow(builder: Builder, x: Value, kernel: Value, data_format: Value, **window: Value) -> Value:
    return _convolve(builder, "depthwise_conv", x, kernel, is_first(data_format), **window)


_KERAS: Final = "strides=1, padding='valid', data_format=None, dilation_rate: dilations=1"


@rule(f"K.conv2d (x, kernel, {_KERAS})", f"ops.conv (inputs: x, kernel, {_KERAS})")
def convolution(builder: Builder, x: Value, kernel: Value, data_format: Value, **window: Value) -> Value:
    return _convolve(builder, "conv", x, kernel, layout(builder, data_format) == "channels_first", **window)


@rule(
    f"K.depthwise_conv2d (x, depthwise_kernel: kernel, {_KERAS})", f"ops.depthwise_conv (inputs: x, kernel, {_KERAS})"
)
def depthwise(builder: Builder, x: Value, kernel: Value, data_format: Value, **window: Value) -> Value:
    return _convolve(builder, "depthwise_conv", x, kernel, layout(builder, data_format) == "channels_first", **window)


@rule(
    "tf.image.extract_patches (images: x, sizes, strides, rates, padding, name: _=None)",
    "tf.extract_image_patches tf.image.extract_image_patches (images: x, ksizes: sizes=None, strides=None, rates=None,"
    " padding=None, name: _=None, sizes: sizes=None)",
)
def extract_patches(builder: Builder, x: Value, sizes: Value, strides: Value, rates: Value, padding: Value) -> Value:
    tensor = _images(builder, x, False)
    size, steps, apart = (
        spatial(each, 2, what) for each, what in ((sizes, "sizes"), (strides, "strides"), (rates, "rates"))
    )
    if shape_of(tensor)[-1] is None:
        builder.refuse("its images have no fixed number of channels")
    if max(steps) > 1 and max(apart) > 1:
        builder.refuse("it has both strides and rates")
    around = padding_of(padding)
    if size[0] * size[1] <= _SLICES and isinstance(tensor, Tensor):
        edges = [_edges(builder, tensor, axis, (size, steps, apart), around) for axis in (0, 1)]
        if None not in edges:
            return _sliced(builder, tensor, (size, steps, apart), [edge for edge in edges if edge is not None])
    builder.check_size((*size, shape_of(tensor)[-1], *size, shape_of(tensor)[-1]))
    return builder.op(
        "image.extract_patches", tensor, size, strides=steps, dilation_rate=apart, padding=around,
        data_format="channels_last",
    )  # fmt: skip


_Window = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _edges(builder: Builder, tensor: Tensor, axis: int, window: _Window, padding: str) -> tuple[int, int] | None:
    """How many zeros stand before and after an image's axis, None where only running the model tells."""
    size, step, apart = (each[axis] for each in window)
    reach, length = (size - 1) * apart + 1, tensor.shape[axis + 1]
    if length is not None and (length if padding == "same" else length - reach + 1) < 1:
        builder.refuse(f"its patches are larger than its images of {length} pixels")
    if padding == "valid":
        return (0, 0)
    if length is None and step > 1:
        return None
    last = 0 if length is None else (-(-length // step) - 1) * step - length + 1
    total = max(reach - 1 + last, 0)
    return (total // 2, total - total // 2)


def _sliced(builder: Builder, tensor: Tensor, window: _Window, edges: list[tuple[int, int]]) -> Any:
    """Patches as one slice for each of their pixels: exact on every device, where a convolution rounds on some."""
    size, steps, apart = window
    if any(map(any, edges)):
        tensor = builder.op("pad", tensor, [(0, 0), *edges, (0, 0)])
    parts = []
    for row in range(size[0]):
        for column in range(size[1]):
            key = [slice(None)]
            for axis, at in enumerate((row, column)):
                # Counted from the end, for an image of any size.
                stop = (at - size[axis] + 1) * apart[axis]
                key.append(slice(at * apart[axis], stop or None, steps[axis]))
            parts.append(builder.index(tensor, tuple(key)))
    return builder.op("concatenate", parts, axis=-1)


@rule("tf.image.sobel_edges (image: x)")
def sobel_edges(builder: Builder, x: Value) -> Value:
    tensor = _images(builder, x, False)
    channels = shape_of(tensor)[-1]
    if channels is None:
        builder.refuse("its images have no fixed number of channels")
    padded = builder.op("pad", tensor, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")
    down = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], str(tensor.dtype))
    edges = []
    for slope in (down, down.T):
        kernel = np.repeat(slope[:, :, None, None], channels, axis=2)
        edges.append(
            builder.op("depthwise_conv", padded, kernel, strides=1, padding="valid", data_format="channels_last")
        )
    return builder.op("stack", edges, axis=-1)
