"""What the parts of a Lambda's expression can stand for while it is turned into operations.

Plain Python constants and NumPy arrays stand for themselves; the rest are the types below.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas import expression as ex

__all__ = [
    "Closure",
    "LIBRARIES",
    "Era",
    "Function",
    "LayerObject",
    "Library",
    "Method",
    "OpenSize",
    "RefusedError",
    "Shape",
    "Sizes",
    "Tensor",
    "Value",
    "describe",
]

LIBRARIES: Final = {"keras": "keras", "tf_keras": "keras", "tensorflow": "tf", "numpy": "np", "math": "math"}
"""The modules that a function may import, and what the tables of rules call each."""

Value = Any
"""A Python constant, tuple, list, dict or slice of Values, an array, or one of the types below."""


class RefusedError(ModelError):
    """A stored function that cannot be turned into operations, with the reason as the rest of a sentence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A symbolic tensor. keras: the KerasTensor; text: the operations that made it, as Python."""

    keras: Any
    text: str

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.keras.shape)

    @property
    def rank(self) -> int:
        return len(self.keras.shape)

    @property
    def dtype(self) -> str:
        return str(self.keras.dtype)


@dataclasses.dataclass(frozen=True)
class OpenSize:
    """A size known only when the model runs: that of `axis` of `tensor`, times a number and other such sizes."""

    tensor: Tensor
    axis: int
    times: int = 1
    others: tuple[OpenSize, ...] = ()

    def same(self, other: object) -> bool:
        """Whether both are one size of one tensor; `rules/sizes.py` finds out more."""
        return (
            isinstance(other, OpenSize)
            and (self.axis, self.times, self.others) == (other.axis, other.times, ())
            and self.tensor.keras is other.tensor.keras
        )


class Shape(tuple):  # type: ignore[type-arg]
    """Sizes, as `tf.shape`, `K.int_shape` or `.shape` give them: int, OpenSize or None for one that is not known."""

    __slots__ = ()


class Sizes(Shape):
    """Sizes as a tensor, as `tf.shape` gives them: arithmetic is element by element, a tuple's joins and repeats."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Library:
    """A name of a library, such as `tf.nn.relu`, in the spelling of the tables: `K`, `tf`, `tf1`, `ops`, `np`, ..."""

    path: str


@dataclasses.dataclass(frozen=True)
class Method:
    """A method that was taken from a value and not yet called."""

    of: Value
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Closure:
    """A function nested in the stored one. scopes: the arguments of the functions around it."""

    function: ex.Lambda
    scopes: Mapping[tuple[int, str], Value]
    defaults: tuple[Value, ...] = ()
    keyword_defaults: Mapping[str, Value] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Function:
    """A stored function with all that stands beside its bytecode.

    function: its expression. free: values of closure variables by name. values: of arguments that have one: defaults,
    the layer's `arguments`. unused: calls whose result the function does not use.
    given: values of global names, for a function of a model in memory or of a text.
    """

    function: ex.Lambda
    free: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Value] = dataclasses.field(default_factory=dict)
    unused: tuple[ex.Node, ...] = ()
    given: Mapping[str, Value] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class LayerObject:
    """A layer without weights that the function made. call: what it gives for its input, with the Builder to use."""

    name: str
    call: Callable[[Any, Value], Value]


@dataclasses.dataclass(frozen=True)
class Era:
    """Which libraries a function was written for, as far as the file tells; None where it does not.

    keras: the major version, 2 or 3. tensorflow: 1 or 2. data_format: `channels_last` or `channels_first`, of the
    model's layers. centred: whether keras.backend.resize_images, and with it UpSampling2D, samples at the centres of
    pixels: not in Keras below 2.4, but in tf.keras from 1.15 on. keeps_mask: see `masks.keeps`. standalone: whether it
    is Keras below 2.4 and not tf.keras; is_keras_2_3: the last of these, which alone ran on either TensorFlow.
    zeroes_masked: see `masked_steps`.
    """

    keras: int = 2
    tensorflow: int | None = None
    data_format: str | None = None
    centred: bool | None = None
    keeps_mask: bool | None = None
    standalone: bool = False
    is_keras_2_3: bool = False
    zeroes_masked: bool = True


def describe(value: Value) -> str:
    """A value for an error message, in a few words."""
    if isinstance(value, Tensor):
        sizes = ", ".join("?" if size is None else str(size) for size in value.shape)
        return f"a tensor of shape ({sizes})"
    if isinstance(value, Library):
        return value.path
    if isinstance(value, OpenSize):
        return "a size that is not fixed in the model"
    if isinstance(value, Shape):
        return "a shape"
    if isinstance(value, Method):
        return f"the method .{value.name}"
    if isinstance(value, Closure):
        return "a function"
    if isinstance(value, LayerObject):
        return f"a layer {value.name}"
    if isinstance(value, bool | int | float | str) or value is None:
        return repr(value)[:60]
    return f"a {type(value).__name__}"
