"""The expression tree that bytecode is decoded to.

A tree is data: nothing here evaluates one. Where the code used a local variable twice, the same node object stands in
both places.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from types import EllipsisType
from typing import Final

Constant = (
    None | bool | int | float | complex | str | bytes | EllipsisType | tuple["Constant", ...] | frozenset["Constant"]
)


class Node:
    """Base of the tree."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Arg(Node):
    """An argument. scope: 0 for those of the stored function, another number for each function nested in it."""

    name: str
    scope: int = 0


@dataclasses.dataclass(frozen=True)
class Const(Node):
    """A constant; a tuple whose items are all constants is one, too."""

    value: Constant


@dataclasses.dataclass(frozen=True)
class Name(Node):
    """A global or built-in name."""

    name: str


@dataclasses.dataclass(frozen=True)
class Free(Node):
    """A closure variable of the stored function: its value is not in the bytecode, but may stand beside it."""

    name: str


@dataclasses.dataclass(frozen=True)
class Import(Node):
    """A module of a known library, which the function imports. path: its parts, such as `tensorflow`, `nn`."""

    path: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Attr(Node):
    of: Node
    name: str


@dataclasses.dataclass(frozen=True)
class Starred(Node):
    """`*value` in a call or a display."""

    value: Node


@dataclasses.dataclass(frozen=True)
class Call(Node):
    function: Node
    args: tuple[Node, ...] = ()
    kwargs: tuple[tuple[str, Node], ...] = ()


@dataclasses.dataclass(frozen=True)
class BinOp(Node):
    """op: as Python writes it, or `classic /`, Python 2's division. inplace: written as `left op= right`."""

    op: str
    left: Node
    right: Node
    inplace: bool = False


@dataclasses.dataclass(frozen=True)
class UnaryOp(Node):
    """op: `-`, `+`, `~` or `not`."""

    op: str
    value: Node


@dataclasses.dataclass(frozen=True)
class Compare(Node):
    op: str
    left: Node
    right: Node


@dataclasses.dataclass(frozen=True)
class Bool(Node):
    """`left and right`, `left or right`."""

    op: str
    left: Node
    right: Node


@dataclasses.dataclass(frozen=True)
class Cond(Node):
    """`yes if test else no`; if statements become one for each value that depends on them."""

    test: Node
    yes: Node
    no: Node


@dataclasses.dataclass(frozen=True)
class Slice(Node):
    start: Node | None
    stop: Node | None
    step: Node | None = None


@dataclasses.dataclass(frozen=True)
class Subscript(Node):
    of: Node
    index: Node


@dataclasses.dataclass(frozen=True)
class Unpack(Node):
    """The index-th of exactly `count` items, as `a, b = value` gives them."""

    of: Node
    index: int
    count: int


@dataclasses.dataclass(frozen=True)
class Tuple(Node):
    """A tuple of which some item is no constant."""

    items: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class List(Node):
    items: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Set(Node):
    items: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Dict(Node):
    items: tuple[tuple[Node, Node], ...]


@dataclasses.dataclass(frozen=True)
class Lambda(Node):
    """A function: the stored one (scope 0, whose defaults are not in its bytecode) or one nested in it.

    posonly: how many of `positional` are so only. defaults: of the last positional arguments.
    """

    positional: tuple[str, ...]
    body: Node
    keyword: tuple[str, ...] = ()
    varargs: str | None = None
    varkeywords: str | None = None
    posonly: int = 0
    defaults: tuple[Node, ...] = ()
    keyword_defaults: tuple[tuple[str, Node], ...] = ()
    scope: int = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        """Every argument's name."""
        stars = (self.varargs, self.varkeywords)
        return (*self.positional, *self.keyword, *(name for name in stars if name is not None))


# What goes through a generator expression at once and only once.
CONSUMERS: Final = frozenset(["sum", "list", "tuple", "max", "min", "any", "all", "sorted"])
Target = str | tuple["Target", ...]
"""What an item is bound to: a name, or as many of these as it is unpacked to."""


def names_of(target: Target) -> tuple[str, ...]:
    """Every name in a target."""
    return (target,) if isinstance(target, str) else tuple(name for part in target for name in names_of(part))


@dataclasses.dataclass(frozen=True)
class Comprehension(Node):
    """`[element for target in iterable if conditions]`, a further `for` being a Starred Comprehension as its element.

    kind: `list`, `set`, `dict` (whose element is a pair) or `generator`. scope: of the target's names. outer: nodes of
    the body that were evaluated before it.
    """

    kind: str
    element: Node
    target: Target
    iterable: Node
    conditions: tuple[Node, ...]
    scope: int
    outer: tuple[Node, ...] = dataclasses.field(default=(), repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Fold(Node):
    """A `for` loop. carried: of each variable that it changes, its name in the body, its value before, and that which
    each turn gives it. scope: of these names and of the target's.
    """

    carried: tuple[tuple[Arg, Node, Node], ...]
    target: Target
    iterable: Node
    scope: int
    outer: tuple[Node, ...] = dataclasses.field(default=(), repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class FoldValue(Node):
    """What a loop leaves in the index-th variable that it changes."""

    of: Fold
    index: int


@dataclasses.dataclass(frozen=True)
class Raise(Node):
    """Where the function raises an error and so has no value."""

    error: Node | None = None


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below one, in the order of its fields."""
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        value = getattr(node, field.name) if field.compare else None
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple) and not isinstance(node, Const):
            for item in value:
                yield from (each for each in (item if isinstance(item, tuple) else (item,)) if isinstance(each, Node))


def walk(*roots: Node) -> list[Node]:
    """Every node object below the roots once, each after those below it."""
    seen: set[int] = set()
    order: list[Node] = []
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in reversed(list(children(node)))]
    return order


def measure(root: Node) -> tuple[int, int]:
    """How many nodes there are, where one that is used several times counts once, and how deep they are nested."""
    size, levels = 0, dict[int, int]()
    for node in walk(root):
        size += _weight(node.value) if isinstance(node, Const) else 1
        levels[id(node)] = 1 + max((levels[id(child)] for child in children(node)), default=0)
    return size, levels[id(root)]


def meaning(*roots: Node) -> str:
    """A text that is the same for equal roots alone, however their parts are shared."""
    known: dict[int, str] = {}

    def key(value: object) -> object:
        if isinstance(value, Node):
            return known[id(value)]
        return tuple(map(key, value)) if isinstance(value, tuple) else value

    for node in walk(*roots):
        fields = (getattr(node, field.name) for field in dataclasses.fields(node) if field.compare)  # type: ignore[arg-type]
        parts = (node.value,) if isinstance(node, Const) else tuple(map(key, fields))
        known[id(node)] = hashlib.sha256(repr((type(node).__name__, parts)).encode("utf-8", "replace")).hexdigest()
    return " ".join(known[id(root)] for root in roots)


def _weight(value: Constant) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value) // 16
    return 1 + sum(map(_weight, value)) if isinstance(value, tuple | frozenset) else 1
