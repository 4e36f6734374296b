"""What a tensor computes from one feature map, in the few terms that attention gates are made of.

A `View` is a value and where its axes lie. Reshapes, transpositions and squeezes move axes and leave the value alone,
so that `Reshape((1, 1, C))`, `keepdims=True` and `x[:, None, None]` are all the same here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "Act",
    "Affine",
    "Axis",
    "Clip",
    "Conv",
    "Derived",
    "Group",
    "Half",
    "Label",
    "Layout",
    "Linear",
    "Map",
    "Norm",
    "Own",
    "Padded",
    "Pooled",
    "Product",
    "Stack",
    "Sum",
    "Value",
    "View",
    "Weights",
]


class Half(NamedTuple):
    """A part of an axis of the map that lies in two: `/` the groups of neighbours, `%` the places in a group."""

    axis: int
    part: Literal["/", "%"]


Label = int | Literal["n", "f", "p", "*"] | Half
"""Where an axis comes from: 1, 2, 3 are axes of the map; n the batch; f what a matrix product gave; p the pieces of a
stack; * a repetition of the same."""


class Axis(NamedTuple):
    """A label and its size, None where that is open."""

    label: Label
    size: int | None


Group = tuple[Axis, ...]
"""The axes that one axis of a tensor holds, the slowest first; none where its size is 1."""
Layout = tuple[Group, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """The kernel and bias of a layer, as Keras variables, arrays or `Derived`; `kernel` may have axes of size 1 in
    front."""

    kernel: Any
    bias: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Derived:
    """Weights that a layer holds in another form.

    make: from what gives the values of variables. free: the variables that may have any value; what else it is made of
    is laid out in a way that only some values have.
    """

    make: Callable[[Callable[[Any], Any]], Any]
    free: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Map:
    """The feature map itself."""


@dataclasses.dataclass(frozen=True)
class Pooled:
    """The map reduced over axes: kind is mean, max or sum, times `scale`."""

    kind: str
    over: frozenset[Label]
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Linear:
    """A matrix product over the axis `axis`, with its bias: Dense and 1x1 convolution."""

    arg: Value
    weights: Weights
    axis: Label
    units: int


@dataclasses.dataclass(frozen=True)
class Padded:
    """Zeros around the two spatial axes: before and after each."""

    arg: Value
    pads: tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution of stacked or lone pooled maps to one map of the same size, over the map's axes `axes`."""

    arg: Value
    weights: Weights
    size: int
    axes: tuple[Label, Label]


@dataclasses.dataclass(frozen=True)
class Norm:
    """A BatchNormalization of one channel, as at inference."""

    arg: Value
    layer: Any


@dataclasses.dataclass(frozen=True)
class Act:
    """An activation by Keras's name."""

    kind: str
    arg: Value


@dataclasses.dataclass(frozen=True)
class Affine:
    """scale * arg + shift."""

    scale: float
    shift: float
    arg: Value


@dataclasses.dataclass(frozen=True)
class Clip:
    """arg, not below `low`, not above `high`."""

    low: float
    high: float
    arg: Value


@dataclasses.dataclass(frozen=True)
class Sum:
    """The sum of terms of one layout."""

    terms: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Product:
    """A product in which axes may be broadcast."""

    factors: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Stack:
    """Pieces of one layout, side by side along the axis p."""

    parts: tuple[Value, ...]


@dataclasses.dataclass(frozen=True)
class Own:
    """The gate that one of this package's own layers gives for the map, whose axis `axis` are its channels."""

    layer: Any
    axis: int


Value = Map | Pooled | Linear | Padded | Conv | Norm | Act | Affine | Clip | Sum | Product | Stack | Own

BATCH: Final = "n"


