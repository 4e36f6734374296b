"""The text of an expression tree as Python."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from converters.lambdas.expression import (
    Arg,
    Attr,
    BinOp,
    Bool,
    Call,
    Compare,
    Comprehension,
    Cond,
    Const,
    Constant,
    Dict,
    Fold,
    FoldValue,
    Free,
    Import,
    Lambda,
    List,
    Name,
    Node,
    Raise,
    Set,
    Slice,
    Starred,
    Subscript,
    Target,
    Tuple,
    UnaryOp,
    Unpack,
    children,
    names_of,
    walk,
)

__all__ = ["to_source"]

NodeT = TypeVar("NodeT", bound=Node)


def to_source(expression: Node) -> str:
    """The expression as one line of Python. `classic /` is written as `/`.

    What is used several times is written out each time, or where that would be long once, with `:=` and a name.
    """
    printer = _Printer()
    if _written(expression) > _LONGEST:
        printer.share(expression)
    return ast.unparse(ast.fix_missing_locations(printer.expr(expression)))


def _written(root: Node) -> int:
    """How many nodes the text has."""
    sizes: dict[int, int] = {}
    for node in walk(root):
        sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children(node))
    return sizes[id(root)]


_LONGEST: Final = 500  # nodes written out
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
        self.shared: dict[int, str] = {}
        self.named: set[int] = set()

    def share(self, root: Node) -> None:
        """Give a name to each part that is used several times and is more than a name itself."""
        uses: dict[int, int] = {}
        inside = walk(root)
        for node in inside:
            for child in children(node):
                uses[id(child)] = uses.get(id(child), 0) + 1
        taken = {node.name for node in inside if isinstance(node, Arg | Name | Free)}
        count = 0
        for node in inside:
            if uses.get(id(node), 0) < 2 or isinstance(node, Arg | Const | Name | Free | Import | Starred):
                continue
            count += 1
            while f"v{count}" in taken:
                count += 1
            self.shared[id(node)] = f"v{count}"

    def expr(self, node: Node) -> ast.expr:
        return self.once(node, self.written)

    def once(self, node: NodeT, write: Callable[[NodeT], ast.expr]) -> ast.expr:
        name = self.shared.get(id(node))
        if name is None:
            return write(node)
        if id(node) in self.named:
            return ast.Name(name)
        self.named.add(id(node))
        return ast.NamedExpr(ast.Name(name), write(node))

    def written(self, node: Node) -> ast.expr:
        match node:
            case Arg():
                return ast.Name(self.renamed.get(node, node.name))
            case Const(value):
                return self.constant(value)
            case Name(name) | Free(name):
                return ast.Name(name)
            case Import(path):
                return ast.Name(".".join(path))
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
            case Comprehension():
                return self.comprehension(node)
            case FoldValue(of, index):
                whole = self.once(of, self.fold)
                return whole if len(of.carried) == 1 else ast.Subscript(whole, ast.Constant(index))
            case Raise(error):
                return ast.Call(ast.Name("raise_error"), [self.expr(error)] if error else [], [])
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
        if id(node) in self.shared:
            return self.expr(node)
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
        self.rename(own, (node.body,), node.arguments)
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

    def rename(self, own: set[Arg], bodies: tuple[Node, ...], taken: Sequence[str]) -> None:
        """Values of outer variables were put in place: a name of theirs may now mean one that is bound here."""
        inside = walk(*bodies)
        outer = {self.renamed.get(each, each.name) for each in inside if isinstance(each, Arg) and each not in own}
        outer |= {each.name for each in inside if isinstance(each, Name | Free)}
        for arg in sorted(own, key=lambda arg: arg.name):
            name = arg.name
            while name in outer or (name != arg.name and name in taken):
                name += "_"
            if name != arg.name:
                self.renamed[arg] = name

    def target(self, target: Target, scope: int) -> ast.expr:
        if isinstance(target, str):
            return ast.Name(self.renamed.get(Arg(target, scope), target))
        return ast.Tuple([self.target(part, scope) for part in target])

    def comprehension(self, node: Comprehension) -> ast.expr:
        made: list[ast.comprehension] = []
        part: Node = node
        while isinstance(part, Comprehension):
            iterable = self.expr(part.iterable)
            names = names_of(part.target)
            self.rename({Arg(name, part.scope) for name in names}, (part.element, *part.conditions), names)
            conditions = [self.expr(each) for each in part.conditions]
            made.append(ast.comprehension(self.target(part.target, part.scope), iterable, conditions, 0))
            part = part.element
            if isinstance(part, Starred) and isinstance(part.value, Comprehension):
                part = part.value
            else:
                break
        if node.kind == "dict" and isinstance(part, Tuple | Const):
            pair = self.expr(part)
            assert isinstance(pair, ast.Tuple)
            return ast.DictComp(pair.elts[0], pair.elts[1], made)
        kinds: dict[str, type[ast.ListComp] | type[ast.SetComp] | type[ast.GeneratorExp]] = {
            "list": ast.ListComp,
            "set": ast.SetComp,
            "generator": ast.GeneratorExp,
        }
        return kinds[node.kind](self.expr(part), made)

    def fold(self, node: Fold) -> ast.expr:
        """`reduce`, as functools has it; where a loop has several variables, a function that no library has."""
        names = (*(arg.name for arg, _, _ in node.carried), *names_of(node.target))
        after = tuple(each for _, _, each in node.carried)
        body = after[0] if len(after) == 1 else Tuple(after)
        function = self.function(Lambda(names, body, scope=node.scope))
        before = [self.expr(each) for _, each, _ in node.carried]
        called = "reduce" if len(names) == 2 else "loop"
        return ast.Call(ast.Name(called), [function, self.expr(node.iterable), *before], [])
