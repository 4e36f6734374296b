"""TensorFlow functions that Keras 2 stored as layers: TFOpLambda and SlicingOpLambda; before 2.4 TensorFlowOpLayer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from converters.lambdas import operators
from converters.lambdas.builder import Builder, key_text, source_of
from converters.lambdas.limits import show
from converters.lambdas.names import canonical
from converters.lambdas.rules.table import find_rule
from converters.lambdas.tfnodes import apply_node
from converters.lambdas.values import RefusedError, Value

__all__ = ["apply"]

_OPERATORS: Final[Mapping[str, str]] = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "div": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
_COMPARE: Final[Mapping[str, str]] = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNARY: Final[Mapping[str, str]] = {"neg": "-", "invert": "~", "abs": "abs"}


def apply(
    builder: Builder, layer: Mapping[str, Any], args: Sequence[Value], kwargs: Mapping[str, Value]
) -> tuple[Value, str]:
    """What one call of such a layer gives, and the call as Python.

    Raises:
        RefusedError: the function, or what it is called with, is not understood.
    """
    config = layer["config"]
    if layer["class_name"] == "TensorFlowOpLayer":
        return apply_node(builder, config, args)
    function = config.get("function")
    if layer["class_name"] not in ("TFOpLambda", "SlicingOpLambda") or not isinstance(function, str):
        raise RefusedError(f"it is a {layer['class_name']}, which calls a method of a TensorFlow object")
    given = [*map(source_of, args), *(f"{name}={source_of(value)}" for name, value in kwargs.items() if name != "name")]
    if function.startswith("__operators__."):
        return _operator(builder, function.partition(".")[2], args, kwargs)
    path = canonical(f"tf.{function}")
    named = {name: _plain(value) for name, value in kwargs.items()}
    made = find_rule(path).apply(builder, [_plain(value) for value in args], named)
    return made, f"{path}({', '.join(given)})"


def _operator(builder: Builder, name: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> tuple[Value, str]:
    values = [*args, *(value for key, value in kwargs.items() if key not in ("name", "slice_spec", "var"))]
    if name == "getitem":
        spec = kwargs.get("slice_spec", args[1] if len(args) > 1 else None)
        key = _key(spec)
        return operators.subscript(builder, args[0], key), f"{source_of(args[0])}{key_text(key)}"
    reverse = name.startswith("r") and name[1:] in _OPERATORS
    symbol = _OPERATORS.get(name[1:] if reverse else name)
    if symbol and len(values) == 2:
        left, right = reversed(values) if reverse else values
        return operators.binary(builder, symbol, left, right), f"{source_of(left)} {symbol} {source_of(right)}"
    if name in _COMPARE and len(values) == 2:
        return operators.compare(builder, _COMPARE[name], *values), f" {_COMPARE[name]} ".join(map(source_of, values))
    if name in _UNARY and len(values) == 1:
        return operators.unary(builder, _UNARY[name], values[0]), f"{_UNARY[name]}{source_of(values[0])}"
    raise RefusedError(f"it is the operator {show(name)}, which is not understood")


def _key(spec: Value) -> Value:
    """The index of `x[...]` as Keras 2 stored it: a list of ints, of {start, stop, step}, and of marked objects."""
    if isinstance(spec, list | tuple):
        return tuple(_key(each) for each in spec)
    if isinstance(spec, dict) and set(spec) == {"start", "stop", "step"}:
        return slice(*(spec[name] for name in ("start", "stop", "step")))
    return _plain(spec)


def _plain(value: Value) -> Value:
    """A stored argument as Python: Keras 2 wrote dtypes, shapes and the like as text or marked objects."""
    if isinstance(value, dict) and "class_name" in value:
        from converters.lambdas.stored import plain_value

        return plain_value(value)
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(*(value[name] for name in ("start", "stop", "step")))
    if type(value) in (list, tuple):
        return type(value)(_plain(each) for each in value)
    return value
