"""The function of a Lambda layer, from its config: bytecode or a name, defaults, closure, arguments."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas import expression as ex
from converters.lambdas.code_object import BytecodeError, is_name
from converters.lambdas.interpret import Function
from converters.lambdas.limits import line, show
from converters.lambdas.marshal import decode_text, read_code
from converters.lambdas.source_text import parse_function
from converters.lambdas.symbolic import to_source
from converters.lambdas.values import Closure, RefusedError, Value
from converters.lambdas.windows import decode_stored

__all__ = [
    "StoredFunction", "argument_names", "from_function", "from_source", "function_name", "plain_value", "said_name",
    "stored_function",
]  # fmt: skip

# What TensorFlow puts around its functions and Keras's.
_WRAPPERS: Final = ("error_handler", "wrapper", "op_dispatch_handler", "wrapped_func")


@dataclasses.dataclass(frozen=True)
class StoredFunction:
    """A Lambda's function, its text as Python for people to read, and what was taken for granted in reading it."""

    function: Function
    source: str
    assumptions: tuple[str, ...] = ()


def function_name(config: Mapping[str, Any]) -> str | None:
    """The name of a Lambda's function if the file holds its name only."""
    function = config.get("function")
    if isinstance(function, dict) and function.get("class_name") == "function":
        function = function.get("config")
    return function if isinstance(function, str) and config.get("function_type") != "lambda" else None


def said_name(config: Mapping[str, Any]) -> str:
    """What the author or a library called a stored function, as the end of a refusal; nothing if it is a lambda."""
    try:
        codes = [reading.code.name for reading in read_code(decode_text(_parts(config)[0]))]
    except ModelError:
        return ""
    if not codes or codes[0] == "<lambda>":
        return ""
    module = config.get("module")
    of = f" of {line(module, 100)}" if isinstance(module, str) and module.startswith(("keras", "tensorflow")) else ""
    if codes[0] in _WRAPPERS:
        return f"; a library's function{of} was given to the layer itself, and the file does not hold which one"
    return f"; it is the function {show(codes[0])}{of}"


def argument_names(config: Mapping[str, Any]) -> str:
    """The arguments of a function to give for a layer: its inputs and what the layer's `arguments` name."""
    arguments = config.get("arguments")
    names = [str(name) for name in arguments] if isinstance(arguments, dict) else []
    return ", ".join(["t", *(name for name in names if is_name(name))][:9])


def stored_function(config: Mapping[str, Any]) -> StoredFunction:
    """The function of a Lambda layer's config, in Keras 2's form or in Keras 3's.

    Raises:
        RefusedError: the config holds no bytecode, or the bytecode does what is not understood.
    """
    if config.get("mask") is not None:
        raise RefusedError("it computes a mask for the layers after it")
    code, defaults, closure = _parts(config)
    try:
        decoded, assumptions = decode_stored(decode_text(code))
    except BytecodeError as error:
        raise RefusedError(str(error)) from error
    function = decoded.function
    values = _defaults(function, plain_value(defaults) or ())
    values.update(_arguments(config))
    cells = plain_value(closure) or ()
    if not isinstance(cells, list | tuple):
        raise RefusedError("the file's closure for it is no list")
    if decoded.free and len(cells) != len(decoded.closure):
        raise RefusedError(f"the file holds {len(cells)} of the values of its {len(decoded.closure)} closure variables")
    free = dict(zip(decoded.closure, cells, strict=False))
    stored = Function(function, {name: free[name] for name in decoded.free}, values, decoded.unused)
    return StoredFunction(stored, _text(stored), assumptions)


def from_source(text: str, config: Mapping[str, Any], names: Sequence[str] = ()) -> StoredFunction:
    """The function that a user gives for a Lambda, with the layer's `arguments`; names: what the text may call it.

    Raises:
        OptionError: the text is no function of the kind that is understood.
    """
    return _with_arguments(parse_function(text, names), config)


def from_function(function: types.FunctionType, config: Mapping[str, Any]) -> StoredFunction:
    """As `from_source`, of a function in memory, which is read and not called.

    Raises:
        RefusedError: it does what is not understood.
    """
    from converters.lambdas.live import read_function

    return _with_arguments(read_function(function), config)


