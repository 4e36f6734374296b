"""Arithmetic, comparison and functions of one number, element by element."""

from __future__ import annotations

from typing import Final

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import number, operand, sequence
from converters.lambdas.rules.sizes import size_tensor
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Shape, Tensor, Value

_BINARY: Final[dict[str, str]] = {
    "add": "tf.add tf.math.add ops.add", "subtract": "tf.subtract tf.math.subtract ops.subtract",
    "multiply": "tf.multiply tf.math.multiply ops.multiply", "power": "tf.pow tf.math.pow ops.power",
    "maximum": "tf.maximum tf.math.maximum ops.maximum", "minimum": "tf.minimum tf.math.minimum ops.minimum",
    "floor_divide": "tf.floordiv tf.math.floordiv tf.floor_div ops.floor_divide",
    "mod": "tf.mod tf.math.mod tf.math.floormod tf.floormod ops.mod",
}  # fmt: skip
_COMPARISONS: Final[dict[str, str]] = {
    "greater": "tf.greater tf.math.greater K.greater ops.greater",
    "greater_equal": "tf.greater_equal tf.math.greater_equal K.greater_equal ops.greater_equal",
    "less": "tf.less tf.math.less K.less ops.less",
    "less_equal": "tf.less_equal tf.math.less_equal K.less_equal ops.less_equal",
    "equal": "tf.equal tf.math.equal K.equal ops.equal",
    "not_equal": "tf.not_equal tf.math.not_equal K.not_equal ops.not_equal",
    "logical_and": "tf.logical_and tf.math.logical_and ops.logical_and",
    "logical_or": "tf.logical_or tf.math.logical_or ops.logical_or",
    "logical_xor": "tf.math.logical_xor ops.logical_xor",
}  # fmt: skip
# Under keras.ops's name, which every library uses; the arguments are the tensor and nothing that matters.
_UNARY: Final[dict[str, str]] = {
    "abs": "K.abs tf.abs tf.math.abs ops.abs ops.absolute np.abs math.fabs",
    "exp": "K.exp tf.exp tf.math.exp ops.exp np.exp math.exp", "expm1": "tf.math.expm1 ops.expm1",
    "log": "tf.log tf.math.log ops.log np.log math.log", "log1p": "tf.math.log1p ops.log1p",
    "log10": "ops.log10 math.log10 np.log10", "log2": "ops.log2 np.log2 math.log2",
    "rsqrt": "tf.rsqrt tf.math.rsqrt ops.rsqrt", "square": "K.square tf.square tf.math.square ops.square np.square",
    "sign": "K.sign tf.sign tf.math.sign ops.sign", "negative": "tf.negative tf.math.negative ops.negative",
    "round": "K.round tf.round tf.math.round ops.round", "floor": "tf.floor tf.math.floor ops.floor",
    "ceil": "tf.math.ceil tf.ceil ops.ceil", "reciprocal": "tf.math.reciprocal tf.reciprocal ops.reciprocal",
    "sin": "K.sin tf.sin tf.math.sin ops.sin", "cos": "K.cos tf.cos tf.math.cos ops.cos",
    "tan": "tf.tan tf.math.tan ops.tan", "arcsin": "tf.asin tf.math.asin ops.arcsin",
    "arccos": "tf.acos tf.math.acos ops.arccos", "arctan": "tf.atan tf.math.atan ops.arctan",
    "sinh": "tf.sinh tf.math.sinh ops.sinh", "cosh": "tf.cosh tf.math.cosh ops.cosh",
    "erf": "tf.math.erf tf.erf ops.erf", "isnan": "tf.math.is_nan ops.isnan",
    "isfinite": "tf.math.is_finite ops.isfinite", "isinf": "tf.math.is_inf ops.isinf",
    "logical_not": "tf.logical_not tf.math.logical_not ops.logical_not",
}  # fmt: skip


def _binary(name: str) -> None:
    def build(builder: Builder, x: Value, y: Value) -> Value:
        if not isinstance(x, Tensor) and not isinstance(y, Tensor):
            x, y = operand(builder, x), operand(builder, y)
        return operators.apply(builder, name, x, y)

    rule(f"{_BINARY.get(name) or _COMPARISONS[name]} (x: x, y: y, name: _=None)")(build)


