"""Blocks of pixels to channels and back: depth_to_space and space_to_depth."""

from __future__ import annotations

from typing import Any

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import integer, operand, rank_of, shape_of
from converters.lambdas.rules.linear import Array
from converters.lambdas.rules.table import rule
from converters.lambdas.rules.windows import is_first, move_channels
from converters.lambdas.values import Tensor, Value


def _images(builder: Builder, x: Value, size: Value, data_format: Value) -> tuple[Any, int, bool]:
    tensor, block, first = operand(builder, x), integer(size, "block_size"), is_first(data_format)
    if rank_of(tensor) != 4 or shape_of(tensor)[1 if first else 3] is None:
        builder.refuse("its input is no batch of images with a fixed number of channels")
    if block < 2:
        builder.refuse(f"its block_size is {block}, where 2 is the least")
    return (move_channels(builder, tensor, True) if first else tensor), block, first


def _open(tensor: Array) -> bool:
    return None in shape_of(tensor)[1:3]


def _interleaved(builder: Builder, tensor: Tensor, count: int, axis: int) -> Any:
    """Rows (axis 1) or columns (axis 2) `count` times as many: each pixel's channels are those of as many in turn."""
    # No reshape has two open sizes, so the pixels are put one image after the other, and taken in turn.
    channels = int(tensor.shape[-1] or 0) // count
    parts = [builder.index(tensor, (Ellipsis, slice(n * channels, (n + 1) * channels))) for n in range(count)]
    beside = builder.op("concatenate", parts, axis=axis)
    line = builder.index(beside, (0, slice(None), 0, 0) if axis == 1 else (0, 0, slice(None), 0))
    ones = builder.op("ones_like", line, dtype="int32")
    place = builder.op("subtract", builder.op("cumsum", ones, axis=0), 1)
    length = builder.op("floor_divide", builder.op("sum", ones), count)
    image = builder.op("multiply", builder.op("mod", place, count), length)
    return builder.op("take", beside, builder.op("add", image, builder.op("floor_divide", place, count)), axis=axis)


@rule("tf.nn.depth_to_space tf.depth_to_space (input: x, block_size: size, *, data_format='NHWC', name: _=None)")
def depth_to_space(builder: Builder, x: Value, size: Value, data_format: Value) -> Value:
    tensor, block, first = _images(builder, x, size, data_format)
    batch, height, width, depth = shape_of(tensor)
    channels = int(depth or 0) // block**2
    if channels * block**2 != depth:
        builder.refuse(f"its images have {depth} channels, which is no multiple of {block}²")
    if _open(tensor):
        made = _interleaved(builder, _interleaved(builder, tensor, block, 1), block, 2)
    else:
        rows, columns = int(height or 0), int(width or 0)
        outer = -1 if batch is None else batch
        blocks = builder.op("reshape", tensor, (outer, rows, columns, block, block, channels))
        turned = builder.op("transpose", blocks, (0, 1, 3, 2, 4, 5))
        made = builder.op("reshape", turned, (outer, rows * block, columns * block, channels))
    return move_channels(builder, made, False) if first else made


@rule("tf.nn.space_to_depth tf.space_to_depth (input: x, block_size: size, *, data_format='NHWC', name: _=None)")
def space_to_depth(builder: Builder, x: Value, size: Value, data_format: Value) -> Value:
    tensor, block, first = _images(builder, x, size, data_format)
    batch, height, width, depth = shape_of(tensor)
    channels = int(depth or 0)
    if any(each is not None and each % block for each in (height, width)):
        builder.refuse(f"its images of {height} x {width} pixels are no multiple of {block}")
    if _open(tensor):
        starts = [(row, column) for row in range(block) for column in range(block)]
        each = [builder.index(tensor, (slice(None), slice(i, None, block), slice(j, None, block))) for i, j in starts]
        made = builder.op("concatenate", each, axis=-1)
    else:
        rows, columns = int(height or 0) // block, int(width or 0) // block
        outer = -1 if batch is None else batch
        blocks = builder.op("reshape", tensor, (outer, rows, block, columns, block, channels))
        turned = builder.op("transpose", blocks, (0, 1, 3, 2, 4, 5))
        made = builder.op("reshape", turned, (outer, rows, columns, block * block * channels))
    return move_channels(builder, made, False) if first else made
