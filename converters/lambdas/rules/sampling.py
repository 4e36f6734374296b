"""How TensorFlow's resize kernels sample one axis of an image: which pixels, and with what weights.

The kernels compute positions in float32, and so does this, for the numbers to be the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.linear import Array
from converters.lambdas.values import RefusedError, Tensor

__all__ = ["Sampling", "repeats", "sample", "sampling"]

_TABLE: Final = 1 << 10  # steps of a pixel for which TensorFlow tabulates the cubic's weights
_PROVEN: Final = 1 << 16  # rows of an image of open size for which a repetition is checked


@dataclasses.dataclass(frozen=True)
class Sampling:
    """One axis. taps: for each tap the index of the pixel for each output, and its weight, None for the first of two
    taps that are blended and for a single one.
    """

    taps: tuple[tuple[np.ndarray, np.ndarray | None], ...]

    def same(self, other: Sampling) -> bool:
        """Whether both give the same numbers."""
        if len(self.taps) != len(other.taps):
            return False
        pairs = [pair for taps in zip(self.taps, other.taps, strict=True) for pair in zip(*taps, strict=True)]
        return all(
            np.array_equal(one, two) if one is not None and two is not None else one is two for one, two in pairs
        )


def sampling(method: str, size: int, wanted: int, *, align: bool, half: bool) -> Sampling:
    """The sampling of `nearest`, `bilinear` or `bicubic`. align: align_corners; half: half_pixel_centers.

    Raises:
        RefusedError: a size is not positive.
    """
    if size < 1 or wanted < 1:
        raise RefusedError(f"it resizes {size} pixels to {wanted}")
    single = np.float32
    scale = single(size - 1) / single(wanted - 1) if align and wanted > 1 else single(size) / single(wanted)
    out = np.arange(wanted, dtype=np.int64).astype(np.float32)
    if method == "nearest":
        at = (out + single(0.5)) * scale if half else out * scale
        # Away from zero at one half, as C's roundf; the double is exact.
        whole = np.floor(at.astype(np.float64) + 0.5) if align else np.floor(at)
        return Sampling(((np.clip(whole, 0, size - 1).astype(np.int64), None),))
    at = (out + single(0.5)) * scale - single(0.5) if half else out * scale
    low = np.floor(at)
    if method == "bilinear":
        first = np.maximum(low, 0).astype(np.int64)
        second = np.minimum(np.ceil(at), size - 1).astype(np.int64)
        return _simplest(first, second, (at - low).astype(np.float32))
    assert method == "bicubic"
    assert not half, "which keras.ops.image.resize does"
    return _cubic(low.astype(np.int64), (at - low).astype(np.float32), size)


def _simplest(first: np.ndarray, second: np.ndarray, blend: np.ndarray) -> Sampling:
    if not np.any(blend[first != second]):
        return Sampling(((first, None),))
    return Sampling(((first, None), (second, blend)))


def _cubic(low: np.ndarray, blend: np.ndarray, size: int) -> Sampling:
    """Keys's kernel with a = -0.75, in a table of float32; beyond the edge the edge is repeated."""
    a = -0.75
    step = np.rint(blend * np.float32(_TABLE)).astype(np.int64)
    near = np.arange(_TABLE + 1) / _TABLE
    inner = (((a + 2) * near - (a + 3)) * near * near + 1).astype(np.float32)
    far = near + 1
    outer = (((a * far - 5 * a) * far + 8 * a) * far - 4 * a).astype(np.float32)
    weights = np.stack([outer[step], inner[step], inner[_TABLE - step], outer[_TABLE - step]])
    at = np.clip(low[None, :] + np.arange(-1, 3)[:, None], 0, size - 1)
    if not np.any(weights[[0, 2, 3]]) and np.all(weights[1] == 1):
        return Sampling(((at[1], None),))
    return Sampling(tuple(zip(at, weights, strict=True)))


def repeats(size: int | None, factor: int, *, half: bool) -> bool:
    """Whether the nearest pixels, for an image enlarged by a whole factor, are each pixel `factor` times."""
    rows = size if size is not None else max(_PROVEN // factor, 1)
    made = sampling("nearest", rows, rows * factor, align=False, half=half).taps[0][0]
    return bool(np.array_equal(made, np.repeat(np.arange(rows), factor)))


def sample(builder: Builder, images: Array, how: Sampling, axis: int) -> Any:
    """The images sampled along one axis, -3 for rows or -2 for columns."""
    taps = how.taps
    dtype = str(images.dtype)

    def weight(values: np.ndarray) -> np.ndarray:
        return values.astype(dtype).reshape(-1, *([1] * (-axis - 1)))

    first, factor = taps[0]
    made = _take(builder, images, first, axis)
    if len(taps) == 1:
        return made
    if factor is None:
        second, blend = taps[1]
        assert blend is not None
        step = builder.op("subtract", _take(builder, images, second, axis), made)
        return builder.op("add", made, builder.op("multiply", step, weight(blend)))
    made = builder.op("multiply", made, weight(factor))
    for index, factor in taps[1:]:
        assert factor is not None
        made = builder.op("add", made, builder.op("multiply", _take(builder, images, index, axis), weight(factor)))
    return made


def _take(builder: Builder, images: Array, index: np.ndarray, axis: int) -> Any:
    """Rows or columns by their numbers, in the plainest operation that does it."""
    size = images.shape[axis] or 0
    if np.array_equal(index, np.arange(size)):
        return images
    factor = len(index) // size if size else 0
    if factor > 1 and np.array_equal(index, np.repeat(np.arange(size), factor)):
        return builder.op("repeat", images, factor, axis=axis)
    steps = np.unique(np.diff(index))
    if isinstance(images, Tensor) and len(steps) == 1 and steps[0] > 0:
        part = slice(int(index[0]), int(index[-1]) + 1, int(steps[0]))
        return builder.index(images, (Ellipsis, part, *([slice(None)] * (-axis - 1))))
    return builder.op("take", images, index.astype("int32"), axis=axis)
