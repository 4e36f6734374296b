"""The signatures of library functions as text, and how a call's arguments are bound to them.

A signature reads as Python does: `(input_tensor: x, axis=None, *, keepdims=False, name: _=None)`. The word after the
colon is the name of the rule's own parameter, where it differs. Two words are special:

    _         ignored: it does not change what is computed
    default   must have its default value, for what no rule expresses
"""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.lambdas.values import RefusedError, Value

__all__ = ["Parameter", "Signature", "signature"]

_REQUIRED: Final = object()


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter: its name in the library, that in the rule, its default, and whether it takes a position."""

    name: str
    target: str
    default: Any
    positional: bool


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a library function takes. rest: the rule's name for `*args`, or None."""

    parameters: tuple[Parameter, ...]
    rest: str | None = None

    def bind(self, args: Sequence[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
        """The rule's arguments for a call.

        Raises:
            RefusedError: too many arguments, an unknown or a missing one, one given twice, or one that must keep its
                default.
        """
        positional = [parameter for parameter in self.parameters if parameter.positional]
        if len(args) > len(positional) and self.rest is None:
            raise RefusedError(f"takes at most {len(positional)} positional arguments, and got {len(args)}")
        given = {parameter.name: value for parameter, value in zip(positional, args, strict=False)}
        known = {parameter.name for parameter in self.parameters}
        for name, value in kwargs.items():
            if name not in known:
                raise RefusedError(f"got the argument {name!r}, which is not known")
            if name in given:
                raise RefusedError(f"got the argument {name!r} twice")
            given[name] = value
        bound: dict[str, Value] = {}
        for parameter in self.parameters:
            self._take(parameter, given, bound)
        if self.rest is not None:
            bound[self.rest] = tuple(args[len(positional) :])
        return bound

    @staticmethod
    def _take(parameter: Parameter, given: Mapping[str, Value], bound: dict[str, Value]) -> None:
        value = given.get(parameter.name, parameter.default)
        if value is _REQUIRED:
            raise RefusedError(f"is called without its argument {parameter.name!r}")
        if parameter.target == "_":
            return
        if parameter.target == "default":
            if value is not parameter.default and (isinstance(value, np.ndarray) or value != parameter.default):
                raise RefusedError(f"is called with {parameter.name}={value!r}, which no operation of Keras expresses")
            return
        # Two spellings of one parameter, such as `keepdims` and TensorFlow 1's `keep_dims`: the one that is given.
        if parameter.name in given or parameter.target not in bound:
            bound[parameter.target] = value


@functools.cache
def signature(text: str) -> Signature:
    """The signature that the text in parentheses describes."""
    tree = ast.parse(f"def f{text}: pass").body[0]
    assert isinstance(tree, ast.FunctionDef)
    arguments = tree.args
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *(
            (argument, default, True)
            for argument, default in zip(positional, [*missing, *arguments.defaults], strict=True)
        ),
        *(
            (argument, default, False)
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ),
    ]
    parameters = tuple(
        Parameter(
            argument.arg,
            argument.annotation.id if isinstance(argument.annotation, ast.Name) else argument.arg,
            _REQUIRED if default is None else ast.literal_eval(default),
            is_positional,
        )
        for argument, default, is_positional in pairs
    )
    return Signature(parameters, arguments.vararg.arg if arguments.vararg else None)
