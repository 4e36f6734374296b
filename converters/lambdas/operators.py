"""Python's operators and subscripts on what a Lambda's parts stand for."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder, is_number, leaves, weight
from converters.lambdas.values import Library, OpenSize, RefusedError, Shape, Sizes, Tensor, Value, describe

__all__ = ["apply", "binary", "compare", "divide", "items", "like", "subscript", "truth", "unary", "unpack"]

_PLAIN: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "<<": operator.lshift, ">>": operator.rshift, "@": operator.matmul,
}  # fmt: skip
_COMPARE: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPS: Final[Mapping[str, str]] = {
    "+": "add", "-": "subtract", "*": "multiply", "//": "floor_divide", "%": "mod", "**": "power", "@": "matmul",
    "<": "less", "<=": "less_equal", "==": "equal", "!=": "not_equal", ">": "greater", ">=": "greater_equal",
}  # fmt: skip
_LOGICAL: Final[Mapping[str, str]] = {"&": "logical_and", "|": "logical_or", "^": "logical_xor"}
# TensorFlow's true division: these integers become float32, the wider ones float64.
_NARROW: Final = frozenset(["int8", "uint8", "int16", "uint16"])


def binary(builder: Builder, op: str, left: Value, right: Value) -> Value:
    """`left op right`, where op may be `classic /`, Python 2's division.

    Raises:
        RefusedError: the operands' kinds have no such operation.
    """
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return _on_tensors(builder, op, left, right)
    if isinstance(left, Sizes) or isinstance(right, Sizes):
        return _on_sizes(builder, op, left, right)
    if isinstance(left, OpenSize) or isinstance(right, OpenSize):
        return _on_open_sizes(op, left, right)
    if op == "classic /":
        whole = all(isinstance(side, int) for side in (left, right))
        op = "//" if whole else "/"
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return _on_arrays(builder, op, left, right)
    if is_number(left) and is_number(right):
        return _on_numbers(builder, op, left, right)
    return _on_sequences(builder, op, left, right)


def _on_open_sizes(op: str, left: Value, right: Value) -> OpenSize:
    """Products, which a reshape asks for; what divides one without rest."""
    if op == "*" and not isinstance(left, OpenSize):
        left, right = right, left
    if op == "*" and isinstance(right, OpenSize):
        alone = dataclasses.replace(right, times=1, others=())
        return OpenSize(left.tensor, left.axis, left.times * right.times, (*left.others, alone, *right.others))
    if isinstance(left, OpenSize) and isinstance(right, int) and not isinstance(right, bool) and right > 0:
        if op == "*":
            return dataclasses.replace(left, times=left.times * right)
        if op == "//" and left.times % right == 0:
            return dataclasses.replace(left, times=left.times // right)
    raise RefusedError(f"it computes with {describe(left)} {op} {describe(right)}, which only running it would tell")


def _on_sizes(builder: Builder, op: str, left: Value, right: Value) -> Value:
    """Arithmetic on `tf.shape(x)` or a part of it, element by element."""
    if not any(isinstance(part, OpenSize) for side in (left, right) if isinstance(side, list | tuple) for part in side):
        return _on_arrays(builder, op, *(list(side) if isinstance(side, tuple) else side for side in (left, right)))
    sides = [list(side) if isinstance(side, list | tuple | np.ndarray) else [side] for side in (left, right)]
    count = max(map(len, sides))
    if any(len(side) not in (1, count) for side in sides) or op not in ("+", "-", "*", "//", "%"):
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which is not understood")
    pairs = zip(*(side * count if len(side) != count else side for side in sides), strict=True)
    return Sizes(
        binary(builder, op, *(part.item() if isinstance(part, np.generic) else part for part in pair)) for pair in pairs
    )


def _on_numbers(builder: Builder, op: str, left: Any, right: Any) -> Value:
    limit = builder.limits.number
    if op in ("**", "<<") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if op == "**" else left.bit_length() + right
        if bits > limit:
            raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, an integer of over {limit} bits")
    try:
        made = _PLAIN[op](left, right)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}: {error}") from error
    if isinstance(made, complex) or (isinstance(made, int) and made.bit_length() > limit):
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which no tensor can hold")
    return made


def _on_sequences(builder: Builder, op: str, left: Value, right: Value) -> Value:
    same = all(isinstance(side, tuple) for side in (left, right)) or all(
        isinstance(side, list) for side in (left, right)
    )
    if op == "+" and (same or (isinstance(left, str) and isinstance(right, str))):
        builder.spend(weight(left) + weight(right))
        return left + right if not isinstance(left, Shape) else Shape((*left, *right))
    for sequence, times in ((left, right), (right, left)):
        if op == "*" and isinstance(sequence, list | tuple) and isinstance(times, int):
            builder.check_size((len(sequence) or 1, max(times, 0)))
            return type(sequence)(list(sequence) * times)
    if op == "%" and isinstance(left, str):
        raise RefusedError("it formats text")
    raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which is not understood")


def _on_arrays(builder: Builder, op: str, left: Value, right: Value) -> Value:
    arrays = [builder.constant(side) if isinstance(side, list | tuple) else side for side in (left, right)]
    if not all(isinstance(side, np.ndarray) or is_number(side) for side in arrays):
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which is not understood")
    if op == "@":
        return np.asarray(builder.op("matmul", *(np.asarray(side) for side in arrays)))
    try:
        builder.check_size(np.broadcast_shapes(*(np.shape(side) for side in arrays)))
        with np.errstate(all="ignore"):
            return np.asarray(_PLAIN[op](*arrays))
    except (ValueError, TypeError, ArithmeticError) as error:
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}: {error}") from error


def _on_tensors(builder: Builder, op: str, left: Value, right: Value) -> Value:
    if op in _LOGICAL:
        if any(not isinstance(side, Tensor) or side.dtype != "bool" for side in (left, right)):
            raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which is not understood")
        return builder.op(_LOGICAL[op], left, right)
    if op in ("/", "classic /"):
        whole = [side.dtype if isinstance(side, Tensor) else "int" for side in (left, right)]
        if op == "classic /" and not any("float" in dtype for dtype in whole):
            raise RefusedError("it divides integers as Python 2 did")
        return divide(builder, left, right)
    if op not in _OPS:
        raise RefusedError(f"it computes {describe(left)} {op} {describe(right)}, which is not understood")
    return apply(builder, _OPS[op], left, right)


def apply(builder: Builder, name: str, left: Value, right: Value) -> Value:
    """`ops.<name>(left, right)` where a constant takes the dtype of the tensor beside it, as in TensorFlow."""
    return builder.op(name, like(builder, left, right), like(builder, right, left))


def divide(builder: Builder, left: Value, right: Value) -> Value:
    """True division as TensorFlow does it: of integers in floats."""
    sides = [like(builder, left, right), like(builder, right, left)]
    for index, side in enumerate(sides):
        if isinstance(side, Tensor) and "float" not in side.dtype:
            sides[index] = builder.op("cast", side, "float32" if side.dtype in _NARROW else "float64")
    return builder.op(
        "true_divide", *(like(builder, side, other) for side, other in zip(sides, sides[::-1], strict=True))
    )


def like(builder: Builder, value: Value, other: Value) -> Value:
    """The operand as it enters an operation beside `other`: an array is converted to the other's dtype.

    Raises:
        RefusedError: it is no operand, or would lose its fraction.
    """
    if isinstance(value, Tensor) or (is_number(value) and not isinstance(value, np.generic)):
        if isinstance(value, float) and isinstance(other, Tensor) and "float" not in other.dtype:
            raise RefusedError(
                f"it combines {describe(other)} of {other.dtype} with {value!r}, which TensorFlow refuses"
            )
        if isinstance(other, Tensor) and not isinstance(value, Tensor) and not _holds(other.dtype, value):
            raise RefusedError(f"it combines {describe(other)} with {value!r}, which {other.dtype} does not hold")
        return value
    if isinstance(value, np.ndarray | np.generic | list | tuple) and not isinstance(value, Shape):
        array = builder.constant(value)
        if isinstance(other, Tensor) and array.dtype != other.dtype and other.dtype != "bool":
            if array.dtype.kind == "f" and "float" not in other.dtype:
                raise RefusedError(f"it combines {describe(other)} of {other.dtype} with fractions")
            array = array.astype(_numpy_dtype(other.dtype))
        return array.item() if array.ndim == 0 else array
    if isinstance(value, Shape) and all(isinstance(size, int) for size in value):
        return like(builder, list(value), other)
    raise RefusedError(f"it computes with {describe(value)}, which is not understood")


def _holds(dtype: str, value: float) -> bool:
    """Whether a number is within a dtype's range; what is too large for a half float alone is infinite in Keras too."""
    if "int" in dtype:
        return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)
    if "float" not in dtype:
        return True
    kind = np.float64 if dtype == "float64" else np.float32
    with np.errstate(over="ignore"):
        return not math.isfinite(value) or bool(np.isfinite(kind(value)))


