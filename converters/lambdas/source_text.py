"""A function given as source text -> the same expression tree as bytecode gives: parsed, never run."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from converters.errors import OptionError
from converters.lambdas import expression as ex
from converters.lambdas.limits import show

__all__ = ["parse_function"]

_SIZE: Final = 20_000  # characters
_DEPTH: Final = 100
_OPERATORS: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
}  # fmt: skip
_UNARY: Final[Mapping[type[ast.unaryop], str]] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not"}
_COMPARE: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
}  # fmt: skip


def parse_function(text: str) -> ex.Lambda:
    """The expression tree of `lambda t: ...`.

    Raises:
        OptionError: the text is no lambda, or holds what an expression of this kind cannot say.
    """
    if len(text) > _SIZE:
        raise OptionError(f"the function is {len(text)} characters long; at most {_SIZE} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or "nested too deeply"
        raise OptionError(f"{show(text)} is not Python ({reason}); 'lambda t: t * 2' would be") from error
    if not isinstance(tree, ast.Lambda):
        raise OptionError(f"{show(text)} is no function; write it as 'lambda t: ...'")
    if _depth(tree) > _DEPTH:
        raise OptionError(f"the function is nested deeper than {_DEPTH} levels")
    made = _Parser(text).function(tree, {})
    assert isinstance(made, ex.Lambda)
    return made


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.scopes: Iterator[int] = itertools.count()

    def function(self, node: ast.Lambda, known: Mapping[str, ex.Node]) -> ex.Node:
        scope, arguments = next(self.scopes), node.args
        positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        keyword = [each.arg for each in arguments.kwonlyargs]
        stars = [each.arg if each else None for each in (arguments.vararg, arguments.kwarg)]
        inner = {name: ex.Arg(name, scope) for name in (*positional, *keyword, *filter(None, stars))}
        return ex.Lambda(
            positional=tuple(positional),
            body=self.expr(node.body, {**known, **inner}),
            keyword=tuple(keyword),
            varargs=stars[0],
            varkeywords=stars[1],
            posonly=len(arguments.posonlyargs),
            defaults=self.exprs(arguments.defaults, known),
            keyword_defaults=tuple(
                (name, self.expr(default, known))
                for name, default in zip(keyword, arguments.kw_defaults, strict=True)
                if default is not None
            ),
            scope=scope,
        )

    def exprs(self, nodes: list[ast.expr], known: Mapping[str, ex.Node]) -> tuple[ex.Node, ...]:
        return tuple(self.expr(node, known) for node in nodes)

    def expr(self, node: ast.expr, known: Mapping[str, ex.Node]) -> ex.Node:
        match node:
            case ast.Name(id=name):
                return known.get(name, ex.Name(name))
            case ast.Constant(value=value):
                return ex.Const(value)
            case ast.Attribute(value=of, attr=name):
                return ex.Attr(self.expr(of, known), name)
            case ast.Lambda():
                return self.function(node, known)
            case ast.Call(func=function, args=args, keywords=keywords):
                if any(keyword.arg is None for keyword in keywords):
                    self.refuse(node)
                named = tuple((str(keyword.arg), self.expr(keyword.value, known)) for keyword in keywords)
                return ex.Call(self.expr(function, known), self.exprs(args, known), named)
            case ast.Starred(value=value):
                return ex.Starred(self.expr(value, known))
            case ast.Subscript(value=of, slice=index):
                return ex.Subscript(self.expr(of, known), self.expr(index, known))
            case ast.Slice(lower=lower, upper=upper, step=step):
                return ex.Slice(*(self.expr(part, known) if part else None for part in (lower, upper, step)))
        return self.operation(node, known)

    def operation(self, node: ast.expr, known: Mapping[str, ex.Node]) -> ex.Node:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return ex.BinOp(_OPERATORS[type(op)], self.expr(left, known), self.expr(right, known))
            case ast.UnaryOp(op=unary, operand=value):
                made = self.expr(value, known)
                if isinstance(unary, ast.USub) and isinstance(made, ex.Const) and isinstance(made.value, int | float):
                    return ex.Const(-made.value)
                return ex.UnaryOp(_UNARY[type(unary)], made)
            case ast.BoolOp(op=word, values=values):
                *others, last = self.exprs(values, known)
                for each in reversed(others):
                    last = ex.Bool("and" if isinstance(word, ast.And) else "or", each, last)
                return last
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [self.expr(left, known), *self.exprs(comparators, known)]
                parts: list[ex.Node] = [
                    ex.Compare(_COMPARE[type(each)], sides[index], sides[index + 1]) for index, each in enumerate(ops)
                ]
                made = parts.pop()
                for part in reversed(parts):
                    made = ex.Bool("and", part, made)
                return made
            case ast.IfExp(test=test, body=yes, orelse=no):
                return ex.Cond(self.expr(test, known), self.expr(yes, known), self.expr(no, known))
            case ast.Tuple(elts=items):
                made_items = self.exprs(items, known)
                if all(isinstance(item, ex.Const) for item in made_items):
                    return ex.Const(tuple(item.value for item in made_items if isinstance(item, ex.Const)))
                return ex.Tuple(made_items)
            case ast.List(elts=items):
                return ex.List(self.exprs(items, known))
            case ast.Dict(keys=keys, values=values):
                if None in keys:
                    self.refuse(node)
                pairs = zip(self.exprs([key for key in keys if key], known), self.exprs(values, known), strict=True)
                return ex.Dict(tuple(pairs))
        self.refuse(node)
        raise AssertionError

    def refuse(self, node: ast.AST) -> None:
        part = ast.get_source_segment(self.text.strip(), node) if isinstance(node, ast.expr) else None
        what = type(node).__name__
        raise OptionError(f"the function holds {show(part or what)} ({what}), which is not understood here")
