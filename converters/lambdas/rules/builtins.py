"""Python's own functions, on what is known without running the model."""

from __future__ import annotations

import builtins
import fractions
import math

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder, is_number
from converters.lambdas.rules.arguments import flag, integer, number, operand
from converters.lambdas.rules.table import rule
from converters.lambdas.values import Library, OpenSize, Shape, Tensor, Value, describe


def _items(builder: Builder, value: Value, what: str) -> list[Value]:
    """What Python would go through. Of a tensor it is refused: there `sum` and `max` may be those of keras.backend."""
    if isinstance(value, Tensor):
        builder.refuse(f"it takes Python's {what} of {describe(value)}, or another {what} that was imported")
    return operators.items(builder, value)


@rule("len (x, /)")
def length(builder: Builder, x: Value) -> Value:
    if not isinstance(x, list | tuple | dict | str) and not (isinstance(x, np.ndarray) and x.ndim):
        builder.refuse(f"it asks for the length of {describe(x)}")
    return len(x)


@rule("int (x=0, /)")
def whole(builder: Builder, x: Value) -> Value:
    plain = number(x, "argument")
    if not math.isfinite(plain):
        builder.refuse(f"it makes an integer of {plain}")
    return int(plain)


@rule("float (x=0.0, /)")
def fraction(builder: Builder, x: Value) -> Value:
    if not isinstance(x, str):
        return float(number(x, "argument"))
    try:
        return float(x)
    except ValueError:
        builder.refuse(f"it makes a number of {describe(x)}")


@rule("bool (x=False, /)")
def truth(builder: Builder, x: Value) -> Value:
    del builder
    return operators.truth(x)


@rule("any (x, /)")
def any_of(builder: Builder, x: Value) -> Value:
    return any(map(operators.truth, _items(builder, x, "any")))


@rule("all (x, /)")
def all_of(builder: Builder, x: Value) -> Value:
    return all(map(operators.truth, _items(builder, x, "all")))


@rule("abs (x, /)")
def absolute(builder: Builder, x: Value) -> Value:
    return abs(x) if isinstance(x, int | float) else builder.op("abs", operand(builder, x))


@rule("max (*values)")
def largest(builder: Builder, values: Value) -> Value:
    return builtins.max(_numbers(builder, values, "max"))


@rule("min (*values)")
def smallest(builder: Builder, values: Value) -> Value:
    return builtins.min(_numbers(builder, values, "min"))


def _numbers(builder: Builder, values: Value, what: str) -> list[float]:
    parts = _items(builder, values[0], what) if len(values) == 1 else list(values)
    if not parts:
        builder.refuse(f"it takes the {what} of nothing")
    return [number(part, "argument") for part in parts]


@rule("sum (values, start=0, /)")
def total(builder: Builder, values: Value, start: Value) -> Value:
    made = start
    for each in _items(builder, values, "sum"):
        made = operators.binary(builder, "+", made, each)
    return made


@rule("round (x, ndigits: digits=None)")
def rounded(builder: Builder, x: Value, digits: Value) -> Value:
    plain = number(x, "argument")
    places = 0 if digits is None else integer(digits, "number of digits")
    if not math.isfinite(plain) or abs(places) > 20:
        builder.refuse(f"it rounds {plain} to {places} digits")
    if (fractions.Fraction(plain) * fractions.Fraction(10) ** places * 2) % 2 == 1:
        builder.refuse(f"it rounds {plain}, which Python 2 and Python 3 round to different numbers")
    return round(plain) if digits is None else round(plain, places)


@rule("range xrange (*bounds)")
def numbers(builder: Builder, bounds: Value) -> Value:
    if not 1 <= len(bounds) <= 3:
        builder.refuse(f"it calls range with {len(bounds)} arguments")
    whole_bounds = [integer(bound, "bound") for bound in bounds]
    if whole_bounds[2:] == [0] or any(abs(bound) > builder.limits.constant for bound in whole_bounds):
        builder.refuse(f"it makes the range {tuple(whole_bounds)}")
    made = range(*whole_bounds)
    if len(made) > builder.limits.steps:
        builder.refuse(f"it makes a range of {len(made)} numbers")
    return list(made)


@rule("tuple (values=(), /)")
def as_tuple(builder: Builder, values: Value) -> Value:
    return tuple(operators.items(builder, values))


@rule("list (values=(), /)")
def as_list(builder: Builder, values: Value) -> Value:
    return operators.items(builder, values)


@rule("zip (*values)")
def zipped(builder: Builder, values: Value) -> Value:
    rows = [operators.items(builder, each) for each in values]
    builder.check_size((len(rows), min(map(len, rows), default=0)))
    return list(zip(*rows, strict=False))


@rule("enumerate (values: x, start=0)")
def enumerated(builder: Builder, x: Value, start: Value) -> Value:
    return list(enumerate(operators.items(builder, x), integer(start, "start")))


@rule("reversed (values, /)")
def backwards(builder: Builder, values: Value) -> Value:
    return operators.items(builder, values)[::-1]


@rule("sorted (values, /, *, reverse=False)")
def in_order(builder: Builder, values: Value, reverse: Value) -> Value:
    parts = _items(builder, values, "sorted")
    return sorted((number(part, "item") for part in parts), reverse=flag(reverse, "reverse"))


@rule("slice (*bounds)")
def as_slice(builder: Builder, bounds: Value) -> Value:
    if not 1 <= len(bounds) <= 3 or any(isinstance(bound, OpenSize) for bound in bounds):
        builder.refuse("it makes a slice of what is not fixed in the model")
    return slice(*bounds)


@rule("isinstance (x, kinds, /)")
def is_instance(builder: Builder, x: Value, kinds: Value) -> Value:
    names = {
        each.path if isinstance(each, Library) else "" for each in (kinds if isinstance(kinds, tuple) else (kinds,))
    }
    plain = isinstance(x, Tensor) or (type(x) in (list, tuple) and not isinstance(x, Shape)) or is_number(x)
    if not names <= {"list", "tuple"} or not plain:
        builder.refuse(f"it asks whether {describe(x)} is of another type than a list or a tuple")
    return type(x).__name__ in names
