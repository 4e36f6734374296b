"""Resizing of images, as TensorFlow 1, TensorFlow 2 and Keras sample them.

TensorFlow 1 took the pixel's corner for its position, TensorFlow 2 takes its centre: `tf.image.resize` means the one or
the other by the era of the file, and K.resize_images changed with TensorFlow 1.15.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import flag, floating, integer, layout, operand, rank_of, sequence, shape_of
from converters.lambdas.rules.linear import Array
from converters.lambdas.rules.sampling import repeats, sample, sampling
from converters.lambdas.rules.table import rule
from converters.lambdas.rules.windows import move_channels
from converters.lambdas.values import OpenSize, RefusedError, Tensor, Value, describe

_METHODS: Final[Mapping[Any, str]] = {
    "bilinear": "bilinear", "nearest": "nearest", "nearest_neighbor": "nearest", "bicubic": "bicubic", "area": "area",
    "lanczos3": "lanczos3", "lanczos5": "lanczos5",
}  # fmt: skip
_NUMBERED: Final = ("bilinear", "nearest", "bicubic", "area")  # ResizeMethod of TensorFlow 1
_AFRESH: Final = (
    "; cbam rescue --tensorflow 1 or --tensorflow 2 tells it, and given with --function,"
    " tf.compat.v1.image.resize(...) or tf.image.resize(..., antialias=False) would be clear"
)


def _images(builder: Builder, x: Value) -> Any:
    images = operand(builder, x)
    rank = rank_of(images)
    if rank not in (3, 4) or (rank == 3 and shape_of(images)[0] is None):
        builder.refuse(f"it resizes {describe(x)}, where images with height, width and channels are needed")
    return images


def _method(value: Value) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_NUMBERED):
        return _NUMBERED[value]
    if isinstance(value, str) and value in _METHODS:
        return _METHODS[value]
    raise RefusedError(f"its method is {describe(value)}, which no operation of Keras expresses")


def _size(value: Value) -> tuple[int, int]:
    if isinstance(value, Tensor | OpenSize):
        raise RefusedError(f"its size is {describe(value)}, where two fixed sizes are needed")
    sizes = list(value) if isinstance(value, np.ndarray) else sequence(value, "size")
    if len(sizes) != 2:
        raise RefusedError(f"its size has {len(sizes)} numbers, where height and width are needed")
    height, width = (integer(each, "size") for each in sizes)
    if min(height, width) < 1:
        raise RefusedError(f"its size is {height} x {width}")
    return height, width


def _within(size: tuple[int, int], images: Array) -> tuple[int, int]:
    """The size that keeps the proportions, in float32 as TensorFlow finds it."""
    now = [np.float32(each) for each in _fixed(images)]
    scale = min(np.float32(wanted) / each for wanted, each in zip(size, now, strict=True))
    height, width = (int(np.rint(scale * each)) for each in now)
    return height, width


def _fixed(images: Array) -> tuple[int, int]:
    height, width = shape_of(images)[-3:-1]
    if height is None or width is None:
        raise RefusedError("it resizes images whose height and width are not fixed in the model")
    return height, width


def _to_float32(builder: Builder, images: Array) -> Any:
    return images if str(images.dtype) == "float32" else builder.op("cast", images, "float32")


def _by_centres(builder: Builder, images: Array, size: tuple[int, int], method: str, antialias: bool = False) -> Value:
    """TensorFlow 2's, which keras.ops.image.resize calls."""
    if method == "area":
        return _area(builder, images, size)
    if method == "nearest":
        if str(images.dtype) not in ("float32", "float16", "float64", "uint8", "int32"):
            builder.refuse(f"it resizes images of {images.dtype}")
        antialias = False
    else:
        images = _to_float32(builder, images)
    builder.check_size(size)
    return builder.op(
        "image.resize", images, size, interpolation=method, antialias=antialias, data_format="channels_last"
    )


