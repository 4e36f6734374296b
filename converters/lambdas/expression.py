"""The expression tree that bytecode is decoded to, and its text as Python.

A tree is data: nothing here evaluates one. Where the code used a local variable twice, the same node object stands in
both places.
"""

from __future__ import annotations

import ast
import dataclasses
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


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below one, in the order of its fields."""
    for field in dataclasses.fields(node):  # type: ignore[arg-type]
        value = getattr(node, field.name)
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
    """How many nodes the tree has, where a shared one counts as often as it is used, and how deep it is."""
    found: dict[int, tuple[int, int]] = {}
    for node in walk(root):
        below = [found[id(child)] for child in children(node)]
        size = _weight(node.value) if isinstance(node, Const) else 1
        found[id(node)] = (size + sum(each[0] for each in below), 1 + max((each[1] for each in below), default=0))
    return found[id(root)]


def _weight(value: Constant) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value) // 16
    return 1 + sum(map(_weight, value)) if isinstance(value, tuple | frozenset) else 1


def to_source(expression: Node) -> str:
    """The expression as one line of Python. `classic /` is written as `/`."""
    return ast.unparse(ast.fix_missing_locations(_Printer().expr(expression)))


_OPERATORS: Final[dict[str, type[ast.operator]]] = {
    "+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "classic /": ast.Div, "//": ast.FloorDiv, "%": ast.Mod,
    "**": ast.Pow, "@": ast.MatMult, "<<": ast.LShift, ">>": ast.RShift, "&": ast.BitAnd, "|": ast.BitOr,
    "^": ast.BitXor,
}  # fmt: skip
_UNARY: Final[dict[str, type[ast.unaryop]]] = {"-": ast.USub, "+": ast.UAdd, "~": ast.Invert, "not": ast.Not}
_COMPARE: Final[dict[str, type[ast.cmpop]]] = {
    "<": ast.Lt, "<=": ast.LtE, "==": ast.Eq, "!=": ast.NotEq, ">": ast.Gt, ">=": ast.GtE, "in": ast.In,
    "not in": ast.NotIn, "is": ast.Is, "is not": ast.IsNot,
}  # fmt: skip


class _Printer:
    """Turns nodes into Python's own syntax tree, which knows where parentheses belong."""

    def __init__(self) -> None:
        self.renamed: dict[Arg, str] = {}

    def expr(self, node: Node) -> ast.expr:
        match node:
            case Arg():
                return ast.Name(self.renamed.get(node, node.name))
            case Const(value):
                return self.constant(value)
            case Name(name) | Free(name):
                return ast.Name(name)
            case Attr(of, name):
                return ast.Attribute(self.expr(of), name)
            case Starred(value):
                return ast.Starred(self.expr(value))
            case Call(function, args, kwargs):
                keywords = [ast.keyword(name, self.expr(value)) for name, value in kwargs]
                return ast.Call(self.expr(function), self.exprs(args), keywords)
            case BinOp(op, left, right):
                return ast.BinOp(self.expr(left), _OPERATORS[op](), self.expr(right))
            case UnaryOp(op, value):
                return ast.UnaryOp(_UNARY[op](), self.expr(value))
            case Compare(op, left, right):
                return ast.Compare(self.expr(left), [_COMPARE[op]()], [self.expr(right)])
            case Bool(op, left, right):
                values = [self.expr(left)]
                while isinstance(right, Bool) and right.op == op:
                    values, right = [*values, self.expr(right.left)], right.right
                return ast.BoolOp(ast.And() if op == "and" else ast.Or(), [*values, self.expr(right)])
            case Cond(test, yes, no):
                return ast.IfExp(self.expr(test), self.expr(yes), self.expr(no))
            case Lambda():
                return self.function(node)
        return self.container(node)

    def container(self, node: Node) -> ast.expr:
        match node:
            case Subscript(of, index):
                return ast.Subscript(self.expr(of), self.index(index))
            case Unpack(of, index, _):
                return ast.Subscript(self.expr(of), ast.Constant(index))
            case Slice():  # outside of an index
                parts = [node.start, node.stop, node.step]
                return ast.Call(ast.Name("slice"), self.exprs(tuple(part or Const(None) for part in parts)), [])
            case Tuple(items):
                return ast.Tuple(self.exprs(items))
            case List(items):
                return ast.List(self.exprs(items))
            case Set(items):
                return ast.Set(self.exprs(items))
            case Dict(pairs):
                return ast.Dict([self.expr(key) for key, _ in pairs], [self.expr(value) for _, value in pairs])
        raise TypeError(f"no expression: {type(node).__name__}")

    def exprs(self, nodes: tuple[Node, ...]) -> list[ast.expr]:
        return [self.expr(node) for node in nodes]

    def index(self, node: Node) -> ast.expr:
        if isinstance(node, Slice):
            return ast.Slice(*(self.expr(part) if part else None for part in (node.start, node.stop, node.step)))
        if isinstance(node, Tuple):
            return ast.Tuple([self.index(item) for item in node.items])
        return self.expr(node)

    def constant(self, value: Constant) -> ast.expr:
        if isinstance(value, tuple):
            return ast.Tuple([self.constant(item) for item in value])
        if isinstance(value, frozenset):
            return ast.Set([self.constant(item) for item in sorted(value, key=repr)])
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value).startswith("-"):
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        return ast.Constant(value)

    def function(self, node: Lambda) -> ast.Lambda:
        defaults = self.exprs(node.defaults)
        keyword_defaults = dict(node.keyword_defaults)
        own = {Arg(name, node.scope) for name in node.arguments}
        # Values of outer variables were put in place: a name of theirs may now mean an argument of this function.
        outer = {
            self.renamed.get(each, each.name) for each in walk(node.body) if isinstance(each, Arg) and each not in own
        }
        outer |= {each.name for each in walk(node.body) if isinstance(each, Name | Free)}
        for arg in sorted(own, key=lambda arg: arg.name):
            name = arg.name
            while name in outer or (name != arg.name and name in node.arguments):
                name += "_"
            if name != arg.name:
                self.renamed[arg] = name
        shown = [ast.arg(self.renamed.get(Arg(name, node.scope), name)) for name in node.arguments]
        first, last = len(node.positional), len(node.positional) + len(node.keyword)
        stars = shown[last:]
        arguments = ast.arguments(
            posonlyargs=shown[: node.posonly],
            args=shown[node.posonly : first],
            vararg=stars.pop(0) if node.varargs else None,
            kwonlyargs=shown[first:last],
            kw_defaults=[
                self.expr(keyword_defaults[name]) if name in keyword_defaults else None for name in node.keyword
            ],
            kwarg=stars.pop(0) if node.varkeywords else None,
            defaults=defaults,
        )
        return ast.Lambda(arguments, self.expr(node.body))
