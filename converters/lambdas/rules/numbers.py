"""Less common functions of TensorFlow's: counts, polynomials, clipping by a norm, diagonal matrices, inverses."""

from __future__ import annotations

from typing import Final

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import axes, flag, floating, number, operand, rank_of, sequence
from converters.lambdas.rules.linear import pair
from converters.lambdas.rules.table import rule
from converters.lambdas.values import Tensor, Value, describe

_SATURATED: Final = ("int8", "uint8", "int16", "uint16")  # whose range float32 holds exactly


@rule(
    "tf.math.count_nonzero tf.count_nonzero (input: x=None, axis=None, keepdims=None, dtype='int64', name: _=None, *, "
    "input_tensor: x=None, reduction_indices: axis=None, keep_dims: keepdims=None)"
)
def count_nonzero(builder: Builder, x: Value, axis: Value, keepdims: Value, dtype: Value) -> Value:
    tensor = operand(builder, x)
    found = tensor if str(tensor.dtype) == "bool" else builder.op("not_equal", tensor, 0)
    counted = builder.op("cast", found, dtype_of(dtype))
    return builder.op("sum", counted, axis=axes(axis, rank_of(tensor)), keepdims=flag(keepdims, "keepdims"))


def _zero_where(name: str, then: str) -> None:
    def build(builder: Builder, x: Value, y: Value) -> Value:
        left, right = pair(builder, x, y)
        other = right if name == "xdivy" else builder.op("log1p" if name == "xlog1py" else "log", right)
        made = builder.op(then, left, other)
        return builder.op("where", builder.op("equal", left, 0.0), builder.op("zeros_like", made), made)

    rule(f"tf.math.{name} (x, y, name: _=None)")(build)


for _name, _then in (("xlogy", "multiply"), ("xlog1py", "multiply"), ("xdivy", "true_divide")):
    _zero_where(_name, _then)


@rule("tf.math.polyval (coeffs, x, name: _=None)")
def polyval(builder: Builder, coeffs: Value, x: Value) -> Value:
    """Horner's rule, as TensorFlow has it."""
    terms = sequence(coeffs, "coeffs")
    if len(terms) < 2:
        builder.refuse("it is a polynomial of fewer than two terms")
    tensor = floating(builder, x)
    made = operators.binary(builder, "*", tensor, terms[0])
    for term in terms[1:-1]:
        made = operators.binary(builder, "*", operators.binary(builder, "+", made, term), tensor)
    return operators.binary(builder, "+", made, terms[-1])


@rule("tf.clip_by_norm (t: x, clip_norm: limit, axes: axis=None, name: _=None)")
def clip_by_norm(builder: Builder, x: Value, limit: Value, axis: Value) -> Value:
    tensor, most = floating(builder, x), number(limit, "clip_norm")
    squares = builder.op("sum", builder.op("square", tensor), axis=axes(axis, rank_of(tensor)), keepdims=True)
    longest = builder.op("maximum", builder.op("sqrt", squares), most)
    return builder.op("true_divide", builder.op("multiply", tensor, most), longest)


@rule("tf.saturate_cast tf.dtypes.saturate_cast (value: x, dtype, name: _=None)")
def saturate_cast(builder: Builder, x: Value, dtype: Value) -> Value:
    tensor, wanted = operand(builder, x), dtype_of(dtype)
    if wanted not in _SATURATED or str(tensor.dtype) not in ("float32", "float64", "int32", "int64"):
        builder.refuse(f"it casts {describe(tensor)} of {tensor.dtype} to the nearest number of {wanted}")
    range_of = np.iinfo(wanted)
    low, high = (operators.like(builder, bound, tensor) for bound in (int(range_of.min), int(range_of.max)))
    return builder.op("cast", builder.op("minimum", builder.op("maximum", tensor, low), high), wanted)


@rule("tf.linalg.diag tf.matrix_diag (diagonal: x, name: _=None, k: default=0, num_rows: default=-1, "
      "num_cols: default=-1, padding_value: default=0, *, align: _='')")  # fmt: skip
def diagonal_matrix(builder: Builder, x: Value) -> Value:
    tensor = floating(builder, x)
    size = tensor.shape[-1] if rank_of(tensor) else None
    if size is None:
        builder.refuse(f"it makes a diagonal matrix of {describe(tensor)}")
    builder.check_size((size, size))
    return builder.op("where", np.eye(size, dtype=bool), builder.op("expand_dims", tensor, -1), 0.0)


@rule("tf.linalg.det tf.matrix_determinant (input: x, name: _=None)", "ops.det (x)")
def determinant(builder: Builder, x: Value) -> Value:
    return builder.op("det", _square(builder, x))


@rule("tf.linalg.inv tf.matrix_inverse (input: x, adjoint: default=False, name: _=None)", "ops.inv (x)")
def inverse(builder: Builder, x: Value) -> Value:
    return builder.op("inv", _square(builder, x))


def _square(builder: Builder, x: Value) -> Tensor | np.ndarray:
    tensor = floating(builder, x)
    if rank_of(tensor) < 2 or tensor.shape[-1] is None or tensor.shape[-1] != tensor.shape[-2]:
        builder.refuse(f"it takes {describe(tensor)} for square matrices")
    return tensor


@rule("tf.linalg.cross tf.cross (a: x, b: y, name: _=None)")
def cross(builder: Builder, x: Value, y: Value) -> Value:
    left, right = pair(builder, x, y, 1)
    if left.shape != right.shape or left.shape[-1] != 3:
        builder.refuse(f"it takes the cross product of {describe(left)} and {describe(right)}")
    a, b = ([_part(builder, each, index) for index in range(3)] for each in (left, right))
    parts = []
    for one, two in ((1, 2), (2, 0), (0, 1)):
        first, second = builder.op("multiply", a[one], b[two]), builder.op("multiply", a[two], b[one])
        parts.append(builder.op("subtract", first, second))
    return builder.op("stack", parts, axis=-1)


def _part(builder: Builder, x: Tensor | np.ndarray, index: int) -> Value:
    return builder.index(x, (Ellipsis, index)) if isinstance(x, Tensor) else np.asarray(x[..., index])
