"""Makes operations of keras.ops on symbolic tensors, notes what it made, and computes what is constant at once."""

from __future__ import annotations

import ast
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import numpy as np

from converters.lambdas.limits import show
from converters.lambdas.sums import adds_rightly
from converters.lambdas.values import Era, Library, Method, OpenSize, RefusedError, Shape, Tensor, Value, describe
from converters.lambdas.variables import Variables

__all__ = ["BuildLimits", "Builder", "Spent", "is_number", "key_text", "leaves", "source_of", "weight"]

_SHOWN: Final = 400  # characters of an argument in the text of an operation
_PRODUCTS: Final = (
    "matmul",
    "einsum",
    "conv",
    "depthwise_conv",
    "max_pool",
    "average_pool",
    "norm",
    "tensordot",
    "dot",
)
_LEAVES: Final = 1 << 20
_INPUT: Final = 1 << 12  # bytes that an input of an operation counts for
_COMPUTED: Final = 1 << 16  # and an operation on constants alone, for the time that it takes
_LONGEST: Final = 10_000  # characters of a text: a tensor used twice doubles it, time after time


@dataclasses.dataclass(frozen=True)
class BuildLimits:
    """How large what a Lambda makes may become. operations: of one Lambda. constant: elements of one array.
    steps: nodes evaluated, each call of a nested function anew. depth: of calls within calls. number: bits of an
    integer. Of all Lambdas of a model together: total_operations, total_steps; memory: bytes of their constants,
    those in between too; products: multiplications that make constants.
    """

    operations: int = 2_000
    constant: int = 1 << 22
    steps: int = 50_000
    depth: int = 20
    number: int = 512
    total_operations: int = 10_000
    total_steps: int = 200_000
    memory: int = 1 << 27
    products: int = 1 << 30


@dataclasses.dataclass
class Spent:
    """What the Lambdas of one model have taken of those limits that they share."""

    operations: int = 0
    steps: int = 0
    memory: int = 0
    products: int = 0


