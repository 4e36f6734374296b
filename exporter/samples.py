"""The inputs that an export is verified on: real images wherever the model takes images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import ModelError
from exporter.models.zoo import ZooModel, data

SEED: Final = 0
RANDOM_SAMPLES: Final = 16
Range = tuple[float, float]


def samples(
    specs: Sequence[TensorSpec],
    value_range: Range | None,
    zoo: ZooModel | None,
    counts: Mapping[str, int] | None = None,
) -> tuple[dict[str, np.ndarray], str]:
    """Inputs by name, samples first, and a few words that say what they are.

    A zoo model gets its 1,000 test images. Any other image input gets eight photographs and their mirror images, scaled
    to its size and to `value_range` (0..1 if that is not known); one in `counts` (`exporter.indices`), whole numbers
    below its count; any other float input, uniform noise in that range or normal noise; an integer input, zeros and
    ones; each from a fixed seed. Each image input has the photographs in another order: a model that compares two
    would see nothing but equal ones.
    """
    if zoo is not None and len(specs) == 1 and specs[0].shape[1:] == (28, 28, 1):
        images = zoo.test_images()
        return {specs[0].name: images}, f"{len(images)} test images of {zoo.name}"
    arrays, kinds = {}, []
    random = np.random.default_rng(SEED)
    for index, spec in enumerate(specs):
        array, kind = _for_one(spec, value_range, random, (counts or {}).get(spec.name))
        earlier = sum(map(_is_image, specs[:index]))
        arrays[spec.name] = np.roll(array, earlier, 0) if _is_image(spec) else array
        if kind not in kinds:
            kinds.append(kind)
    return arrays, "; ".join(kinds)


def takes_range(spec: TensorSpec) -> bool:
    """Whether a range of values means something for an input: any image, and any other float input."""
    return _is_image(spec) or spec.dtype.startswith(("float", "bfloat"))


def _is_image(spec: TensorSpec) -> bool:
    channels = spec.shape[-1 if spec.layout == "NHWC" else 1] if spec.layout else 0
    return channels in (1, 3) and spec.dtype.startswith(("float", "uint"))


def _for_one(
    spec: TensorSpec, value_range: Range | None, random: np.random.Generator, count: int | None
) -> tuple[np.ndarray, str]:
    if not spec.shape:
        raise ModelError(f"input {spec.name!r} is a scalar; only inputs with a batch can be verified (--no-verify)")
    if not spec.dtype.startswith(("float", "int", "uint", "bool")):
        raise ModelError(f"input {spec.name!r} is of type {spec.dtype}, for which no samples can be made (--no-verify)")
    shape = tuple(size or 1 for size in spec.shape[1:])
    dtype = np.dtype(spec.dtype)
    if _is_image(spec):
        assert spec.layout is not None
        low, high = value_range or ((0.0, 255.0) if dtype.kind == "u" else (0.0, 1.0))
        photos = _photos(shape, spec.layout) * (high - low) + low
        array = np.rint(photos).astype(dtype) if dtype.kind == "u" else photos.astype(dtype)
        return array, f"{len(photos)} photographs scaled to {low:g}..{high:g}"
    size = (RANDOM_SAMPLES, *shape)
    if count is not None:
        drawn = random.integers(0, count, size).astype(dtype)
        return drawn, f"{RANDOM_SAMPLES} samples of random whole numbers in 0..{count - 1}"
    if dtype.kind != "f":
        return random.integers(0, 2, size).astype(dtype), f"{RANDOM_SAMPLES} samples of random zeros and ones"
    if value_range is not None:
        array = random.uniform(*value_range, size).astype(dtype)
        return array, f"{RANDOM_SAMPLES} samples of uniform noise in {value_range[0]:g}..{value_range[1]:g}"
    return random.standard_normal(size).astype(dtype), f"{RANDOM_SAMPLES} samples of normal noise"


def _photos(shape: tuple[int, ...], layout: str) -> np.ndarray:
    """The shipped photographs and their mirror images at the asked size, float64 in 0..1."""
    height, width, channels = shape if layout == "NHWC" else (*shape[1:], shape[0])
    with resources.as_file(data("photos.npz")) as path, np.load(path, allow_pickle=False) as arrays:
        images = arrays["images"].astype(np.float64) / 255
    images = np.concatenate([images, images[:, :, ::-1]])
    if channels == 1:
        images = images @ np.array([[0.299], [0.587], [0.114]])  # luma, ITU-R BT.601
    images = resize(resize(images, height, 1), width, 2)
    return images if layout == "NHWC" else images.transpose(0, 3, 1, 2)


def resize(images: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, with half-pixel centres."""
    old = images.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, old - 1)
    part = (at - low).reshape([-1 if i == axis else 1 for i in range(images.ndim)])
    mixed: np.ndarray = np.take(images, low, axis) * (1 - part) + np.take(images, high, axis) * part
    return mixed
