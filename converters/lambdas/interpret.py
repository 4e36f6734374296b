"""Turns a stored function's expression into operations on symbolic tensors, by the tables of `rules`.

This is an evaluator over an allow-list: every name, attribute, method and function that it does not know is refused.
Python's own part of an expression (numbers, tuples, conditions on constants) is computed; nothing is run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converters.lambdas import expression as ex
from converters.lambdas import methods, operators
from converters.lambdas.builder import Builder, weight
from converters.lambdas.names import library, look_up
from converters.lambdas.rules.asking import CONDITIONS, LAMBDA, choose, has_attribute, lambda_layer
from converters.lambdas.rules.table import find_rule
from converters.lambdas.values import (
    LIBRARIES,
    Closure,
    Function,
    LayerObject,
    Library,
    Method,
    RefusedError,
    Value,
    describe,
)

__all__ = ["Function", "Imported", "evaluate"]

_MISSING: Final = object()
_Ids = frozenset[int]


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import gives a name in a text that a user gives: the parts of its path, the library's first."""

    path: tuple[str, ...]


def evaluate(stored: Function, inputs: Value, builder: Builder) -> Value:
    """What the function makes of `inputs`, a Tensor or a list of them.

    Raises:
        RefusedError: naming what in the function is not understood.
    """
    run = _Run(stored, builder)
    scope = _arguments(stored.function, inputs, stored.values)
    frame = _Frame(run, {(stored.function.scope, name): value for name, value in scope.items()})
    for call in stored.unused:
        frame.value(call)  # refused unless it is known, and a known one does nothing but return a value
    return frame.value(stored.function.body)


def _arguments(function: ex.Lambda, inputs: Value, values: Mapping[str, Value]) -> dict[str, Value]:
    """Keras calls a Lambda's function with the inputs first and everything else by name."""
    names = [*function.positional, *function.keyword]
    scope: dict[str, Value] = {}
    first = function.positional[0] if function.positional else None
    if first is not None:
        scope[first] = inputs
    elif function.varargs is None:
        raise RefusedError("it takes no argument, so it cannot be the function of a layer")
    if function.varargs is not None:
        scope[function.varargs] = () if first is not None else (inputs,)
    for name in names:
        if name in scope:
            continue
        if name not in values:
            if name in ("mask", "training"):
                raise RefusedError(f"its argument {name!r} is given by Keras at run time")
            raise RefusedError(f"the file has no value for its argument {name!r}")
        scope[name] = values[name]
    if function.varkeywords is not None:
        scope[function.varkeywords] = {name: value for name, value in values.items() if name not in scope}
    elif unknown := sorted(set(values) - set(names)):
        raise RefusedError(f"the layer gives it the argument {unknown[0]!r}, which it does not take")
    return scope


@dataclasses.dataclass
class _Counts:
    depth: int = 0


@dataclasses.dataclass(frozen=True)
class _Run:
    """What the frames of one stored function share. counts: of all functions together."""

    stored: Function
    builder: Builder
    counts: _Counts = dataclasses.field(default_factory=_Counts)


