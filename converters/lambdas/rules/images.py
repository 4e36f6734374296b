"""Images: colours, flips, crops and paddings, and what normalizes each one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import floating, integer, number, operand, rank_of, shape_of
from converters.lambdas.rules.linear import Array
from converters.lambdas.rules.table import find_rule, rule
from converters.lambdas.values import OpenSize, RefusedError, Tensor, Value, describe

# Columns are the new channels. ITU-R BT.601, as TensorFlow rounds it.
_COLOURS: Final[dict[str, list[list[float]]]] = {
    "rgb_to_yiq": [[0.299, 0.59590059, 0.2115], [0.587, -0.27455667, -0.52273617], [0.114, -0.32134392, 0.31119955]],
    "yiq_to_rgb": [[1, 1, 1], [0.95598634, -0.27201283, -1.10674021], [0.6208248, -0.64720424, 1.70423049]],
    "rgb_to_yuv": [
        [0.299, -0.14714119, 0.61497538],
        [0.587, -0.28886916, -0.51496512],
        [0.114, 0.43601035, -0.10001026],
    ],
    "yuv_to_rgb": [[1, 1, 1], [0, -0.394642334, 2.03206185], [1.13988303, -0.58062185, 0]],
}
_GREY: Final = (0.2989, 0.5870, 0.1140)


def _images(builder: Builder, x: Value) -> Any:
    """Images with height, width and channels, one or a batch."""
    tensor = operand(builder, x)
    if rank_of(tensor) not in (3, 4):
        raise RefusedError(f"it takes {describe(x)} for images, which have 3 axes or 4")
    return tensor


def _float_images(builder: Builder, x: Value) -> Any:
    """Images of float32; in another precision TensorFlow computes in float32 or not, by its version."""
    tensor = operand(builder, x)
    if str(tensor.dtype) != "float32":
        builder.refuse(f"its images are of {tensor.dtype}, for which versions of TensorFlow differ")
    return tensor


def _channels(builder: Builder, tensor: Array, count: int) -> None:
    if shape_of(tensor)[-1:] != (count,):
        builder.refuse(f"its images are of shape {shape_of(tensor)}, where {count} channels are needed")


@rule("tf.image.rgb_to_grayscale (images: x, name: _=None)")
def rgb_to_grayscale(builder: Builder, x: Value) -> Value:
    tensor = _float_images(builder, x)
    _channels(builder, tensor, 3)
    weights = np.array(_GREY, str(tensor.dtype))[:, None]
    return builder.op("matmul", tensor, weights)


@rule("ops.image.rgb_to_grayscale (images: x, data_format=None)")
def rgb_to_grayscale_of_keras_3(builder: Builder, x: Value, data_format: Value) -> Value:
    if (data_format or builder.era.data_format or "channels_last") != "channels_last":
        builder.refuse(f"its data_format is {data_format or builder.era.data_format}")
    return rgb_to_grayscale(builder, x)


@rule("tf.image.grayscale_to_rgb (images: x, name: _=None)")
def grayscale_to_rgb(builder: Builder, x: Value) -> Value:
    tensor = operand(builder, x)
    _channels(builder, tensor, 1)
    return builder.op("concatenate", [tensor, tensor, tensor], axis=-1)


def _colours(name: str) -> None:
    def build(builder: Builder, x: Value) -> Value:
        tensor = floating(builder, x)
        _channels(builder, tensor, 3)
        return builder.op("matmul", tensor, np.array(_COLOURS[name], str(tensor.dtype)))

    rule(f"tf.image.{name} (images: x)")(build)


for _name in _COLOURS:
    _colours(_name)


def _hue(name: str) -> None:
    def build(builder: Builder, x: Value) -> Value:
        tensor = _images(builder, _float_images(builder, x))
        _channels(builder, tensor, 3)
        return builder.op(f"image.{name}", tensor, data_format="channels_last")

    rule(f"tf.image.{name} (images: x, name: _=None)")(build)


_hue("rgb_to_hsv")
_hue("hsv_to_rgb")


def _reversed(builder: Builder, tensor: Array, *axes: int) -> Any:
    return builder.op("flip", tensor, axis=axes if len(axes) > 1 else axes[0])


@rule("tf.image.flip_left_right (image: x)")
def flip_left_right(builder: Builder, x: Value) -> Value:
    return _reversed(builder, _images(builder, x), -2)


@rule("tf.image.flip_up_down (image: x)")
def flip_up_down(builder: Builder, x: Value) -> Value:
    return _reversed(builder, _images(builder, x), -3)


@rule("tf.image.transpose tf.image.transpose_image (image: x, name: _=None)")
def transpose(builder: Builder, x: Value) -> Value:
    return builder.op("swapaxes", _images(builder, x), -3, -2)


@rule("tf.image.rot90 (image: x, k=1, name: _=None)")
def rotate(builder: Builder, x: Value, k: Value) -> Value:
    """Quarter turns, against the clock."""
    tensor, turns = _images(builder, x), integer(k, "k") % 4
    if turns == 2:
        return _reversed(builder, tensor, -3, -2)
    if turns == 1:
        return builder.op("swapaxes", _reversed(builder, tensor, -2), -3, -2)
    return tensor if turns == 0 else _reversed(builder, builder.op("swapaxes", tensor, -3, -2), -2)


@rule("tf.image.per_image_standardization (image: x)")
def per_image_standardization(builder: Builder, x: Value) -> Value:
    tensor = _images(builder, _float_images(builder, x))
    sizes = shape_of(tensor)[-3:]
    if None in sizes:
        builder.refuse("its images have no fixed size")
    pixels = np.prod([int(size or 0) for size in sizes], dtype=np.int64)
    over = (-1, -2, -3)
    centred = builder.op("subtract", tensor, builder.op("mean", tensor, axis=over, keepdims=True))
    deviation = builder.op("std", tensor, axis=over, keepdims=True)
    least = float(np.float32(1) / np.sqrt(np.float32(pixels)))
    return builder.op("true_divide", centred, builder.op("maximum", deviation, least))


@rule("tf.image.adjust_brightness (image: x, delta)")
def adjust_brightness(builder: Builder, x: Value, delta: Value) -> Value:
    return builder.op("add", _float_images(builder, x), float(number(delta, "delta")))


@rule("tf.image.adjust_contrast (images: x, contrast_factor)")
def adjust_contrast(builder: Builder, x: Value, contrast_factor: Value) -> Value:
    tensor = _images(builder, _float_images(builder, x))
    mean = builder.op("mean", tensor, axis=(-3, -2), keepdims=True)
    factor = float(number(contrast_factor, "contrast_factor"))
    return builder.op("add", builder.op("multiply", builder.op("subtract", tensor, mean), factor), mean)


@rule("tf.image.adjust_gamma (image: x, gamma=1, gain=1)")
def adjust_gamma(builder: Builder, x: Value, gamma: Value, gain: Value) -> Value:
    power = number(gamma, "gamma")
    if power < 0:
        builder.refuse(f"its gamma is {power}")
    raised = builder.op("power", _float_images(builder, x), float(power))
    return builder.op("multiply", raised, float(number(gain, "gain")))


@rule("tf.image.convert_image_dtype (image: x, dtype, saturate: _=False, name: _=None)")
def convert_image_dtype(builder: Builder, x: Value, dtype: Value) -> Value:
    tensor, wanted = operand(builder, x), dtype_of(dtype)
    now = str(tensor.dtype)
    if now == wanted:
        return tensor
    if "float" not in wanted or now == "bool":
        builder.refuse(f"it converts images of {now} to {wanted}, where rounding to integers decides")
    floats = builder.op("cast", tensor, wanted)
    return floats if "float" in now else builder.op("multiply", floats, 1.0 / int(np.iinfo(now).max))


def _fixed(builder: Builder, tensor: Array) -> tuple[int, int]:
    height, width = shape_of(tensor)[-3:-1]
    if height is None or width is None:
        builder.refuse("its images have no fixed height and width")
    return height, width


def _cropped(builder: Builder, tensor: Array, top: int, left: int, size: tuple[int, int]) -> Any:
    key = (Ellipsis, slice(top, top + size[0]), slice(left, left + size[1]), slice(None))
    return builder.index(tensor, key) if isinstance(tensor, Tensor) else tensor[key]


@rule("tf.image.central_crop (image: x, central_fraction)")
def central_crop(builder: Builder, x: Value, central_fraction: Value) -> Value:
    tensor, fraction = _images(builder, x), number(central_fraction, "central_fraction")
    if not 0 < fraction <= 1:
        builder.refuse(f"its central_fraction is {fraction}, where more than 0 and at most 1 is needed")
    if fraction == 1:
        return tensor
    size = _fixed(builder, tensor)
    top, left = (int((float(each) - float(each) * fraction) / 2) for each in size)
    return _cropped(builder, tensor, top, left, (size[0] - 2 * top, size[1] - 2 * left))


_BOX: Final = "(image: x, offset_height: top, offset_width: left, target_height: height, target_width: width)"


@rule(f"tf.image.crop_to_bounding_box {_BOX}")
def crop_to_bounding_box(builder: Builder, x: Value, top: Value, left: Value, height: Value, width: Value) -> Value:
    tensor, now = _images(builder, x), None
    at = (_whole(top, "offset_height"), _whole(left, "offset_width"))
    size = (_whole(height, "target_height"), _whole(width, "target_width"))
    now = _fixed(builder, tensor)
    if min(size) < 1 or any(start + each > known for start, each, known in zip(at, size, now, strict=True)):
        builder.refuse(f"it crops {now[0]} x {now[1]} pixels to {size[0]} x {size[1]} from {at}")
    return _cropped(builder, tensor, *at, size)


@rule(f"tf.image.pad_to_bounding_box {_BOX}")
def pad_to_bounding_box(builder: Builder, x: Value, top: Value, left: Value, height: Value, width: Value) -> Value:
    tensor = _images(builder, x)
    at = (_whole(top, "offset_height"), _whole(left, "offset_width"))
    return _padded(builder, tensor, at, (_whole(height, "target_height"), _whole(width, "target_width")))


def _padded(builder: Builder, tensor: Array, at: tuple[int, int], size: tuple[int, int]) -> Any:
    now = _fixed(builder, tensor)
    after = [each - start - known for start, each, known in zip(at, size, now, strict=True)]
    if min(after) < 0:
        builder.refuse(f"it pads {now[0]} x {now[1]} pixels to {size[0]} x {size[1]} from {at}")
    builder.check_size(size)
    if at == (0, 0) and after == [0, 0]:
        return tensor
    edges = [[0, 0]] * (rank_of(tensor) - 3) + [[at[0], after[0]], [at[1], after[1]], [0, 0]]
    return builder.op("pad", tensor, edges)


def _whole(value: Value, what: str) -> int:
    if isinstance(value, OpenSize):
        raise RefusedError(f"its {what} is {describe(value)}")
    size = integer(value, what)
    if size < 0:
        raise RefusedError(f"its {what} is {size}")
    return size


@rule("tf.image.resize_with_crop_or_pad tf.image.resize_image_with_crop_or_pad (image: x, target_height, target_width)")
def crop_or_pad(builder: Builder, x: Value, target_height: Value, target_width: Value) -> Value:
    tensor = _images(builder, x)
    size = (_whole(target_height, "target_height"), _whole(target_width, "target_width"))
    now = _fixed(builder, tensor)
    if min(size) < 1:
        builder.refuse(f"its size is {size[0]} x {size[1]}")
    over = [wanted - known for wanted, known in zip(size, now, strict=True)]
    kept = (min(size[0], now[0]), min(size[1], now[1]))
    if kept != now:
        tensor = _cropped(builder, tensor, max(-over[0] // 2, 0), max(-over[1] // 2, 0), kept)
    return _padded(builder, tensor, (max(over[0] // 2, 0), max(over[1] // 2, 0)), size)


@rule("tf.image.resize_with_pad (image: x, target_height, target_width, method='bilinear', antialias=False)")
def resize_with_pad(builder: Builder, x: Value, target_height: Value, target_width: Value, **how: Value) -> Value:
    if builder.era.tensorflow != 2 and builder.era.keras < 3:
        if builder.era.tensorflow == 1:
            builder.refuse("TensorFlow 1 samples images at other points when it resizes with padding")
        builder.refuse(
            "TensorFlow 1 and 2 sample images at other points, and the file does not tell which it was; "
            "cbam rescue --tensorflow 2 tells it"
        )
    tensor = _images(builder, x)
    size = (_whole(target_height, "target_height"), _whole(target_width, "target_width"))
    if min(size) < 1:
        builder.refuse(f"its size is {size[0]} x {size[1]}")
    now = _fixed(builder, tensor)
    # TensorFlow computes both in floats and rounds down.
    ratio = max(known / wanted for known, wanted in zip(now, size, strict=True))
    inner = tuple(int(known / ratio) for known in now)
    at = tuple(max(int((wanted - known / ratio) / 2), 0) for known, wanted in zip(now, size, strict=True))
    made = find_rule("tf.image.resize").apply(builder, [tensor, list(inner)], how)
    return _padded(builder, made, (at[0], at[1]), size)


@rule("tf.image.total_variation (images: x, name: _=None)")
def total_variation(builder: Builder, x: Value) -> Value:
    tensor = _images(builder, floating(builder, x))
    if not isinstance(tensor, Tensor):
        builder.refuse("it takes the total variation of a constant")
    total: Any = None
    for axis in (-3, -2):
        rest = [slice(None)] * (-axis - 1)
        later = builder.index(tensor, (Ellipsis, slice(1, None), *rest))
        earlier = builder.index(tensor, (Ellipsis, slice(None, -1), *rest))
        apart = builder.op("abs", builder.op("subtract", later, earlier))
        part = builder.op("sum", apart, axis=(-3, -2, -1))
        total = part if total is None else builder.op("add", total, part)
    return total