def _numpy_dtype(dtype: str) -> str:
    return "float32" if dtype == "bfloat16" else dtype  # which NumPy has not; Keras casts it to the other operand's


def unary(builder: Builder, op: str, value: Value) -> Value:
    """`-value`, `+value`, `~value` or `not value`."""
    if op == "not":
        return not truth(value)
    if isinstance(value, Tensor):
        if op == "+":
            return value
        if op == "~" and value.dtype == "bool":
            return builder.op("logical_not", value)
        if op == "-":
            return builder.op("negative", value)
    elif op in "+-" and (is_number(value) or isinstance(value, np.ndarray)):
        return -value if op == "-" else +value
    elif op == "~" and isinstance(value, int):
        return ~value
    raise RefusedError(f"it computes {op}{describe(value)}, which is not understood")


def compare(builder: Builder, op: str, left: Value, right: Value) -> Value:
    """`left op right`: of tensors element by element, of constants at once."""
    if op in ("is", "is not"):
        known = {id(None), id(True), id(False)}
        if id(left) not in known and id(right) not in known:
            raise RefusedError(f"it asks whether {describe(left)} is {describe(right)}")
        return (left is right) == (op == "is")
    if op in ("in", "not in"):
        if any(isinstance(each, Tensor | OpenSize | np.ndarray) for each in (left, *items(builder, right))):
            raise RefusedError(f"it asks whether {describe(left)} is in {describe(right)}")
        leaves([left, right])
        return (left in items(builder, right)) == (op == "in")
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        if op in ("==", "!=") and None in (left, right):
            return op == "!="
        if op in ("==", "!=") and builder.era.tensorflow != 2:
            meant = (
                "whether both are one object"
                if builder.era.tensorflow == 1
                else "one thing in TensorFlow 1, another in 2"
            )
            raise RefusedError(f"it compares tensors with {op}, which means {meant}")
        return apply(builder, _OPS[op], left, right)
    left, right = (value.path if isinstance(value, Library) else value for value in (left, right))
    if isinstance(left, OpenSize | Sizes) or isinstance(right, OpenSize | Sizes):
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}, which only running it would tell")
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return _compare_arrays(builder, op, left, right)
    plain = (bool, int, float, str, tuple, list, type(None))
    if not isinstance(left, plain) or not isinstance(right, plain):
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}, which is not understood")
    leaves([left, right])
    try:
        return bool(_COMPARE[op](left, right))
    except (TypeError, ValueError) as error:
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}: {error}") from error


