"""Sizes that are open in the model: which of them are equal, and what else follows from them.

Axis 0 of a tensor is the batch only until something is reshaped, sliced or repeated. So the question is put to the
model itself: its shapes are worked out with numbers in place of its inputs' open sizes, several times with other
numbers. What holds each time is taken as true. First the numbers have many divisors, as a reshape divides, then they
are primes, as slices by steps round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import integer, rank_of
from converters.lambdas.values import OpenSize, RefusedError, Sizes, Tensor, Value, describe

__all__ = [
    "Size",
    "array_dtype",
    "equal",
    "filled",
    "fixed",
    "measured",
    "own_sizes",
    "size_tensor",
    "sizes_of",
    "sizes_tensor",
    "spread",
    "vector",
]

Size = int | OpenSize | None

_DIVISIBLE: Final = 5040
_PRIMES: Final = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107)
_TRIALS: Final = 3
_NODES: Final = 20_000


def sizes_of(value: Value, what: str) -> list[Size]:
    """The entries of a shape: ints, open sizes, and None for what is not known."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    entries = value if isinstance(value, list | tuple) else [value]
    return [each if each is None or isinstance(each, OpenSize) else integer(each, what) for each in entries]


def fixed(value: Value, what: str) -> tuple[int, ...]:
    """A shape of ints."""
    found = sizes_of(value, what)
    if not all(isinstance(size, int) for size in found):
        raise RefusedError(f"its {what} has a size that is not fixed in the model")
    return tuple(size for size in found if isinstance(size, int))


def vector(values: Sequence[Value]) -> Sizes | None:
    """The shape that joining these gives, if they hold sizes of a tensor: shapes, lists of sizes, and sizes alone."""
    if not any(isinstance(each, Sizes | OpenSize) or _holds_open(each) for each in values):
        return None
    joined: list[Size] = []
    for each in values:
        joined += sizes_of(each, "shape")
    if None in joined:
        raise RefusedError("it makes a tensor of a size that is None")
    return Sizes(joined)


def _holds_open(value: Value) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(each, OpenSize) for each in value)


def own_sizes(tensor: Tensor) -> list[int | OpenSize]:
    """The sizes of a tensor."""
    return [OpenSize(tensor, axis) if size is None else size for axis, size in enumerate(tensor.shape)]


def equal(one: Size, other: Size) -> bool:
    """Whether two sizes are surely equal."""
    if isinstance(one, OpenSize) and one.same(other):
        return True
    if not isinstance(one, OpenSize) and not isinstance(other, OpenSize):
        return one is not None and one == other
    found = measured([one, other])
    return found is not None and all(first == second for first, second in found)


def measured(sizes: Sequence[Size]) -> list[list[int]] | None:
    """The sizes as numbers, in each of several trials; None where the model's shapes do not tell."""
    results = []
    for number in range(2 * _TRIALS):
        trial = _Trial(number)
        found = [trial.size(size) for size in sizes]
        if None not in found:
            results.append([size for size in found if size is not None])
        elif number < _TRIALS:  # a prime may be no number that the model takes
            return None
    return results


class _Trial:
    """The shapes of a model's tensors, with a number for each open size of its inputs."""

    def __init__(self, number: int) -> None:
        self.scale = _DIVISIBLE if number < _TRIALS else 1
        self.number, self.count = number % _TRIALS, 0
        self._known: dict[int, tuple[Any, Any]] = {}

    def size(self, size: Size) -> int | None:
        """A size as a number."""
        if not isinstance(size, OpenSize):
            return size
        parts = [self.shape(size.tensor.keras)[size.axis], *map(self.size, size.others)]
        return None if None in parts else size.times * math.prod(part for part in parts if part is not None)

    def shape(self, tensor: Any) -> tuple[int | None, ...]:
        """The shape, of None where it does not follow."""
        try:
            self._work_out(tensor)
        except Exception:  # from any layer or operation of the model: the numbers do not fit it
            return (None,) * len(tensor.shape)
        return tuple(self._known[id(tensor)][1].shape)

    def _work_out(self, tensor: Any) -> None:
        import keras

        stack = [tensor]
        while stack:
            top = stack[-1]
            if id(top) in self._known:
                stack.pop()
                continue
            history = getattr(top, "_keras_history", None)
            if history is None or not history.operation._inbound_nodes[history.node_index].input_tensors:
                self._known[id(top)] = (top, self._input(top))
                continue
            node = history.operation._inbound_nodes[history.node_index]
            missing = [each for each in node.input_tensors if id(each) not in self._known]
            if len(stack) + len(missing) > _NODES:
                raise ValueError("a model of too many layers")
            stack += missing
            if not missing:
                args, kwargs = node.arguments.fill_in(
                    {id(each): self._known[id(each)][1] for each in node.input_tensors}
                )
                made = history.operation.compute_output_spec(*args, **kwargs)
                for each, spec in zip(node.output_tensors, keras.tree.flatten(made), strict=True):
                    self._known[id(each)] = (each, spec)

    def _input(self, tensor: Any) -> Any:
        import keras

        sizes = []
        for axis, size in enumerate(tensor.shape):
            if size is None and axis > 0:
                self.count += 1
                sizes.append(self.scale * _PRIMES[self.count * _TRIALS + self.number])
            else:
                sizes.append(self.scale * _PRIMES[self.number] if size is None else size)
        return keras.KerasTensor(tuple(sizes), dtype=tensor.dtype)


