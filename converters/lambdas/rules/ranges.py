"""Numbers at equal distances, as constants."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import flag, integer, number
from converters.lambdas.rules.sizes import array_dtype
from converters.lambdas.rules.table import rule
from converters.lambdas.values import RefusedError, Value

_LARGE: Final = 1 << 31


@rule("tf.range (start, limit: stop=None, delta: step=1, dtype=None, name: _='range')")
@rule("ops.arange (start, stop=None, step=1, dtype=None)")
def tensor_range(builder: Builder, start: Value, stop: Value, step: Value, dtype: Value) -> Value:
    first, last, by = _bounds(start, stop, 1 if step is None else step)
    if dtype is not None and array_dtype(dtype) == "bool":
        builder.refuse("it makes a range of truth values")
    numbers = [builder.constant(each) for each in (first, last, by)]
    natural = "float32" if any(each.dtype.kind == "f" for each in numbers) else "int32"
    return _range(builder, (first, last, by), natural if dtype is None else array_dtype(dtype))


@rule("K.arange (start, stop=None, step=1, dtype='int32')")
def keras_range(builder: Builder, start: Value, stop: Value, step: Value, dtype: Value) -> Value:
    if stop is None and number(start, "start") < 0:
        start = 0
    made = tensor_range(builder, start, stop, step, None)
    wanted = array_dtype(dtype)
    return made if wanted == "int32" else made.astype(wanted)  # Keras converts to any other dtype only


def _bounds(start: Value, stop: Value, step: Value) -> tuple[float, float, float]:
    bounds = (0, number(start, "limit")) if stop is None else (number(start, "start"), number(stop, "limit"))
    by = number(step, "step")
    if by == 0 or not all(abs(each) < _LARGE for each in (*bounds, by)):
        raise RefusedError(f"its range is from {bounds[0]} to {bounds[1]} by {by}")
    return *bounds, by


def _range(builder: Builder, bounds: tuple[float, float, float], dtype: str) -> np.ndarray:
    """TensorFlow's range: the count and the numbers in the dtype itself."""
    if "int" in dtype:
        whole = [int(each) for each in bounds]
        count = len(range(*whole)) if whole[2] else -1
        builder.check_size([count])
        return np.arange(*whole, dtype=dtype)
    start, stop, step = (np.dtype(dtype).type(each) for each in bounds)
    count = max(math.ceil((stop - start) / step), 0)
    if count != max(math.ceil((bounds[1] - bounds[0]) / bounds[2]), 0):
        builder.refuse("rounding decides how many numbers its range has")
    builder.check_size([count])
    return np.asarray(start + np.arange(count).astype(dtype) * step, dtype)


@rule("np.arange (start, stop=None, step=1, dtype=None)")
def numpy_range(builder: Builder, start: Value, stop: Value, step: Value, dtype: Value) -> Value:
    first, last, by = _bounds(start, stop, 1 if step is None else step)
    if dtype is not None and array_dtype(dtype) == "bool":
        builder.refuse("it makes a range of truth values")
    builder.check_size([max(math.ceil((last - first) / by), 0)])
    return np.arange(first, last, by, dtype=np.dtype(array_dtype(dtype)) if dtype is not None else None)


def _ends(start: Value, stop: Value) -> tuple[float, float]:
    ends = number(start, "start"), number(stop, "stop")
    if not all(abs(each) < _LARGE for each in ends):
        raise RefusedError(f"its range is from {ends[0]} to {ends[1]}")
    return ends


@rule("tf.linspace tf.lin_space (start, stop, num: count, name: _=None, axis: default=0)")
def tensor_linspace(builder: Builder, start: Value, stop: Value, count: Value) -> Value:
    size = integer(count, "number of points")
    ends = [builder.constant(each) for each in _ends(start, stop)]
    builder.check_size([size])
    if size < 1:
        builder.refuse(f"it makes {size} numbers")
    whole = ends[0].dtype.kind != "f"
    first, last = (end.astype("float64" if whole else "float32") for end in ends)
    step = (last - first) / first.dtype.type(max(size - 1, 1))
    inner = first + step * np.arange(1, size - 1).astype(first.dtype)
    return np.concatenate([[first], inner, [last]])[:size].astype(first.dtype)


@rule("ops.linspace (start, stop, num: count=50, endpoint=True, retstep: default=False, dtype=None, axis: default=0)")
@rule("np.linspace (start, stop, num: count=50, endpoint=True, retstep: default=False, dtype=None)")
def linspace(builder: Builder, start: Value, stop: Value, count: Value, endpoint: Value, dtype: Value) -> Value:
    size = integer(count, "number of points")
    builder.check_size([size])
    return np.linspace(
        *_ends(start, stop), size, flag(endpoint, "endpoint"), dtype=None if dtype is None else array_dtype(dtype)
    )
