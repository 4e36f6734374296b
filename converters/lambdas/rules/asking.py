"""Calls whose arguments are functions or names: tf.cond, getattr, hasattr."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import operand
from converters.lambdas.rules.refused import reason_against
from converters.lambdas.rules.table import find_rule
from converters.lambdas.signature import signature
from converters.lambdas.values import Closure, Function, LayerObject, Library, RefusedError, Tensor, Value, describe

__all__ = ["CONDITIONS", "LAMBDA", "choose", "has_attribute", "lambda_layer"]

Call = Callable[[Value], Value]
CONDITIONS: Final[Mapping[str, str]] = {
    "tf.cond": "(pred: test, true_fn: yes, false_fn: no, name: _=None)",
    "tf1.cond": "(pred: test, true_fn: yes=None, false_fn: no=None, strict: _=False, name: _=None, fn1: yes=None, "
    "fn2: no=None)",
    "ops.cond": "(pred: test, true_fn: yes, false_fn: no)",
    "K.switch": "(condition: test, then_expression: yes, else_expression: no)",
}
LAMBDA: Final = "keras.layers.Lambda"
_OF_TENSORS: Final = ("shape", "dtype")  # what a tensor has in every version of every library


def choose(builder: Builder, path: str, args: Sequence[Value], kwargs: Mapping[str, Value], call: Call) -> Value:
    """`tf.cond` and its kin: the one side where the condition is known, else a choice between both sides' numbers.

    Nothing that is understood here has any effect but its result, so that computing both sides changes nothing.

    Raises:
        RefusedError: the sides are no tensors of one shape and dtype, or the condition is not one truth value.
    """
    try:
        given = signature(CONDITIONS[path]).bind(args, kwargs)
    except RefusedError as error:
        raise RefusedError(f"{path} {error}") from error
    test, sides = given["test"], [given["yes"], given["no"]]
    functions = [isinstance(side, Closure | Library | Function) for side in sides]
    if path == "K.switch" and not all(functions):
        return find_rule(path).apply(builder, [test, *sides], {})
    if not all(functions):
        raise RefusedError(f"{path} is not called with two functions")
    if isinstance(test, bool):
        return call(sides[0] if test else sides[1])
    tensor = operand(builder, test)
    if tensor.shape != () or str(tensor.dtype) != "bool":
        raise RefusedError(f"the condition of {path} is {describe(test)} of {tensor.dtype}, not one truth value")
    if not isinstance(tensor, Tensor):
        return call(sides[0] if bool(tensor) else sides[1])
    return _either(builder, path, tensor, *map(call, sides))


def _either(builder: Builder, path: str, test: Tensor, yes: Value, no: Value) -> Value:
    if isinstance(yes, list | tuple) and type(yes) is type(no) and len(yes) == len(no):
        return type(yes)(_either(builder, path, test, *each) for each in zip(yes, no, strict=True))
    if not isinstance(yes, Tensor) or not isinstance(no, Tensor) or (yes.shape, yes.dtype) != (no.shape, no.dtype):
        raise RefusedError(f"{path} chooses between {describe(yes)} and {describe(no)}")
    return builder.op("where", test, yes, no)


def has_attribute(args: Sequence[Value], kwargs: Mapping[str, Value]) -> bool:
    """`hasattr` where the answer is the same in every version.

    Raises:
        RefusedError: it is not.
    """
    if len(args) == 2 and not kwargs and isinstance(args[0], Tensor) and args[1] in _OF_TENSORS:
        return True
    raise RefusedError(f"it calls hasattr, which {reason_against('hasattr')}")


def lambda_layer(
    args: Sequence[Value], kwargs: Mapping[str, Value], call: Callable[[Value, Value], Value]
) -> LayerObject:
    """A Lambda layer made and called inside a function: `Lambda(lambda y: y * 2)(x)`.

    Raises:
        RefusedError: it is given more than a function and its output's shape.
    """
    given = signature("(function, output_shape: _=None, name: _=None)").bind(args, kwargs)
    function = given["function"]
    if not isinstance(function, Closure | Library | Function):
        raise RefusedError(f"it makes a layer Lambda of {describe(function)}, which is no function that is known")

    def called(builder: Builder, value: Value) -> Value:
        if builder.masks or not isinstance(value, Tensor) or value.dtype != "float32":
            raise RefusedError(f"it calls a layer Lambda on {describe(value)}, which Keras may cast or mask")
        return call(function, value)

    return LayerObject("Lambda", called)
