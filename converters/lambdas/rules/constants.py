"""Constants: arrays that are written down, of one number, or like another tensor."""

from __future__ import annotations

from typing import Final

import numpy as np

from converters.lambdas.builder import Builder, leaves
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import integer, number, operand
from converters.lambdas.rules.refused import MAKES_VARIABLE
from converters.lambdas.rules.settings import floatx
from converters.lambdas.rules.sizes import array_dtype, filled, fixed, sizes_of, spread, vector
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, RefusedError, Shape, Sizes, Tensor, Value, describe

_NUMPY: Final = "float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64"


@rule("tf.constant (value, dtype=None, shape=None, name: _=None, verify_shape: _=False)")
def constant(builder: Builder, value: Value, dtype: Value, shape: Value) -> Value:
    if isinstance(value, Sizes | OpenSize):
        builder.refuse(f"it makes a constant of {describe(value)}")
    plain = list(value) if isinstance(value, Shape) else value
    array = builder.constant(plain, None if dtype is None else array_dtype(dtype))
    if dtype is None and array.dtype == np.int32 and not np.array_equal(array, np.asarray(plain)):
        builder.refuse(f"its value {describe(value)} does not fit an int32")
    if shape is None:
        return array
    sizes = fixed(shape, "shape")
    builder.check_size(sizes)
    if array.size not in (1, np.prod(sizes)):
        builder.refuse(f"it gives {array.size} numbers the shape {sizes}")
    return np.full(sizes, array.reshape(-1)[0]) if array.size == 1 else array.reshape(sizes)


@rule("K.constant (value, dtype=None, shape=None, name: _=None)")
def keras_constant(builder: Builder, value: Value, dtype: Value, shape: Value) -> Value:
    return constant(builder, value, floatx(builder) if dtype is None else dtype, shape)


@rule("tf.convert_to_tensor (value, dtype=None, *, name: _=None, preferred_dtype: _=None, dtype_hint: _=None)")
def convert(builder: Builder, value: Value, dtype: Value) -> Value:
    if isinstance(value, Sizes | OpenSize):
        return value
    joined = vector(value) if isinstance(value, list | tuple) else None
    if joined is not None:
        return joined
    if not isinstance(value, Tensor) and not (isinstance(value, list | tuple) and _has_tensors(value)):
        return constant(builder, value, dtype, None)
    tensor = operand(builder, value)
    if dtype is not None and tensor.dtype != dtype_of(dtype):
        builder.refuse(f"it converts {describe(tensor)} of {tensor.dtype} to a tensor of {dtype_of(dtype)}")
    return tensor


def _has_tensors(value: Value) -> bool:
    return any(isinstance(each, Tensor) for each in leaves(value))


@rule(
    "ops.convert_to_tensor (x: value, dtype=None, sparse: default=None, ragged: default=None)",
    "ops.array (x: value, dtype=None)",
)
def convert_any(builder: Builder, value: Value, dtype: Value) -> Value:
    made = convert(builder, value, None)
    if dtype is None or isinstance(made, Sizes | OpenSize) or made.dtype == dtype_of(dtype):
        return made
    return builder.op("cast", made, dtype_of(dtype)) if isinstance(made, Tensor) else _converted(made, dtype)


@rule("np.array np.asarray (object: value, dtype=None, *, a: value=None)")
def array_of(builder: Builder, value: Value, dtype: Value) -> Value:
    plain = list(value) if isinstance(value, Shape) else value
    checked = builder.constant(plain)  # which narrows what NumPy does not
    array = checked if plain is value and isinstance(value, np.ndarray) else np.array(plain)
    return array if dtype is None else _converted(array, dtype)


def _converted(array: np.ndarray, dtype: Value) -> np.ndarray:
    """The array in another dtype, which can hold its numbers."""
    wanted = array_dtype(dtype)
    if "int" in wanted and array.dtype != bool and array.size:
        low, high = array.min(), array.max()  # both NaN if one number is
        if not (low >= np.iinfo(wanted).min and high <= np.iinfo(wanted).max):
            raise RefusedError(f"{low} to {high} does not fit {wanted}")
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _number_of(dtype: str) -> None:
    def build(builder: Builder, value: Value) -> Value:
        if isinstance(value, list | tuple | np.ndarray):
            return array_of(builder, value, dtype)
        plain = number(value, "argument")
        return _converted(np.array(plain), dtype).item()

    rule(f"np.{dtype} (value=0, /)")(build)


for _name in _NUMPY.split():
    _number_of(_name)


@rule("K.zeros (shape, dtype=None, name=None)")
def keras_zeros(builder: Builder, shape: Value, dtype: Value, name: Value) -> Value:
    return builder.variable(zeros(builder, shape, dtype), name)


@rule("K.ones (shape, dtype=None, name=None)")
def keras_ones(builder: Builder, shape: Value, dtype: Value, name: Value) -> Value:
    return builder.variable(ones(builder, shape, dtype), name)


@rule("K.variable (value, dtype=None, name=None, constraint: _=None)")
def keras_variable(builder: Builder, value: Value, dtype: Value, name: Value) -> Value:
    made = array_of(builder, value, floatx(builder) if dtype is None else dtype)
    if not builder.variables.stored:
        builder.refuse(f"it calls K.variable, which {MAKES_VARIABLE}")
    return builder.variable(made, name)