@dataclasses.dataclass(frozen=True)
class View:
    """A value and its layout. A method that cannot say what comes out gives None."""

    value: Value
    layout: Layout

    def of(self, value: Value) -> View:
        """Another value in the same layout."""
        return View(value, self.layout)

    def labels(self, axis: int) -> frozenset[Label]:
        return frozenset(each.label for each in self.layout[axis])

    def only(self, axis: int) -> Axis | None:
        """The one axis of the map, or of features, that an axis of the tensor is."""
        group = self.layout[axis]
        return group[0] if len(group) == 1 and group[0].label not in ("n", "*") else None

    def permute(self, order: Sequence[int]) -> View:
        return View(self.value, tuple(self.layout[axis] for axis in order))

    def insert(self, axis: int) -> View:
        """A new axis of size 1; `axis` counts in the result."""
        axis %= len(self.layout) + 1
        return View(self.value, (*self.layout[:axis], (), *self.layout[axis:]))

    def drop(self, axis: int) -> View | None:
        """Without an axis of size 1."""
        axis %= len(self.layout)
        if self.layout[axis] and _size(self.layout[axis]) != 1:
            return None
        return View(self.value, (*self.layout[:axis], *self.layout[axis + 1 :]))

    def pick(self, axis: int, index: int) -> View | None:
        """One of the pieces of a stack, or all of an axis of size 1."""
        if self.labels(axis) == {"p"} and isinstance(self.value, Stack) and -1 <= index < len(self.value.parts):
            return View(self.value.parts[index], (*self.layout[:axis], *self.layout[axis + 1 :]))
        return self.drop(axis) if index in (0, -1) else None

    def reshape(self, shape: Sequence[int | None]) -> View | None:
        """The same numbers in the same order; the batch must stay the first axis, or be parted from a stack in it."""
        if self.layout and [axis.label for axis in self.layout[0]] == ["p", BATCH]:
            stack, batch = self.layout[0]
            parted = (stack.size, batch.size, *(_size(group) for group in self.layout[1:]))
            return View(self.value, ((stack,), (batch,), *self.layout[1:])) if tuple(shape) == parted else None
        if not self.layout or self.labels(0) != {BATCH}:
            return None
        left = _whole([axis for group in self.layout[1:] for axis in group])
        groups: list[Group] = [self.layout[0]]
        for wanted in shape[1:]:
            group: list[Axis] = []
            if wanted is None:
                if left and left[0].size is None:
                    group.append(left.pop(0))
            else:
                while left and _size(group) != wanted and left[0].size is not None:
                    left[:1] = _cut(left[0], wanted, _size(group))
                    group.append(left.pop(0))
            if _size(group) != wanted:
                return None
            groups.append(tuple(group))
        if any(axis.size != 1 for axis in left):
            return None
        return View(self.value, tuple(groups))

    def reduce(self, kind: str, axes: Sequence[int], keepdims: bool) -> View | None:
        """The mean, max or sum over axes."""
        rank = len(self.layout)
        gone = {axis % rank for axis in axes}
        labels = frozenset(label for axis in gone for label in self.labels(axis))
        value = _reduced(self.value, kind, labels)
        if value is None or labels & {"n", "*"} or any(isinstance(label, Half) for label in labels):
            return None
        kept = (
            (() if axis in gone else group) for axis, group in enumerate(self.layout) if keepdims or axis not in gone
        )
        return View(value, tuple(kept))


def _reduced(value: Value, kind: str, labels: frozenset[Label]) -> Value | None:
    if not labels:
        return value  # of one element
    if isinstance(value, Map):
        return Pooled(kind, labels)
    if isinstance(value, Pooled) and value.kind == kind and "f" not in labels:
        return Pooled(kind, value.over | labels, value.scale)
    if isinstance(value, Stack) and labels == {"p"} and kind == "sum":
        return Sum(value.parts)
    return None


def _whole(axes: Sequence[Axis]) -> list[Axis]:
    """The axes, with halves that lie side by side again as one."""
    made: list[Axis] = []
    for axis in axes:
        before = made[-1] if made else None
        if isinstance(axis.label, Half) and before is not None and before.label == Half(axis.label.axis, "/"):
            made[-1] = Axis(axis.label.axis, _size([before, axis]))
        else:
            made.append(axis)
    return made


def _cut(axis: Axis, wanted: int, have: int | None) -> list[Axis]:
    """An axis of the map in two halves, if only the first fits into an axis of size `wanted` that holds `have`."""
    if not isinstance(axis.label, int) or axis.size is None or not have or wanted % have:
        return [axis]
    groups = wanted // have
    if groups >= axis.size or axis.size % groups or groups == 1:
        return [axis]
    return [Axis(Half(axis.label, "/"), groups), Axis(Half(axis.label, "%"), axis.size // groups)]


def _size(group: Sequence[Axis]) -> int | None:
    sizes = [axis.size for axis in group]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)
