"""The Lambdas of a Keras model in memory: their functions' code, defaults and globals are read, never called."""

from __future__ import annotations

import types
from collections.abc import Mapping
from marshal import dumps
from typing import Any, Final

import numpy as np

from converters.lambdas import expression as ex
from converters.lambdas.code_object import BytecodeError
from converters.lambdas.interpret import Function
from converters.lambdas.stored import StoredFunction, plain_value
from converters.lambdas.symbolic import Decoded, decode, to_source
from converters.lambdas.values import Library, RefusedError, Value

__all__ = ["function_of", "lambda_layers", "read_function"]

_MODULES: Final[Mapping[str, str]] = {
    "keras": "keras", "keras.backend": "K", "keras.ops": "ops", "keras.activations": "activations", "numpy": "np",
    "keras.layers": "keras.layers",
    "math": "math", "tensorflow": "tf", "tensorflow.compat.v1": "tf1", "tensorflow.math": "tf.math",
    "tensorflow.nn": "tf.nn", "tensorflow.image": "tf.image", "tensorflow.linalg": "tf.linalg",
}  # fmt: skip
_DEPTH: Final = 8  # of functions that call functions


def lambda_layers(model: Any) -> dict[tuple[str, ...], Any]:
    """Every Lambda layer below a model, by the path that `archive.iter_layers` gives it."""
    import keras

    found: dict[tuple[str, ...], Any] = {}
    stack: list[tuple[tuple[str, ...], Any]] = [((layer.name,), layer) for layer in model.layers]
    while stack:
        path, layer = stack.pop()
        if isinstance(layer, keras.layers.Lambda):
            found[path] = layer
        inner = list(layer.layers) if isinstance(layer, keras.Model) else []
        wrapped = getattr(layer, "layer", None)
        if isinstance(wrapped, keras.layers.Layer):
            inner.append(wrapped)
        stack += [((*path, each.name), each) for each in inner]
    return found


def function_of(layer: Any) -> StoredFunction:
    """The function of a Lambda layer.

    Raises:
        RefusedError: it is no Python function, or does what is not understood.
    """
    function = layer.function
    if not isinstance(function, types.FunctionType):
        raise RefusedError(f"its function is {type(function).__name__}, not one written in Python")
    stored = read_function(function, 0)
    values = {**stored.values, **{str(name): _value(value, 0) for name, value in (layer.arguments or {}).items()}}
    names = stored.function.positional
    if names:
        values.pop(names[0], None)
    whole = Function(stored.function, stored.free, values, stored.unused, stored.given)
    return StoredFunction(whole, to_source(stored.function))


def read_function(function: types.FunctionType, depth: int = 0) -> Function:
    """A function in memory with its closure, defaults and the globals that it uses.

    Raises:
        RefusedError: it does what is not understood.
    """
    if depth > _DEPTH:
        raise RefusedError(f"its functions call each other more than {_DEPTH} deep")
    try:
        decoded = decode(dumps(function.__code__))
    except BytecodeError as error:
        raise RefusedError(str(error)) from error
    cells: dict[str, Value] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name in decoded.free:
            try:
                cells[name] = _value(cell.cell_contents, depth)
            except ValueError as error:
                raise RefusedError(f"its closure variable {name!r} has no value yet") from error
    names = decoded.arguments
    defaults = function.__defaults__ or ()
    positional = decoded.function.positional
    values = dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
    values.update(function.__kwdefaults__ or {})
    plain = {name: _value(value, depth) for name, value in values.items() if name in names}
    return Function(decoded.function, cells, plain, decoded.unused, _globals(function, decoded, depth))


def _globals(function: types.FunctionType, decoded: Decoded, depth: int) -> dict[str, Value]:
    """The values of the global names that the function uses, of the kinds that are understood."""
    used = {node.name for node in ex.walk(decoded.function, *decoded.unused) if isinstance(node, ex.Name)}
    given: dict[str, Value] = {}
    for name in sorted(used & function.__globals__.keys()):
        given[name] = _value(function.__globals__[name], depth)
    return given


def _value(value: Any, depth: int) -> Value:
    if isinstance(value, types.ModuleType):
        path = value.__name__.replace("._api.v2", "").replace("keras.api", "keras").removesuffix(".api")
        if path in _MODULES:
            return Library(_MODULES[path])
        raise RefusedError(f"it uses the module {value.__name__}, which is not known")
    if isinstance(value, types.FunctionType) and value.__module__.split(".")[0] not in ("keras", "tensorflow", "numpy"):
        return read_function(value, depth + 1)
    if isinstance(value, np.ndarray | np.generic):
        return value.item() if value.ndim == 0 else value
    if isinstance(value, tuple):
        return tuple(_value(each, depth) for each in value)
    if isinstance(value, list):
        return [_value(each, depth) for each in value]
    if isinstance(value, dict):
        return {key: _value(each, depth) for key, each in value.items()}
    if isinstance(value, type(...)) or value is None or isinstance(value, bool | int | float | str | slice):
        return value
    try:
        return plain_value(value)
    except RefusedError as error:
        raise RefusedError(
            f"it uses {type(value).__name__} {str(getattr(value, 'name', ''))!r}, no plain value"
        ) from error