def _compare_arrays(builder: Builder, op: str, left: Value, right: Value) -> Value:
    if not all(isinstance(side, np.ndarray) or is_number(side) for side in (left, right)):
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}, which is not understood")
    try:
        builder.check_size(np.broadcast_shapes(np.shape(left), np.shape(right)))
    except ValueError as error:
        raise RefusedError(f"it compares {describe(left)} with {describe(right)}: {error}") from error
    return np.asarray(_COMPARE[op](left, right))


def truth(value: Value) -> bool:
    """Whether a constant holds.

    Raises:
        RefusedError: only running the model would tell.
    """
    if value is None or isinstance(value, bool | int | float | str | list | tuple | dict):
        return bool(value)
    raise RefusedError(f"a condition depends on {describe(value)}, which only running the model would tell")


def items(builder: Builder, value: Value) -> list[Value]:
    """The items of a list, a tuple, a shape, a range, an array or a tensor along its first axis."""
    if isinstance(value, list | tuple | dict | str):
        builder.spend(64 * len(value))
        return list(value)
    if isinstance(value, np.ndarray) and value.ndim and len(value) <= builder.limits.operations:
        return [each.item() if each.ndim == 0 else each for each in value]
    if isinstance(value, Tensor) and value.rank and value.shape[0] is not None:
        return [builder.index(value, index) for index in range(min(value.shape[0], builder.limits.operations + 1))]
    raise RefusedError(f"it takes {describe(value)} apart, which is not understood")


