"""Local lists that are appended to: each append makes a new node, right only while nothing else holds the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from converters.lambdas.expression import (
    Attr,
    Call,
    Comprehension,
    Cond,
    FoldValue,
    Import,
    List,
    Name,
    Node,
    Starred,
    Subscript,
    children,
)

__all__ = ["appended", "is_list", "reaches"]

# What these return holds none of the lists they are given.
_COPYING = frozenset(["len", "list", "tuple", "sum"])


def is_list(node: Node, carried: Callable[[Node], bool]) -> bool:
    """Whether the node surely is a list that the function made itself. carried: whether a loop's variable is one."""
    if isinstance(node, Cond):
        return is_list(node.yes, carried) and is_list(node.no, carried)
    if isinstance(node, FoldValue):
        return is_list(node.of.carried[node.index][1], carried)
    return isinstance(node, List) or (isinstance(node, Comprehension) and node.kind == "list") or carried(node)


def appended(of: Node, *items: Node) -> List:
    """The list with more items."""
    return List((*of.items, *items) if isinstance(of, List) else (Starred(of), *items))


def reaches(values: Iterable[Node], lists: Node) -> bool:
    """Whether what the values stand for may hold the very list that `lists`, or a branch of it, is."""
    wanted: set[int] = set()
    stack = [lists]
    while stack:
        node = stack.pop()
        wanted.add(id(node))
        stack += [node.yes, node.no] if isinstance(node, Cond) else []
    seen: set[int] = set()
    stack = list(values)
    while stack:
        node = stack.pop()
        if id(node) in wanted:
            return True
        if id(node) in seen or _copies(node):
            continue
        seen.add(id(node))
        # An item of a list, and a list made of its items, are other objects: no list is ever put into itself.
        skipped = isinstance(node, Subscript | Starred)
        stack += [] if skipped else list(children(node))
    return False


def _copies(node: Node) -> bool:
    """A library's function makes a tensor; the author's own might return what it was given."""
    if not isinstance(node, Call):
        return False
    function = node.function
    while isinstance(function, Attr):
        function = function.of
    plain = isinstance(function, Name | Import)
    return plain and (node.function is not function or (isinstance(function, Name) and function.name in _COPYING))