def array_dtype(value: Value) -> str:
    """A dtype that NumPy has."""
    found = dtype_of(value)
    if found == "bfloat16":
        raise RefusedError("it makes a constant of bfloat16")
    return found


def filled(builder: Builder, sizes: Sequence[Size], value: float, dtype: str) -> Tensor | np.ndarray:
    """A tensor of one number: a constant, or of the open sizes it is given."""
    ones = [1 if isinstance(size, OpenSize) else integer(size, "shape") for size in sizes]
    builder.check_size(ones)
    return spread(builder, np.full(ones, value, dtype), sizes)


def spread(builder: Builder, x: Tensor | np.ndarray, sizes: Sequence[Size]) -> Tensor | np.ndarray:
    """x broadcast to the sizes, each of which is x's own or takes the place of a 1.

    Raises:
        RefusedError: x cannot be broadcast so, or that is not certain.
    """
    if str(x.dtype) == "bfloat16":
        raise RefusedError("it broadcasts bfloat16, which is not understood")
    if len(sizes) < rank_of(x):
        raise RefusedError(f"it broadcasts {describe(x)} to {len(sizes)} axes")
    own: list[Size] = [*[1] * (len(sizes) - rank_of(x)), *(own_sizes(x) if isinstance(x, Tensor) else x.shape)]
    wider = [not equal(mine, wanted) for mine, wanted in zip(own, sizes, strict=True)]
    for axis, (mine, wanted) in enumerate(zip(own, sizes, strict=True)):
        if wider[axis] and (wanted is None or not equal(mine, 1)):
            raise RefusedError(f"it broadcasts axis {axis} of {describe(x)} to {describe(wanted)}")
    plain = [size if isinstance(size, int) and wide else 1 for size, wide in zip(sizes, wider, strict=True)]
    builder.check_size(plain)
    if not isinstance(x, Tensor):
        x = np.broadcast_to(x, [size if isinstance(size, int) else 1 for size in sizes]).copy()
        builder.check_size(x.shape)
    elif plain != [1] * len(sizes) or len(sizes) > rank_of(x):
        x = _over(builder, x, np.zeros(plain, str(x.dtype)))
    for axis, size in enumerate(sizes):
        if wider[axis] and isinstance(size, OpenSize):
            x = _over(builder, x, _zeros(builder, size, len(sizes) - axis - 1, str(x.dtype)))
    return x


def _over(builder: Builder, x: Tensor | np.ndarray, zeros: Tensor | np.ndarray) -> Tensor:
    # x - 0 is x, where -0 + 0 would be 0.
    made: Tensor = builder.op("logical_or" if x.dtype == "bool" else "subtract", x, zeros)
    return made


def _zeros(builder: Builder, size: OpenSize, behind: int, dtype: str) -> Tensor:
    """Zeros of one open size, with axes of size 1 behind. No number of the tensor enters: it may be NaN."""
    parts: list[Any] = [_line(builder, part, dtype) for part in (size, *size.others)]
    zeros: Tensor = parts.pop(0)
    for part in (*parts, *([np.zeros(size.times, dtype)] if size.times > 1 else [])):
        zeros = builder.op("reshape", _over(builder, builder.op("expand_dims", zeros, -1), part), (-1,))
    return builder.op("reshape", zeros, (-1, *[1] * behind)) if behind else zeros


def _line(builder: Builder, size: OpenSize, dtype: str) -> Tensor:
    whole = size.tensor
    one = builder.index(whole, tuple(slice(None) if axis == size.axis else 0 for axis in range(whole.rank)))
    zeros: Tensor = builder.op("zeros_like", one, dtype=dtype)
    return zeros


def size_tensor(builder: Builder, size: OpenSize, dtype: str) -> Tensor:
    """An open size of a tensor, taken once, as a tensor of one number that is counted when the model runs."""
    line = _line(builder, size, "int32")
    count: Tensor = builder.op("cast", builder.op("sum", builder.op("ones_like", line)), dtype)
    return count


def sizes_tensor(builder: Builder, sizes: Sequence[Size]) -> Tensor:
    """The sizes as an int32 tensor of one axis: those that are open are counted when the model runs.

    Raises:
        RefusedError: a size is not known, or none is open, so that nothing would connect it with the inputs.
    """
    fixed_part = [size if isinstance(size, int) else 0 for size in sizes]
    made: Tensor | None = None
    for place, size in enumerate(sizes):
        if not isinstance(size, OpenSize):
            continue
        if size.times != 1 or size.others:
            raise RefusedError("it returns a product of sizes that are not fixed in the model")
        line = _line(builder, size, "int32")
        count = builder.op("sum", builder.op("ones_like", line))
        one_hot = np.eye(len(sizes), dtype=np.int32)[place]
        counted = builder.op("multiply", count, one_hot)
        made = counted if made is None else builder.op("add", made, counted)
    if made is None or None in sizes:
        raise RefusedError(f"it returns {describe(Sizes(sizes))}, where a tensor is needed")
    whole: Tensor = builder.op("add", made, np.asarray(fixed_part, np.int32))
    return whole