@rule("ops.zeros (shape, dtype=None)")
@rule("tf.zeros (shape, dtype='float32', name: _=None)")
def zeros(builder: Builder, shape: Value, dtype: Value) -> Value:
    return filled(builder, sizes_of(shape, "shape"), 0, floatx(builder) if dtype is None else array_dtype(dtype))


@rule("ops.ones (shape, dtype=None)")
@rule("tf.ones (shape, dtype='float32', name: _=None)")
def ones(builder: Builder, shape: Value, dtype: Value) -> Value:
    return filled(builder, sizes_of(shape, "shape"), 1, floatx(builder) if dtype is None else array_dtype(dtype))


@rule("np.zeros (shape, dtype='float64')")
def numpy_zeros(builder: Builder, shape: Value, dtype: Value) -> Value:
    return filled(builder, fixed(shape, "shape"), 0, array_dtype(dtype))


@rule("np.ones (shape, dtype='float64')")
def numpy_ones(builder: Builder, shape: Value, dtype: Value) -> Value:
    return filled(builder, fixed(shape, "shape"), 1, array_dtype(dtype))


@rule("tf.fill (dims: shape, value, name: _=None)")
def fill(builder: Builder, shape: Value, value: Value) -> Value:
    array = constant(builder, value, None, None)
    if array.ndim:
        builder.refuse(f"it fills a tensor with {describe(value)}, where a number is needed")
    return filled(builder, sizes_of(shape, "shape"), array.item(), str(array.dtype))


@rule("ops.full (shape, fill_value: value, dtype=None)")
def full(builder: Builder, shape: Value, value: Value, dtype: Value) -> Value:
    wanted = floatx(builder) if dtype is None else array_dtype(dtype)
    return filled(builder, sizes_of(shape, "shape"), number(value, "fill_value"), wanted)


@rule("np.full (shape, fill_value: value, dtype=None)")
def numpy_full(builder: Builder, shape: Value, value: Value, dtype: Value) -> Value:
    sizes, plain = fixed(shape, "shape"), number(value, "fill_value")
    builder.check_size(sizes)
    made = np.full(sizes, plain)
    return made if dtype is None else _converted(made, dtype)


@rule(
    "K.zeros_like (x, dtype=None, name: _=None)", "ops.zeros_like (x, dtype=None)", "np.zeros_like (a: x, dtype=None)"
)
@rule("tf.zeros_like (input: x=None, dtype=None, name: _=None, *, tensor: x=None, optimize: _=True)")
def zeros_like(builder: Builder, x: Value, dtype: Value) -> Value:
    return _like(builder, "zeros_like", x, dtype)


@rule("K.ones_like (x, dtype=None, name: _=None)", "ops.ones_like (x, dtype=None)", "np.ones_like (a: x, dtype=None)")
@rule("tf.ones_like (input: x=None, dtype=None, name: _=None, *, tensor: x=None, optimize: _=True)")
def ones_like(builder: Builder, x: Value, dtype: Value) -> Value:
    return _like(builder, "ones_like", x, dtype)


def _like(builder: Builder, name: str, x: Value, dtype: Value) -> Value:
    tensor = operand(builder, x)
    return builder.op(name, tensor, dtype=str(tensor.dtype) if dtype is None else dtype_of(dtype))


@rule("ops.full_like (x, fill_value: value, dtype=None)", "np.full_like (a: x, fill_value: value, dtype=None)")
def full_like(builder: Builder, x: Value, value: Value, dtype: Value) -> Value:
    tensor = operand(builder, x)
    wanted = str(tensor.dtype) if dtype is None else dtype_of(dtype)
    return builder.op("full_like", tensor, number(value, "fill_value"), dtype=wanted)


@rule(
    "tf.eye tf.linalg.eye (num_rows: rows, num_columns: columns=None, batch_shape=None, dtype='float32', name: _=None)"
)
def eye(builder: Builder, rows: Value, columns: Value, batch_shape: Value, dtype: Value) -> Value:
    matrix = _eye(builder, rows, columns, 0, dtype)
    if batch_shape is None:
        return matrix
    return spread(builder, matrix, [*sizes_of(batch_shape, "batch_shape"), *matrix.shape])


@rule("K.eye (size: rows, dtype=None, name=None)")
def backend_eye(builder: Builder, rows: Value, dtype: Value, name: Value) -> Value:
    return builder.variable(keras_eye(builder, rows, dtype=dtype), name)


@rule("ops.eye (N: rows, M: columns=None, k: diagonal=0, dtype=None)")
def keras_eye(
    builder: Builder, rows: Value, columns: Value = None, diagonal: Value = 0, dtype: Value = None
) -> np.ndarray:
    return _eye(builder, rows, columns, diagonal, floatx(builder) if dtype is None else dtype)


@rule("np.eye (N: rows, M: columns=None, k: diagonal=0, dtype='float64')", "np.identity (n: rows, dtype='float64')")
def numpy_eye(builder: Builder, rows: Value, dtype: Value, columns: Value = None, diagonal: Value = 0) -> Value:
    return _eye(builder, rows, columns, diagonal, dtype)


def _eye(builder: Builder, rows: Value, columns: Value, diagonal: Value, dtype: Value) -> np.ndarray:
    height = integer(rows, "number of rows")
    width = height if columns is None else integer(columns, "number of columns")
    builder.check_size((height, width))
    return np.eye(height, width, integer(diagonal, "diagonal"), array_dtype(dtype))