def _with_arguments(given: Function, config: Mapping[str, Any]) -> StoredFunction:
    values = {**given.values, **_arguments(config)}
    if given.function.positional:
        values.pop(given.function.positional[0], None)  # the inputs are always given
    stored = dataclasses.replace(given, values=values)
    return StoredFunction(stored, _text(stored))


def _parts(config: Mapping[str, Any]) -> tuple[str, Any, Any]:
    function = config.get("function")
    if isinstance(function, dict) and function.get("class_name") == "__lambda__":
        inner = function.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("code"), str):
            return inner["code"], inner.get("defaults"), inner.get("closure")
    if isinstance(function, dict) and function.get("class_name") == "__tuple__":
        function = function.get("items")
    if isinstance(function, list | tuple) and len(function) == 3 and isinstance(function[0], str):
        return function[0], function[1], function[2]
    if isinstance(function, str) and config.get("function_type") == "lambda":
        return function, None, None
    raise RefusedError("the file holds no function for it")


def _defaults(function: ex.Lambda, defaults: Value) -> dict[str, Value]:
    names = function.positional
    if not isinstance(defaults, list | tuple) or len(defaults) > len(names):
        raise RefusedError("the file holds more defaults than the function has arguments")
    values = dict(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    if names:
        values.pop(names[0], None)  # the inputs are always given
    return values


def _arguments(config: Mapping[str, Any]) -> dict[str, Value]:
    arguments = plain_value(config.get("arguments") or {})
    if not isinstance(arguments, dict):
        raise RefusedError("the file's `arguments` for it are no mapping")
    return {str(name): value for name, value in arguments.items()}


def plain_value(value: Any) -> Value:
    """A value from a config as Python: Keras writes tuples, arrays and the like as marked JSON objects.

    Raises:
        RefusedError: it is an object that is no plain value.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [plain_value(each) for each in value]
    if not isinstance(value, dict):
        raise RefusedError(f"the file holds a {type(value).__name__} for it, which is no plain value")
    kind, inner = value.get("class_name"), value.get("config")
    if kind in ("__tuple__", "TensorShape"):
        items = value.get("items", [])
        if not isinstance(items, list):
            raise RefusedError(f"the file holds a {kind} for it whose items are no list")
        return tuple(map(plain_value, items))
    if kind == "__ellipsis__":
        return Ellipsis
    if kind == "__slice__" or (kind == "slice" and isinstance(inner, dict)):
        source = inner if isinstance(inner, dict) else value
        return slice(*(plain_value(source.get(name)) for name in ("start", "stop", "step")))
    if value.get("type") in ("ndarray", "int64", "float64", "float32", "int32") and set(value) == {"type", "value"}:
        return _array(value["value"])
    if kind in ("__numpy__", "__tensor__") and isinstance(inner, dict):
        return _array(inner.get("value"), inner.get("dtype"))
    if kind is not None:
        raise RefusedError(f"the file holds an object of class {str(kind)[:60]!r} for it, which is no plain value")
    return {key: plain_value(each) for key, each in value.items()}


def _array(value: Any, dtype: Any = None) -> Value:
    import numpy as np

    from converters.lambdas.names import dtype_of

    try:
        array = np.asarray(value, dtype_of(dtype) if dtype is not None else None)
    except (ValueError, TypeError) as error:
        raise RefusedError(f"the file holds an array for it that is none ({error})") from error
    if array.dtype.kind not in "biuf":
        raise RefusedError("the file holds an array for it that is not of numbers")
    return array.item() if array.ndim == 0 else array


def _text(stored: Function) -> str:
    """The function as Python, with the values that stand beside its bytecode written behind it."""
    beside = {**stored.free, **{name: value for name, value in stored.values.items() if not isinstance(value, Closure)}}
    notes = ", ".join(f"{name}={_short(value)}" for name, value in beside.items())
    return to_source(stored.function) + (f"  # {notes}" if notes else "")


def _short(value: Value) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