class Builder:
    """Makes the operations of one call of one Lambda.

    Attributes:
        masks: whether masks of sequences go about in the model.
        variables: the weights that the file holds for the layer.
        operations: the Keras operations made, in order.
        assumptions: what was taken for granted, each once, in order.
    """

    def __init__(
        self,
        era: Era,
        limits: BuildLimits | None = None,
        spent: Spent | None = None,
        masks: bool = False,
        variables: Variables | None = None,
    ) -> None:
        self.era, self.masks, self.variables = era, masks, variables or Variables()
        self.limits = limits or BuildLimits()
        self.operations: list[Any] = []
        self.spent = spent or Spent()
        self.steps = 0
        self._assumptions: dict[str, None] = {}

    @property
    def assumptions(self) -> tuple[str, ...]:
        return tuple(self._assumptions)

    def assume(self, text: str) -> None:
        """Note what the file does not say and was taken for granted."""
        self._assumptions.setdefault(text)

    def spend(self, size: int) -> None:
        """Count the bytes of a constant.

        Raises:
            RefusedError: all constants together take too many.
        """
        self.spent.memory += size
        if self.spent.memory > self.limits.memory:
            self.refuse(f"the constants of the Lambdas take more than {self.limits.memory >> 20} MiB")

    def step(self) -> None:
        """Count a node that is evaluated."""
        self.steps += 1
        self.spent.steps += 1
        if self.steps > self.limits.steps:
            self.refuse(f"it takes more than {self.limits.steps} steps")
        if self.spent.steps > self.limits.total_steps:
            self.refuse(f"the Lambdas take more than {self.limits.total_steps} steps")

    def refuse(self, reason: str) -> NoReturn:
        raise RefusedError(reason)

    def op(self, name: str, *args: Value, **kwargs: Value) -> Any:
        """Call `keras.ops.<name>`: on symbolic tensors it makes an operation, on constants alone it is computed.

        Returns: a Tensor or an array, or a list of them where the operation has several results.

        Raises:
            RefusedError: Keras does not accept the arguments, or a limit is exceeded.
        """
        import keras

        if name == "add" and len(args) == 2 and not adds_rightly(*map(_shape, args)):
            if not adds_rightly(*map(_shape, args[::-1])):
                return self.op("subtract", args[0], self.op("negative", args[1]))
            args = args[::-1]
        function: Any = keras.ops
        for part in name.split("."):
            function = getattr(function, part)
        inputs = [leaf for leaf in leaves([*args, *kwargs.values()]) if isinstance(leaf, Tensor | np.ndarray)]
        self.spend(_INPUT * len(inputs))
        text = f"ops.{name}({', '.join([*map(source_of, args), *(f'{k}={source_of(v)}' for k, v in kwargs.items())])})"
        if not any(isinstance(leaf, Tensor) for leaf in inputs):
            return self._constant(name, function, text, args, kwargs)
        return self.call(lambda: function(*map(_bare, args), **{k: _bare(v) for k, v in kwargs.items()}), text)

    def index(self, tensor: Tensor, key: Any) -> Tensor:
        """`tensor[key]`: key of ints, slices, None and Ellipsis."""
        parts = key if isinstance(key, tuple) else (key,)  # Keras takes no slice alone
        made: Tensor = self.call(lambda: tensor.keras[parts], f"{tensor.text}{key_text(key)}")
        return made

    def layer(self, layer: Any, *tensors: Tensor, text: str) -> Any:
        """Call a built-in, weight-free Keras layer."""
        return self.call(lambda: layer(*(tensor.keras for tensor in tensors)), text)

    def call(self, make: Callable[[], Any], text: str) -> Any:
        """What `make` gives, as Tensors; its operation is written down."""
        text = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
        if len(self.operations) >= self.limits.operations:
            self.refuse(f"it makes more than {self.limits.operations} operations")
        self.spent.operations += 1
        if self.spent.operations > self.limits.total_operations:
            self.refuse(f"the Lambdas make more than {self.limits.total_operations} operations")
        try:
            made = make()
        except (
            ValueError,
            TypeError,
            AttributeError,
            IndexError,
            KeyError,
            ZeroDivisionError,
            AssertionError,
        ) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.refuse(f"{show(text)[1:-1]} is not possible: {lines[0][:200]}")
        several = isinstance(made, list | tuple)
        parts = list(made) if several else [made]
        for part in parts:
            operation = part._keras_history.operation
            if not any(operation is known for known in self.operations):
                self.operations.append(operation)
        if several:
            return [Tensor(part, f"{text}[{index}]") for index, part in enumerate(parts)]
        return Tensor(made, text)

    def constant(self, value: Value, dtype: str | None = None) -> np.ndarray:
        """A number, or nested lists of them, as an array; floats as float32 where no dtype is given.

        Raises:
            RefusedError: it holds what is no constant, or is too large.
        """
        if isinstance(value, np.ndarray):
            return value.astype(dtype) if dtype else value
        for leaf in leaves(value):
            if not is_number(leaf) and not isinstance(leaf, np.ndarray):
                self.refuse(f"a constant is needed where {describe(leaf)} stands")
        try:
            array = np.asarray(value, dtype)
        except (ValueError, TypeError, OverflowError) as error:
            self.refuse(f"{describe(value)} is no array: {error}")
        self.check_size(array.shape)
        if array.dtype == object:
            self.refuse(f"{describe(value)} is no array of numbers")
        if dtype is None and array.dtype == np.float64 and not isinstance(value, np.generic):
            return array.astype("float32")
        return array.astype("int32") if dtype is None and array.dtype == np.int64 else array

    def variable(self, value: Tensor | np.ndarray, name: Value = None) -> Tensor | np.ndarray:
        """What keras.backend makes a variable of `value`: what the file holds for it, if it does.

        Raises:
            RefusedError: it holds something else.
        """
        stored = None if isinstance(value, Tensor) else self.variables.take(value, None if name is None else str(name))
        if stored is None:
            return value
        self.spend(stored.nbytes)
        self.assume("its variables have the values that the file holds for them")
        return stored

    def check_size(self, shape: Sequence[Any]) -> None:
        """Refuse an array of this shape if it would be larger than the limit."""
        size = 1
        for each in shape:
            size *= int(each)
            if max(size, int(each)) > self.limits.constant or int(each) < 0:
                self.refuse(f"a constant of shape {tuple(shape)} is larger than {self.limits.constant} elements")
        self.spend(8 * size)

    def check_work(self, name: str, values: Sequence[Value]) -> None:
        """Refuse products of constants, convolutions and the like that would take long."""
        sizes = [np.size(leaf) or 1 for leaf in leaves(list(values)) if isinstance(leaf, np.ndarray)]
        if name.endswith("_pool"):
            sizes += [leaf for leaf in leaves(list(values)) if type(leaf) is int and leaf > 0]
        if name == "norm":
            sizes *= 2
        self.spent.products += math.prod(sizes)
        if self.spent.products > self.limits.products:
            self.refuse(f"it computes ops.{name} of constants, which takes too long")

    def _constant(self, name: str, function: Any, text: str, args: Sequence[Value], kwargs: dict[str, Value]) -> Any:
        import keras

        self.spend(_COMPUTED)
        if name in _PRODUCTS:
            self.check_work(name, [*args, *kwargs.values()])
        try:
            if any(isinstance(leaf, np.ndarray) for leaf in leaves(list(args))):
                # The shape comes first: a small call may ask for a huge array.
                predicted = function(*map(_symbolic, args), **kwargs)
                for part in predicted if isinstance(predicted, list | tuple) else [predicted]:
                    self.check_size(part.shape)
            made = function(*args, **kwargs)
        except RefusedError:
            raise
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.refuse(f"{show(text)[1:-1]} is not possible: {lines[0][:200]}")
        if isinstance(made, list | tuple):
            return [np.asarray(keras.ops.convert_to_numpy(part)) for part in made]
        return np.asarray(keras.ops.convert_to_numpy(made))