def _unary(name: str) -> None:
    def build(builder: Builder, x: Value) -> Value:
        return builder.op(name, operand(builder, x))

    names = _UNARY[name].split()
    rule(f"{' '.join(each for each in names if each.split('.')[0] in ('K', 'tf'))} (x, name: _=None)".lstrip())(build)
    rest = [each for each in names if each.split(".")[0] not in ("K", "tf")]
    rule(f"{' '.join(rest)} (x, /)")(build)


for _name in (*_BINARY, *_COMPARISONS):
    _binary(_name)
for _name in _UNARY:
    _unary(_name)


@rule("K.maximum (x, y)", "np.maximum max_of_two (x, y)")
def maximum(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "maximum", *_operands(builder, x, y))


@rule("K.minimum (x, y)", "np.minimum (x, y)")
def minimum(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "minimum", *_operands(builder, x, y))


def _operands(builder: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return x, y
    return operand(builder, x), operand(builder, y)


@rule(
    "tf.divide tf.math.divide tf.truediv tf.math.truediv tf.realdiv (x, y, name: _=None)",
    "ops.divide ops.true_divide (x1: x, x2: y)",
)
def divide(builder: Builder, x: Value, y: Value) -> Value:
    return operators.binary(builder, "/", x, y)


@rule("tf.div tf.RealDiv (x, y, name: _=None)")
def classic_divide(builder: Builder, x: Value, y: Value) -> Value:
    return operators.binary(builder, "classic /", x, y)


@rule(
    "tf.math.divide_no_nan tf.div_no_nan (x, y, name: _=None)",
    "ops.divide_no_nan (x1: x, x2: y)",
)
def divide_no_nan(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "divide_no_nan", *_operands(builder, x, y))


@rule("tf.squared_difference tf.math.squared_difference (x, y, name: _=None)")
def squared_difference(builder: Builder, x: Value, y: Value) -> Value:
    return builder.op("square", operators.apply(builder, "subtract", *_operands(builder, x, y)))


@rule("tf.add_n tf.math.add_n tf.math.accumulate_n (inputs, name: _=None)")
def add_n(builder: Builder, inputs: Value) -> Value:
    terms = sequence(inputs, "inputs") if not isinstance(inputs, Tensor) else [inputs]
    if not terms:
        builder.refuse("it adds up an empty list")
    total = operand(builder, terms[0])
    for term in terms[1:]:
        total = operators.apply(builder, "add", total, operand(builder, term))
    return total


@rule("K.pow (x, a: y)")
def power(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "power", *_operands(builder, x, y))


@rule("K.sqrt (x)")
def clipped_sqrt(builder: Builder, x: Value) -> Value:
    # keras.backend's square root takes negative numbers for 0; TensorFlow's gives NaN.
    return builder.op("sqrt", builder.op("maximum", operand(builder, x), 0.0))


@rule("tf.sqrt tf.math.sqrt (x, name: _=None)", "ops.sqrt np.sqrt math.sqrt (x, /)")
def sqrt(builder: Builder, x: Value) -> Value:
    return builder.op("sqrt", operand(builder, x))


@rule("K.log (x)")
def log(builder: Builder, x: Value) -> Value:
    return builder.op("log", operand(builder, x))


@rule("math.pow (x, y, /)", "np.power (x, y, /)")
def number_power(builder: Builder, x: Value, y: Value) -> Value:
    return operators.binary(builder, "**", x, y)


@rule("math.floor (x, /)")
def number_floor(builder: Builder, x: Value) -> Value:
    del builder
    return int(number(x, "argument") // 1)


@rule("math.ceil (x, /)")
def number_ceil(builder: Builder, x: Value) -> Value:
    del builder
    return int(-(-number(x, "argument") // 1))


@rule(
    "K.clip (x, min_value: low, max_value: high)",
    "ops.clip (x, x_min: low, x_max: high)",
    "tf.clip_by_value (t: x, clip_value_min: low, clip_value_max: high, name: _=None)",
    "np.clip (a: x, a_min: low, a_max: high)",
)
def clip(builder: Builder, x: Value, low: Value, high: Value) -> Value:
    tensor = operand(builder, x)
    if not isinstance(tensor, Tensor):
        return builder.op("clip", tensor, low, high)
    bounds = [None if bound is None else operators.like(builder, bound, tensor) for bound in (low, high)]
    if all(isinstance(bound, int | float) for bound in bounds):
        return builder.op("clip", tensor, *bounds)
    if bounds[0] is not None:
        tensor = builder.op("maximum", tensor, bounds[0])
    return tensor if bounds[1] is None else builder.op("minimum", tensor, bounds[1])


def _cast_number(builder: Builder, x: float, wanted: str) -> bool | int | float:
    """A number of the function's own: it has no type yet, but what the cast takes away from it is gone."""
    if wanted == "bool":
        if 0 < abs(x) < np.finfo("float32").tiny:
            builder.refuse(f"it casts {x} to bool, which processors that round such numbers to zero take for False")
        return bool(x)
    if "int" in wanted:
        if not np.iinfo(wanted).min <= x <= np.iinfo(wanted).max:
            builder.refuse(f"it casts {x} to {wanted}, which does not hold it")
        return int(x)
    with np.errstate(over="ignore"):
        return float(np.float16(x)) if wanted == "float16" else float(x)


@rule("K.cast ops.cast (x, dtype)", "tf.cast tf.dtypes.cast (x, dtype, name: _=None)")
def cast(builder: Builder, x: Value, dtype: Value) -> Value:
    wanted = dtype_of(dtype)
    if isinstance(x, OpenSize):
        if wanted in ("int32", "int64"):
            return x
        if wanted not in ("float32", "float64") or x.times != 1 or x.others:
            builder.refuse("it computes with a size that is not fixed in the model")
        return size_tensor(builder, x, wanted)
    if isinstance(x, int | float) and not isinstance(x, bool):
        return _cast_number(builder, x, wanted)
    if isinstance(x, Shape | list | tuple) and "int" in wanted:
        return x
    tensor = operand(builder, x)
    if not isinstance(tensor, Tensor):
        return tensor.astype(wanted)
    if "float" in tensor.dtype and "int" in wanted:
        # Towards zero, in every runtime; what lies outside of the integer's range is undefined in all of them.
        return builder.op("cast", tensor, wanted)
    return tensor if tensor.dtype == wanted else builder.op("cast", tensor, wanted)


@rule("tf.to_float tf.compat.v1.to_float (x, name: _=None)")
def to_float(builder: Builder, x: Value) -> Value:
    return cast(builder, x, "float32")


@rule("tf.to_int32 (x, name: _=None)")
def to_int32(builder: Builder, x: Value) -> Value:
    return cast(builder, x, "int32")


@rule(
    "tf.where tf.compat.v2.where (condition, x, y, name: _=None)",
    "ops.where (condition, x1: x, x2: y)",
    "K.switch (condition, then_expression: x, else_expression: y)",
)
def where(builder: Builder, condition: Value, x: Value, y: Value) -> Value:
    if isinstance(condition, bool):
        return x if condition else y
    tensor = operand(builder, condition)
    if isinstance(tensor, Tensor) and tensor.dtype != "bool":
        builder.refuse(f"its condition is of {tensor.dtype}, not of truth values")
    sides = [operators.like(builder, side, other) for side, other in ((x, y), (y, x))]
    ranks = [side.rank if isinstance(side, Tensor) else 0 for side in sides]
    if isinstance(tensor, Tensor) and 0 < tensor.rank < max(ranks):
        # TensorFlow 1 and keras.backend spread it over the last axes, TensorFlow 2 over the first.
        builder.refuse("its condition has fewer axes than what it chooses from")
    return builder.op("where", tensor, *sides)


@rule("tf.scalar_mul tf.math.scalar_mul (scalar: x, x: y, name: _=None)")
def scalar_mul(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "multiply", *_operands(builder, x, y))


@rule("tf.atan2 tf.math.atan2 (y: x, x: y, name: _=None)", "ops.arctan2 (x1: x, x2: y)")
def arctan2(builder: Builder, x: Value, y: Value) -> Value:
    return operators.apply(builder, "arctan2", *_operands(builder, x, y))


@rule("tf.debugging.check_numerics tf.check_numerics (tensor: x, message: _=None, name: _=None)")
def check_numerics(builder: Builder, x: Value) -> Value:
    builder.assume("tf.debugging.check_numerics passes its input on; it no longer stops at NaN or infinity")
    return operand(builder, x)
