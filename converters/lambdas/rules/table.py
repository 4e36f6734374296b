"""The library functions that a Lambda may call: each a row of names and signatures above the function that builds it.

    @rule("K.max ops.max (x, axis=None, keepdims=False)", "tf.reduce_max (input_tensor: x, axis=None, ...)")
    def maximum_over(builder, x, axis, keepdims): ...

Names are in the spelling of `names.py`: `K` for keras.backend, `tf1` for tensorflow.compat.v1, `ops` for keras.ops. The
grammar of signatures stands in `signature.py`. A name of `tf1` without a row of its own means that of `tf`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from converters.lambdas.builder import Builder
from converters.lambdas.rules.refused import NEVER, reason_against
from converters.lambdas.signature import Signature, signature
from converters.lambdas.values import RefusedError, Value

__all__ = ["Rule", "find_rule", "is_known", "misspelt", "rule", "rules"]

# Each registers its rows when it is imported.
MODULES: Final = (
    "activations", "blocks", "builtins", "constants", "elementwise", "gathering", "images", "layer_classes", "linear",
    "losses", "merging", "normalizing", "numbers", "numpy_functions", "preprocessing", "ranges", "reductions",
    "reshaping", "resizing", "settings", "shapes", "slicing", "windows",
)  # fmt: skip

# Those that are called with functions, which the evaluator has to call.
_ASKED: Final = ("tf.cond", "tf1.cond", "ops.cond", "keras.layers.Lambda")

_NEAR, _LONG = 0.88, 6  # how like a name must be to be suggested, and how long

Handler = Callable[..., Value]
_RULES: dict[str, Rule] = {}


@dataclasses.dataclass(frozen=True)
class Rule:
    """One library function: its name, how it is called, and what builds it."""

    name: str
    signature: Signature
    handler: Handler

    def apply(self, builder: Builder, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        """What a call of the function gives.

        Raises:
            RefusedError: the arguments are not understood.
        """
        try:
            bound = self.signature.bind(args, kwargs)
        except RefusedError as error:
            raise RefusedError(f"{self.name} {error}") from error
        return self.handler(builder, **bound)


def rule(*spellings: str) -> Callable[[Handler], Handler]:
    """Register the decorated function under each spelling: `name name ... (signature)`."""

    def register(handler: Handler) -> Handler:
        for spelling in spellings:
            names, opening, rest = spelling.partition("(")
            row = signature(opening + rest)
            for name in names.split():
                assert name not in _RULES, f"{name} has two rules"
                _RULES[name] = Rule(name, row, handler)
        return handler

    return register


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its name."""
    for module in MODULES:
        importlib.import_module(f"converters.lambdas.rules.{module}")
    return _RULES


@functools.cache
def _prefixes() -> frozenset[str]:
    return frozenset(prefix for name in (*rules(), *NEVER) for prefix in _above(name))


def _above(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count])


def is_known(path: str) -> bool:
    """Whether `path` is a function of the table, or a module that holds one."""
    known = (each in rules() or each in _prefixes() or reason_against(each) is not None for each in _spellings(path))
    return path in _ASKED or any(known)


def find_rule(path: str) -> Rule:
    """The rule of a library function.

    Raises:
        RefusedError: there is none.
    """
    for each in _spellings(path):
        if each in rules():
            return rules()[each]
        if (reason := reason_against(each)) is not None:
            raise RefusedError(f"it calls {path}, which {reason}")
    raise RefusedError(f"it calls {path}, which is not known{misspelt(path)}")


def misspelt(path: str) -> str:
    """The end of a refusal: the function of the same module that a name may be a slip of the pen for, if there is one.

    A function that ran once was spelt right, and its name is often near to that of quite another one: `erfc`, `erf`.
    """
    module, _, name = path.rpartition(".")
    beside = [each.rpartition(".")[2] for each in rules() if each.rpartition(".")[0] == module]
    digits = [each for each in beside if [*filter(str.isdigit, each)] == [*filter(str.isdigit, name)]]
    near = difflib.get_close_matches(name, digits, n=1, cutoff=_NEAR)
    return f"; did you mean {f'{module}.{near[0]}'!r}?" if near and len(name) >= _LONG else ""


def _spellings(path: str) -> tuple[str, ...]:
    return (path, "tf" + path.removeprefix("tf1")) if path.split(".")[0] == "tf1" else (path,)
