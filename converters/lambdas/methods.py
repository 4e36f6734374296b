"""Attributes and methods of the values in a Lambda: a tensor's shape, an array's transpose, a list of sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from converters.lambdas import operators
from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.values import Method, OpenSize, RefusedError, Shape, Tensor, Value, describe

__all__ = ["attribute", "call"]


_OPERATORS: Final[Mapping[str, str]] = {
    "__add__": "+", "__sub__": "-", "__mul__": "*", "__truediv__": "/", "__pow__": "**", "__matmul__": "@",
}  # fmt: skip
_PLAIN_FIELDS: Final = re.compile(r"(?:[^{}]|\{\w*\})*")
_TEXT: Final = 1000  # characters
# Methods of a text, with how many texts they take.
_OF_TEXT: Final[Mapping[str, int]] = {
    "lower": 0, "upper": 0, "capitalize": 0, "strip": 1, "startswith": 1, "endswith": 1,
}  # fmt: skip


def attribute(of: Value, name: str) -> Value:
    """`of.name`.

    Raises:
        RefusedError: it is not on the list.
    """
    if isinstance(of, Tensor):
        match name:
            case "shape" | "_keras_shape" | "_shape":
                return Shape(of.shape)
            case "dtype":
                return of.dtype
            case "ndim":
                return of.rank
            case "get_shape" | "set_shape":
                return Method(of, name)
        if name in _OPERATORS:
            return Method(of, name)
    if isinstance(of, Shape):
        match name:
            case "ndims" | "rank":
                return len(of)
            case "dims":
                return list(of)
            case "as_list" | "num_elements" | "is_fully_defined":
                return Method(of, name)
    if isinstance(of, tuple) and name in getattr(of, "_fields", ()):  # such as the values and the indices of top_k
        return getattr(of, name)
    if name == "value" and (of is None or isinstance(of, int)):  # of a Dimension, as TensorFlow 1 gives sizes
        return of
    if isinstance(of, np.ndarray):
        match name:
            case "shape":
                return Shape(of.shape)
            case "ndim":
                return of.ndim
            case "size":
                return of.size
            case "T":
                return of.T
            case "astype" | "reshape" | "tolist":
                return Method(of, name)
    if isinstance(of, str) and name in ("base_dtype", "as_numpy_dtype", "name"):  # of a dtype
        return of
    if isinstance(of, str) and (name == "format" or name in _OF_TEXT):
        return Method(of, name)
    if isinstance(of, dict) and name in ("get", "keys", "values", "items"):
        return Method(of, name)
    raise RefusedError(f"it uses .{name} of {describe(of)}, which is not known")


def call(builder: Builder, method: Method, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
    """`of.name(...)`.

    Raises:
        RefusedError: the arguments are not understood.
    """
    of, name = method.of, method.name
    if isinstance(of, Tensor) and name in _OPERATORS and len(args) == 1 and not kwargs:
        return operators.binary(builder, _OPERATORS[name], of, args[0])
    if isinstance(of, Tensor) and name == "set_shape" and len(args) == 1 and not kwargs:
        return _set_shape(of, args[0])
    if isinstance(of, np.ndarray) and name == "astype" and len(args) == 1 and not kwargs:
        return of.astype(dtype_of(args[0]))
    if isinstance(of, np.ndarray) and name == "reshape" and not kwargs:
        sizes = _sizes(args[0] if len(args) == 1 else list(args))
        try:
            return of.reshape(sizes)
        except ValueError as error:
            raise RefusedError(f"it reshapes a constant: {error}") from error
    if isinstance(of, str) and name == "format":
        return _format(of, args, kwargs)
    if isinstance(of, str) and name in _OF_TEXT and len(args) <= _OF_TEXT[name] and not kwargs:
        if not all(isinstance(each, str) and each.isascii() for each in (of, *args)):
            raise RefusedError(f"it calls .{name} of {describe(of)} in a way that is not understood")
        return getattr(of, name)(*args)
    if isinstance(of, dict) and name == "get" and len(args) in (1, 2) and not kwargs:
        return of.get(args[0], *args[1:]) if isinstance(args[0], str | int) else None
    if not args and not kwargs:
        if isinstance(of, Tensor) and name == "get_shape":
            return Shape(of.shape)
        if isinstance(of, Shape) and name == "as_list":
            return list(of)
        if isinstance(of, Shape) and name == "is_fully_defined":
            return None not in of
        if isinstance(of, Shape) and name == "num_elements":
            return math.prod(of) if None not in of else None
        if isinstance(of, np.ndarray) and name == "tolist":
            return of.tolist()
        if isinstance(of, dict):
            return list(getattr(of, name)())
    raise RefusedError(f"it calls .{name} of {describe(of)} in a way that is not understood")


def _format(of: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> str:
    """Text with whole numbers and texts in it, which all Pythons write alike."""
    values = [*args, *kwargs.values()]
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    if not plain or not _PLAIN_FIELDS.fullmatch(of) or len(of) + sum(len(str(value)) for value in values) > _TEXT:
        raise RefusedError(f"it formats the text {describe(of)} in a way that is not understood")
    try:
        return of.format(*args, **kwargs)
    except (IndexError, KeyError, ValueError) as error:
        raise RefusedError(f"it formats the text {describe(of)}: {error}") from error


def _set_shape(of: Tensor, shape: Value) -> None:
    sizes = list(shape) if isinstance(shape, list | tuple) else None
    if sizes is None or len(sizes) != of.rank:
        raise RefusedError(f"it sets the shape of {describe(of)} to another one")
    for known, said in zip(of.shape, sizes, strict=True):
        if said is not None and not isinstance(said, OpenSize) and said != known:
            raise RefusedError(f"it sets the shape of {describe(of)} to {tuple(sizes)}")


def _sizes(value: Value) -> list[int]:
    sizes = [value] if isinstance(value, int) else value
    if not isinstance(sizes, list | tuple) or not all(isinstance(size, int) for size in sizes):
        raise RefusedError(f"it reshapes a constant to {describe(value)}")
    return list(sizes)