def unpack(builder: Builder, value: Value, index: int, count: int) -> Value:
    """The index-th of exactly `count` items."""
    if isinstance(value, Tensor) and value.rank and value.shape[0] == count:
        return builder.index(value, index)
    parts = items(builder, value)
    if len(parts) != count:
        raise RefusedError(f"it takes {describe(value)} apart into {count}, and there are {len(parts)}")
    return parts[index]


def subscript(builder: Builder, of: Value, key: Value) -> Value:
    """`of[key]`."""
    leaves(key)  # refused if it holds too much
    if isinstance(of, Tensor):
        return _index(builder, of, key)
    if isinstance(key, np.integer):
        key = int(key)
    if isinstance(of, Shape) and isinstance(key, tuple) and len(key) == 1:
        key = key[0]  # as a graph node has it: a shape is a tensor of one axis there
    if isinstance(of, Shape) and isinstance(key, slice):
        return type(of)(tuple(of)[_plain_slice(key)])
    if isinstance(of, list | tuple | str) and isinstance(key, int | slice):
        try:
            return of[_plain_slice(key)] if isinstance(key, slice) else of[key]
        except (IndexError, ValueError) as error:
            raise RefusedError(f"it takes item {key} of {len(of)}: {error}") from error
    if isinstance(of, dict):
        if isinstance(key, str | int) and key in of:
            return of[key]
        raise RefusedError(f"it takes the item {describe(key)} of a dict that has none")
    if isinstance(of, np.ndarray):
        key = _key(key)
        try:
            made = of[key]
        except (IndexError, ValueError) as error:
            raise RefusedError(f"it takes [{key}] of an array of shape {of.shape}: {error}") from error
        return made.item() if np.ndim(made) == 0 else made
    raise RefusedError(f"it takes [{describe(key)}] of {describe(of)}, which is not understood")


def _plain_slice(key: slice) -> slice:
    for part in (key.start, key.stop, key.step):
        if part is not None and not isinstance(part, int):
            raise RefusedError(f"it slices with {describe(part)}")
    return key


def _index(builder: Builder, of: Tensor, key: Value) -> Value:
    key = _key(key)
    parts = key if isinstance(key, tuple) else (key,)
    if sum(part is not None and part is not Ellipsis for part in parts) > of.rank:
        raise RefusedError(f"it takes {len(parts)} indices of {describe(of)}")
    return builder.index(of, key)


def _key(key: Value) -> Any:
    """An index as Keras takes it: ints, slices of ints, None, Ellipsis, and tuples of these."""
    if isinstance(key, tuple):
        return tuple(map(_key, key))
    if isinstance(key, list) and any(isinstance(part, slice) or part is None for part in key):
        return tuple(map(_key, key))
    if isinstance(key, slice):
        return slice(*map(_bound, (key.start, key.stop, key.step)))
    if key is None or isinstance(key, EllipsisType):
        return key
    if isinstance(key, bool):
        raise RefusedError("it indexes with a truth value")
    if isinstance(key, int | np.integer):
        return int(key)
    raise RefusedError(f"it indexes with {describe(key)}, which is not understood")


def _bound(part: Value) -> int | None:
    if part is None or (isinstance(part, int | np.integer) and not isinstance(part, bool)):
        return None if part is None else int(part)
    raise RefusedError(f"it slices with {describe(part)}, which is not understood")
