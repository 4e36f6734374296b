"""Functions of NumPy's on constants, computed at once in NumPy's own precision. Of tensors NumPy makes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder, is_number, leaves
from converters.lambdas.rules.arguments import integer
from converters.lambdas.rules.table import rule
from converters.lambdas.values import Tensor, Value, describe

_OF_ONE: Final = (
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "expm1", "log1p", "sign", "floor",
    "ceil", "deg2rad", "rad2deg", "radians", "degrees", "negative", "isnan",
)  # fmt: skip
_OF_TWO: Final = (
    "arctan2", "add", "subtract", "multiply", "divide", "true_divide", "hypot", "equal", "not_equal", "less",
    "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
)  # fmt: skip
_WINDOWS: Final = ("hanning", "hamming", "blackman", "bartlett")


def _plain(builder: Builder, value: Value, name: str) -> Any:
    """A constant as NumPy would take it."""
    for leaf in leaves(value):
        if isinstance(leaf, Tensor):
            builder.refuse(f"it calls np.{name} of a tensor, which NumPy does not compute")
        if not is_number(leaf) and not isinstance(leaf, np.ndarray):
            builder.refuse(f"it calls np.{name} of {describe(leaf)}")
    builder.check_size(np.shape(value))
    return np.asarray(value)


def _given(builder: Builder, made: Any) -> Value:
    builder.check_size(np.shape(made))
    if np.iscomplexobj(made) or np.asarray(made).dtype == object:
        builder.refuse("it computes what no tensor can hold")
    return np.asarray(made).item() if np.ndim(made) == 0 else np.asarray(made)


def _each(name: str, function: Callable[..., Any]) -> None:
    def of_one(builder: Builder, x: Value) -> Value:
        with np.errstate(all="ignore"):
            return _given(builder, function(_plain(builder, x, name)))

    def of_two(builder: Builder, x: Value, y: Value) -> Value:
        sides = _plain(builder, x, name), _plain(builder, y, name)
        try:
            builder.check_size(np.broadcast_shapes(*map(np.shape, sides)))
            with np.errstate(all="ignore"):
                return _given(builder, function(*sides))
        except (ValueError, TypeError) as error:
            builder.refuse(f"it calls np.{name} of constants that do not fit: {error}")

    rule(f"np.{name} (x, /)" if name in _OF_ONE else f"np.{name} (x, y, /)")(of_one if name in _OF_ONE else of_two)


for _name in (*_OF_ONE, *_OF_TWO):
    _each(_name, getattr(np, _name))


@rule("np.outer (a: x, b: y)")
def outer(builder: Builder, x: Value, y: Value) -> Value:
    left, right = _plain(builder, x, "outer"), _plain(builder, y, "outer")
    builder.check_size((left.size, right.size))
    return _given(builder, np.outer(left, right))


@rule("np.where (condition, x, y, /)")
def where(builder: Builder, condition: Value, x: Value, y: Value) -> Value:
    parts = [_plain(builder, each, "where") for each in (condition, x, y)]
    try:
        builder.check_size(np.broadcast_shapes(*map(np.shape, parts)))
    except ValueError as error:
        builder.refuse(f"it calls np.where of constants that do not fit: {error}")
    return _given(builder, np.where(*parts))


def _window(name: str) -> None:
    def build(builder: Builder, count: Value) -> Value:
        builder.check_size([integer(count, "length")])
        return _given(builder, getattr(np, name)(integer(count, "length")))

    rule(f"np.{name} (M: count)")(build)


for _name in _WINDOWS:
    _window(_name)


@rule("np.diag (v: x, k: default=0)")
def diagonal(builder: Builder, x: Value) -> Value:
    plain = _plain(builder, x, "diag")
    if plain.ndim not in (1, 2):
        builder.refuse(f"it calls np.diag of {plain.ndim} axes")
    builder.check_size((plain.size, plain.size) if plain.ndim == 1 else plain.shape)
    return _given(builder, np.diag(plain))


def _joined(name: str) -> None:
    def build(builder: Builder, parts: Value) -> Value:
        if not isinstance(parts, list | tuple):
            builder.refuse(f"it calls np.{name} of {describe(parts)}")
        try:
            return _given(builder, getattr(np, name)([_plain(builder, each, name) for each in parts]))
        except ValueError as error:
            builder.refuse(f"it calls np.{name} of constants that do not fit: {error}")

    rule(f"np.{name} (tup: parts)")(build)


for _name in ("vstack", "hstack", "column_stack"):
    _joined(_name)