def is_number(value: Value) -> bool:
    """Whether a Value is a plain number or truth value."""
    return isinstance(value, bool | int | float | np.generic)


def weight(value: Value) -> int:
    """The bytes that a constant takes, roughly; what a list holds is counted where it is made."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    return len(value) * (1 if isinstance(value, str) else 64) if isinstance(value, list | tuple | str) else 0


def source_of(value: Value) -> str:
    """A Value as Python text, cut where it is long."""
    if isinstance(value, Tensor):
        return value.text
    if isinstance(value, np.ndarray):
        return repr(value.tolist()) if value.size <= 8 else f"<constant of shape {value.shape}>"
    if isinstance(value, list | tuple) and not isinstance(value, Shape):
        inner = ", ".join(map(source_of, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    if isinstance(value, Library | Method | OpenSize):
        return describe(value)
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _shape(value: Value) -> tuple[int | None, ...]:
    return value.shape if isinstance(value, Tensor) else np.shape(value)


def _bare(value: Value) -> Any:
    """The value with KerasTensors in place of Tensors."""
    if isinstance(value, Tensor):
        return value.keras
    if isinstance(value, list):
        return [_bare(each) for each in value]
    return tuple(_bare(each) for each in value) if isinstance(value, tuple) else value


def _symbolic(value: Value) -> Any:
    """The value with KerasTensors of the same shape in place of arrays."""
    import keras

    if isinstance(value, np.ndarray):
        return keras.KerasTensor(value.shape, str(value.dtype))
    return type(value)(map(_symbolic, value)) if type(value) in (list, tuple) else value


def leaves(value: Value) -> list[Value]:
    """What lists and tuples hold, at any depth.

    Raises:
        RefusedError: there is too much; lists that hold one list many times unfold to any size.
    """
    stack, found, count = [value], [], 0
    while stack:
        each = stack.pop()
        if isinstance(each, list | tuple):
            count += len(each)
            if count > _LEAVES:
                raise RefusedError(f"it makes lists of more than {_LEAVES} items")
            stack += reversed(each)
        else:
            found.append(each)
    return found


def key_text(key: Any) -> str:
    """An index of ints, slices, None and Ellipsis as Python, in its brackets."""
    return ast.unparse(ast.Subscript(ast.Name("x"), _key_ast(key)))[1:]


def _key_ast(key: Any) -> ast.expr:
    if isinstance(key, tuple):
        return ast.Tuple([_key_ast(each) for each in key])
    if isinstance(key, slice):
        return ast.Slice(*(None if each is None else ast.Constant(each) for each in (key.start, key.stop, key.step)))
    return ast.Constant(key)
