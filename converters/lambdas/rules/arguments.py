"""Arguments that many library functions share, checked and brought to one form."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.lambdas.builder import Builder, is_number
from converters.lambdas.values import OpenSize, RefusedError, Shape, Tensor, Value, describe

__all__ = [
    "axes", "axis_of", "flag", "floating", "integer", "integers", "layout", "number", "operand", "rank_of", "sequence",
    "shape_of", "text",
]  # fmt: skip


def operand(builder: Builder, value: Value) -> Tensor | np.ndarray:
    """A tensor, or a constant as an array; a list that holds tensors is stacked, as TensorFlow does."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        stacked: Tensor = builder.op("stack", [operand(builder, each) for each in value], axis=0)
        return stacked
    if isinstance(value, Shape) and not all(isinstance(size, int) for size in value):
        raise RefusedError("it computes with a size that is not fixed in the model")
    return builder.constant(value)


def floating(builder: Builder, value: Value) -> Tensor | np.ndarray:
    """A tensor or constant of floats, which the libraries ask for where they do not convert."""
    found = operand(builder, value)
    if "float" not in str(found.dtype):
        raise RefusedError(f"it takes {describe(value)} of {found.dtype}, where floats are needed")
    return found


def layout(builder: Builder, value: Value) -> str:
    """`channels_last` or `channels_first`, as written or by the model's own layers."""
    if value is None:
        value = builder.era.data_format
    if value is None:
        builder.assume("images are channels_last")
        value = "channels_last"
    if not isinstance(value, str) or value not in ("channels_last", "channels_first"):
        raise RefusedError(f"its data_format is {describe(value)}, where 'channels_last' or 'channels_first' is needed")
    return str(value)


def shape_of(value: Tensor | np.ndarray) -> tuple[int | None, ...]:
    return value.shape


def rank_of(value: Tensor | np.ndarray) -> int:
    return len(value.shape)


def integer(value: Value, what: str) -> int:
    """An int that is written in the function or follows from fixed shapes."""
    if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(f"its {what} is {describe(value)}, where a fixed integer is needed")
    return value


def integers(value: Value, what: str) -> tuple[int, ...]:
    """Several ints, or one."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(integer(each, what) for each in value)
    return (integer(value, what),)


def axis_of(value: Value, rank: int, what: str = "axis") -> int:
    """One axis, counted from 0."""
    axis = integer(value, what)
    if not -rank <= axis < rank:
        raise RefusedError(f"its {what} is {axis}, and the tensor has {rank} axes")
    return axis % rank


def axes(value: Value, rank: int) -> int | tuple[int, ...] | None:
    """One axis, several, or None for all, as they were written but checked."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return tuple(axis_of(each, rank) for each in value)
    axis_of(value, rank)
    return integer(value, "axis")


def number(value: Value, what: str) -> float:
    """A plain number."""
    if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    if not is_number(value):
        raise RefusedError(f"its {what} is {describe(value)}, where a number is needed")
    plain: float = value
    return plain


def flag(value: Value, what: str) -> bool:
    """A truth value."""
    if value is None or isinstance(value, bool | int):
        return bool(value)
    raise RefusedError(f"its {what} is {describe(value)}, where True or False is needed")


def text(value: Value, what: str) -> str:
    """A plain string."""
    if not isinstance(value, str):
        raise RefusedError(f"its {what} is {describe(value)}, where a text is needed")
    return value


def sequence(value: Value, what: str) -> list[Value]:
    """A list or tuple."""
    if not isinstance(value, list | tuple):
        raise RefusedError(f"its {what} is {describe(value)}, where a list is needed")
    return list(value)


def same_size(one: Any, other: Any) -> bool:
    """Whether two sizes are surely equal."""
    if isinstance(one, OpenSize) or isinstance(other, OpenSize):
        return isinstance(one, OpenSize) and one.same(other)
    return bool(one == other)