class _Frame:
    """One call: the arguments in sight, and the value of every node evaluated so far."""

    def __init__(
        self,
        run: _Run,
        scopes: Mapping[tuple[int, str], Value],
        around: _Frame | None = None,
        outer: _Ids = frozenset(),
    ) -> None:
        """around: for a turn of a loop, the frame that evaluates what was there before it, the nodes in `outer`."""
        self.run, self.scopes, self.around, self.outer = run, scopes, around, outer
        self.builder = run.builder
        self._known: dict[int, tuple[ex.Node, Value]] = {}

    def value(self, node: ex.Node) -> Value:
        # A local variable used twice is one node object, and must become one operation.
        if self.around is not None and id(node) in self.outer:
            return self.around.value(node)
        if id(node) not in self._known:
            self.builder.step()
            made = self._compute(node)
            if not isinstance(node, ex.Const | ex.Arg | ex.Name | ex.Free):
                self.builder.spend(weight(made))
            self._known[id(node)] = (node, made)
        return self._known[id(node)][1]

    def _compute(self, node: ex.Node) -> Value:
        match node:
            case ex.Const(value):
                return value
            case ex.Arg(name, scope):
                if (scope, name) not in self.scopes:
                    raise RefusedError(f"a loop or a nested function does not use what it computes of {name!r}")
                return self.scopes[scope, name]
            case ex.Name(name):
                return self._name(name)
            case ex.Import((top, *rest)):
                return self._imported(Imported((LIBRARIES[top], *rest)))
            case ex.Free(name):
                if name not in self.run.stored.free:
                    raise RefusedError(f"the file has no value for the closure variable {name!r}")
                return self.run.stored.free[name]
            case ex.Attr(of, name):
                return self._attribute(self.value(of), name)
            case ex.Call():
                return self._call(node)
            case ex.BinOp(op, left, right):
                return operators.binary(self.builder, op, self.value(left), self.value(right))
            case ex.UnaryOp(op, value):
                return operators.unary(self.builder, op, self.value(value))
            case ex.Compare(op, left, right):
                return operators.compare(self.builder, op, self.value(left), self.value(right))
            case ex.Bool(op, left, right):
                first = self.value(left)
                decided = operators.truth(first) == (op == "or")
                return first if decided else self.value(right)
            case ex.Cond(test, yes, no):
                return self.value(yes if operators.truth(self.value(test)) else no)
            case ex.Lambda():
                return Closure(
                    node,
                    self.scopes,
                    tuple(map(self.value, node.defaults)),
                    {name: self.value(default) for name, default in node.keyword_defaults},
                )
        return self._container(node)

    def _container(self, node: ex.Node) -> Value:
        match node:
            case ex.Subscript(of, index):
                return operators.subscript(self.builder, self.value(of), self.value(index))
            case ex.Slice(start, stop, step):
                return slice(*(None if part is None else self.value(part) for part in (start, stop, step)))
            case ex.Unpack(of, index, count):
                return operators.unpack(self.builder, self.value(of), index, count)
            case ex.Tuple(items):
                return tuple(self._items(items))
            case ex.List(items):
                return self._items(items)
            case ex.Dict(pairs):
                return {self._key(key): self.value(value) for key, value in pairs}
            case ex.Comprehension("list" | "dict" as kind):
                made = self._comprehended(node)
                return made if kind == "list" else {self._plain_key(key): value for key, value in made}
            case ex.Fold():
                return self._fold(node)
            case ex.FoldValue(of, index):
                return self.value(of)[index]
            case ex.Raise():
                raise RefusedError("it raises an error for this input")
            case ex.Starred():
                raise RefusedError("a starred value stands where it is not understood")
        raise RefusedError(f"a {type(node).__name__.lower()} is not understood")

    def _items(self, nodes: Sequence[ex.Node]) -> list[Value]:
        values: list[Value] = []
        for node in nodes:
            if isinstance(node, ex.Starred):
                values += operators.items(self.builder, self.value(node.value))
            else:
                values.append(self.value(node))
        return values

    def _turns(self, loop: ex.Comprehension | ex.Fold) -> list[dict[tuple[int, str], Value]]:
        """What the names of a loop's target stand for, for each of its items."""
        iterable = self.value(loop.iterable)
        if isinstance(iterable, dict) and len(iterable) > 1:
            raise RefusedError("it goes through a dict, whose order depends on the Python that wrote it")
        return [
            {(loop.scope, name): value for name, value in self._bound(loop.target, item)}
            for item in operators.items(self.builder, iterable)
        ]

    def _bound(self, target: ex.Target, item: Value) -> Iterator[tuple[str, Value]]:
        if isinstance(target, str):
            yield target, item
            return
        for index, part in enumerate(target):
            yield from self._bound(part, operators.unpack(self.builder, item, index, len(target)))

    def _comprehended(self, node: ex.Comprehension) -> list[Value]:
        made: list[Value] = []
        outer = frozenset(map(id, node.outer))
        with self._deeper():
            for bound in self._turns(node):
                frame = _Frame(self.run, {**self.scopes, **bound}, self, outer)
                if all(operators.truth(frame.value(test)) for test in node.conditions):
                    made += frame._items([node.element])
        return made

    def _fold(self, node: ex.Fold) -> tuple[Value, ...]:
        state = tuple(self.value(before) for _, before, _ in node.carried)
        outer = frozenset(map(id, node.outer))
        with self._deeper():
            for bound in self._turns(node):
                scope = {(node.scope, arg.name): value for (arg, _, _), value in zip(node.carried, state, strict=True)}
                frame = _Frame(self.run, {**self.scopes, **scope, **bound}, self, outer)
                state = tuple(frame.value(after) for _, _, after in node.carried)
        return state

    def _key(self, node: ex.Node) -> Value:
        return self._plain_key(self.value(node))

    def _plain_key(self, key: Value) -> Value:
        if not isinstance(key, str | int | float | bool | None):
            raise RefusedError(f"{describe(key)} is the key of a dict")
        return key

    def _name(self, name: str) -> Value:
        if name in self.run.stored.given:
            given = self.run.stored.given[name]
            return given if not isinstance(given, Imported) else self._imported(given)
        return look_up(self.builder, name)

    def _imported(self, given: Imported) -> Value:
        of: Value = Library(given.path[0])
        for part in given.path[1:]:
            of = self._attribute(of, part)
        return of

    def _attribute(self, of: Value, name: str) -> Value:
        return library(self.builder, of, name) if isinstance(of, Library) else methods.attribute(of, name)

    def _call(self, node: ex.Call) -> Value:
        function = self.value(node.function)
        args = self._consumed(function, node.args) or self._items(node.args)
        kwargs: dict[str, Value] = {}
        for name, value in node.kwargs:
            kwargs[name] = self.value(value)
        return self.call(function, args, kwargs)

    def _consumed(self, function: Value, args: Sequence[ex.Node]) -> list[Value] | None:
        """A generator expression as the only argument of a function that goes through it once."""
        if len(args) != 1 or not isinstance(args[0], ex.Comprehension) or args[0].kind != "generator":
            return None
        if not isinstance(function, Library) or function.path not in ex.CONSUMERS:
            raise RefusedError("a generator expression is understood in sum, list, tuple, max, min, any, all, sorted")
        return [self._comprehended(args[0])]

    def call(self, function: Value, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        """Call what a name, an attribute or a nested lambda gave."""
        if isinstance(function, Closure):
            return self._nested(function, args, kwargs)
        if isinstance(function, Function):
            return self._other(function, args, kwargs)
        if isinstance(function, Method):
            return methods.call(self.builder, function, args, kwargs)
        if isinstance(function, LayerObject):
            if len(args) != 1 or kwargs:
                raise RefusedError(f"it calls {describe(function)} with more than its inputs")
            return function.call(self.builder, args[0])
        if not isinstance(function, Library):
            raise RefusedError(f"it calls {describe(function)}, which is no function that is known")
        if function.path == "map":
            return self._map(args, kwargs)
        if function.path == LAMBDA:
            return lambda_layer(args, kwargs, lambda inner, value: self.call(inner, [value], {}))
        if function.path in CONDITIONS:
            return choose(self.builder, function.path, args, kwargs, lambda side: self.call(side, [], {}))
        if function.path == "hasattr":
            return has_attribute(args, kwargs)
        if function.path == "getattr" and len(args) == 2 and isinstance(args[0], Library) and not kwargs:
            if not isinstance(args[1], str):
                raise RefusedError(f"it asks for the attribute {describe(args[1])}, where a name is needed")
            return self._attribute(args[0], args[1])
        return find_rule(function.path).apply(self.builder, args, kwargs)

    def _map(self, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        if len(args) != 2 or kwargs:
            raise RefusedError("map(...) of other than one function and one list is not understood")
        return [self.call(args[0], [item], {}) for item in operators.items(self.builder, args[1])]

    def _other(self, stored: Function, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        """Call another function of the author's, which only a model in memory has."""
        closure = Closure(stored.function, {}, (), stored.values)
        scope = {(closure.function.scope, name): value for name, value in _bind(closure, args, kwargs).items()}
        with self._deeper():
            frame = _Frame(dataclasses.replace(self.run, stored=stored), scope)
            for call in stored.unused:
                frame.value(call)
            return frame.value(stored.function.body)

    @contextlib.contextmanager
    def _deeper(self) -> Iterator[None]:
        if self.run.counts.depth >= self.builder.limits.depth:
            raise RefusedError(f"its functions call each other more than {self.builder.limits.depth} deep")
        self.run.counts.depth += 1
        try:
            yield
        finally:
            self.run.counts.depth -= 1

    def _nested(self, closure: Closure, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value:
        function = closure.function
        scope = _bind(closure, args, kwargs)
        with self._deeper():
            frame = _Frame(self.run, {**closure.scopes, **{(function.scope, n): v for n, v in scope.items()}})
            return frame.value(function.body)


def _bind(closure: Closure, args: Sequence[Value], kwargs: Mapping[str, Value]) -> dict[str, Value]:
    """The arguments of a nested function, as Python binds them."""
    function = closure.function
    names = function.positional
    defaults: dict[str, Any] = dict(zip(names[len(names) - len(closure.defaults) :], closure.defaults, strict=True))
    defaults.update(closure.keyword_defaults)
    scope: dict[str, Value] = dict(zip(names, args, strict=False))
    if len(args) > len(names) and function.varargs is None:
        raise RefusedError(f"a nested function of {len(names)} arguments is called with {len(args)}")
    if function.varargs is not None:
        scope[function.varargs] = tuple(args[len(names) :])
    extra: dict[str, Value] = {}
    for name, value in kwargs.items():
        if name in scope or name in names[: function.posonly]:
            raise RefusedError(f"a nested function is given its argument {name!r} twice")
        (scope if name in (*names, *function.keyword) else extra)[name] = value
    for name in (*names, *function.keyword):
        if name not in scope and name not in defaults:
            raise RefusedError(f"a nested function is called without its argument {name!r}")
        scope.setdefault(name, defaults.get(name, _MISSING))
    if function.varkeywords is not None:
        scope[function.varkeywords] = extra
    elif extra:
        raise RefusedError(f"a nested function is called with the unknown argument {next(iter(extra))!r}")
    return scope