def _by_corners(builder: Builder, images: Array, size: tuple[int, int], method: str, align: bool) -> Value:
    """TensorFlow 1's."""
    if method == "area":
        if align:
            builder.refuse("it is called with align_corners for the method 'area'")
        return _area(builder, images, size)
    if method not in _NUMBERED:
        builder.refuse(f"its method is {method!r}, which TensorFlow 1 had not")
    if method != "nearest":
        images = _to_float32(builder, images)
    builder.check_size(size)
    now = _fixed(images)
    how = [sampling(method, each, wanted, align=align, half=False) for each, wanted in zip(now, size, strict=True)]
    axes = ((-2, how[1]), (-3, how[0])) if method == "bilinear" else ((-3, how[0]), (-2, how[1]))
    for axis, each in axes:
        images = sample(builder, images, each, axis)
    return images


def _area(builder: Builder, images: Array, size: tuple[int, int]) -> Value:
    images = _to_float32(builder, images)
    now = _fixed(images)
    if now[0] % size[0] or now[1] % size[1]:
        builder.refuse(f"it resizes {now[0]} x {now[1]} to {size[0]} x {size[1]} by area, which parts pixels")
    window = (now[0] // size[0], now[1] // size[1])
    if window == (1, 1):
        return images
    if rank_of(images) != 4:
        builder.refuse("it takes the area of a single image")
    return builder.op("average_pool", images, window, strides=window, padding="valid", data_format="channels_last")


def _first_version(builder: Builder, images: Array, size: tuple[int, int], method: str, align: bool = False) -> Value:
    """tf.image.resize_images, which leaves alone what has the size already."""
    if tuple(shape_of(images)[-3:-1]) == size:
        return images
    return _by_corners(builder, images, size, method, align)


def _agree(images: Array, size: tuple[int, int], method: str) -> bool:
    """Whether TensorFlow 1 and 2 give the same numbers."""
    if str(images.dtype) != "float32" and method != "nearest":
        return False
    now = shape_of(images)[-3:-1]
    if None in now or method not in _NUMBERED:
        return False
    if method == "area" or tuple(now) == size:
        return True
    if method == "bicubic":
        return False
    for each, wanted in zip(now, size, strict=True):
        corners, centres = (sampling(method, int(each or 0), wanted, align=False, half=half) for half in (False, True))
        if not corners.same(centres):
            return False
    return True


@rule(
    "tf.image.resize (images, size, method='bilinear', *, align_corners=None, preserve_aspect_ratio=False,"
    " antialias=None, name: _=None)"
)
def resize(builder: Builder, images: Value, size: Value, method: Value, **options: Value) -> Value:
    found, how = _images(builder, images), _method(method)
    wanted = _size(size)
    if flag(options["preserve_aspect_ratio"], "preserve_aspect_ratio"):
        wanted = _within(wanted, found)
    align, antialias = options["align_corners"], options["antialias"]
    version = builder.era.tensorflow
    if align is not None or not isinstance(method, str):
        version = 1  # which alone has the argument, and numbers its methods
    elif antialias is not None or builder.era.keras >= 3 or how not in _NUMBERED:
        version = 2
    if version is None and not _agree(found, wanted, how):
        builder.refuse(
            f"TensorFlow 1 and 2 sample images at other points, and the file does not tell which it was{_AFRESH}"
        )
    if version == 1:
        return _first_version(builder, found, wanted, how, flag(align, "align_corners"))
    if version == 2:
        builder.assume("tf.image.resize is TensorFlow 2's")
    return _by_centres(builder, found, wanted, how, flag(antialias, "antialias"))


@rule(
    "tf1.image.resize tf.image.resize_images (images, size, method='bilinear', align_corners=False,"
    " preserve_aspect_ratio=False, name: _=None)"
)
def resize_images(builder: Builder, images: Value, size: Value, method: Value, **options: Value) -> Value:
    found, how = _images(builder, images), _method(method)
    wanted = _size(size)
    if flag(options["preserve_aspect_ratio"], "preserve_aspect_ratio"):
        wanted = _within(wanted, found)
    return _first_version(builder, found, wanted, how, flag(options["align_corners"], "align_corners"))


def _kernel(method: str) -> Callable[..., Value]:
    def build(builder: Builder, images: Value, size: Value, align: Value, half: Value) -> Value:
        found, wanted = _images(builder, images), _size(size)
        if not flag(half, "half_pixel_centers"):
            return _by_corners(builder, found, wanted, method, flag(align, "align_corners"))
        if flag(align, "align_corners"):
            builder.refuse("it is called with both align_corners and half_pixel_centers")
        return _by_centres(builder, found, wanted, method)

    return build


for _name in ("bilinear", "nearest_neighbor", "bicubic", "area"):
    rule(
        f"tf.image.resize_{_name} (images, size, align_corners: align=False, name: _=None,"
        " half_pixel_centers: half=False)"
    )(_kernel(_METHODS[_name]))


@rule("ops.image.resize (images, size, interpolation='bilinear', antialias=False, *, data_format=None)")
def resize_of_keras_3(
    builder: Builder, images: Value, size: Value, interpolation: Value, antialias: Value, data_format: Value
) -> Value:
    found = floating(builder, images)
    if found.dtype != "float32":
        builder.refuse(f"it resizes images of {found.dtype}, for which versions of Keras 3 differ")
    method, wanted, smooth = _method(interpolation), _size(size), flag(antialias, "antialias")
    if method == "area":
        builder.refuse("its interpolation is 'area', which older versions of Keras 3 have not")
    first = layout(builder, data_format)
    return builder.op("image.resize", found, wanted, interpolation=method, antialias=smooth, data_format=first)


@rule("K.resize_images (x, height_factor, width_factor, data_format, interpolation='nearest')")
def resize_by_factors(
    builder: Builder, x: Value, height_factor: Value, width_factor: Value, data_format: Value, interpolation: Value
) -> Value:
    first = layout(builder, data_format) == "channels_first"
    images = _images(builder, x)
    if rank_of(images) != 4:
        builder.refuse("its input is no batch of images")
    factors = (integer(height_factor, "height_factor"), integer(width_factor, "width_factor"))
    if min(factors) < 1:
        builder.refuse(f"its factors are {factors}")
    method = _method(interpolation)
    if method == "nearest":
        return _repeated(builder, images, factors, (2, 3) if first else (1, 2))
    if first:
        images = move_channels(builder, images, True)
    made = _enlarged(builder, images, factors, method)
    return move_channels(builder, made, False) if first else made


def _repeated(builder: Builder, images: Array, factors: tuple[int, int], axes: tuple[int, int]) -> Any:
    half = _centred(builder)
    for factor, axis in zip(factors, axes, strict=True):
        size = shape_of(images)[axis]
        builder.check_size((size or 1, factor))
        if not all(repeats(size, factor, half=each) for each in ((True, False) if half is None else (half,))):
            builder.refuse(f"it enlarges images {factor} times, for which rounding decides the pixel")
        if factor > 1:
            images = builder.op("repeat", images, factor, axis=axis)
    return images


@rule("K.resize_volumes (x, depth_factor: depth, height_factor: height, width_factor: width, data_format)")
def resize_volumes(builder: Builder, x: Value, depth: Value, height: Value, width: Value, data_format: Value) -> Value:
    volumes = operand(builder, x)
    if rank_of(volumes) != 5:
        builder.refuse("its input is no batch of volumes")
    first = layout(builder, data_format) == "channels_first"
    for axis, factor in zip((2, 3, 4) if first else (1, 2, 3), (depth, height, width), strict=True):
        times = integer(factor, "factor")
        if times < 1:
            builder.refuse(f"its factor is {times}")
        volumes = builder.op("repeat", volumes, times, axis=axis)
    return volumes


def _centred(builder: Builder) -> bool | None:
    """Whether K.resize_images samples at the centres of pixels."""
    return builder.era.keras >= 3 or builder.era.centred


def _enlarged(builder: Builder, images: Array, factors: tuple[int, int], method: str) -> Value:
    half = _centred(builder)
    open_sizes = None in shape_of(images)[1:3]
    if open_sizes and half and method == "bilinear" and isinstance(images, Tensor) and images.dtype == "float32":
        import keras

        layer = keras.layers.UpSampling2D(factors, data_format="channels_last", interpolation=method)
        text = f"layers.UpSampling2D({factors}, interpolation={method!r})({images.text})"
        return builder.layer(layer, images, text=text)
    height, width = _fixed(images)
    size = (height * factors[0], width * factors[1])
    if half is None and not _agree(images, size, method):
        builder.refuse(
            "TensorFlow 1.13 and 1.14 sample images at other points than later versions, and the file does not tell "
            f"which it was{_AFRESH}"
        )
    if half is False:
        return _by_corners(builder, images, size, method, False)
    return _by_centres(builder, images, size, method)
