"""A function given as source text -> what its bytecode would decode to: parsed and compiled, never run.

The text is a lambda, or a file of functions with the imports and constants that they use. Its syntax is checked against
a list first; then Python compiles each function, which executes nothing, and `symbolic` reads the result like bytecode
from a file, with the same limits.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
import textwrap
import types
import warnings
from collections.abc import Iterator, Sequence
from marshal import dumps
from typing import Any, Final

from converters.errors import OptionError
from converters.lambdas import expression as ex
from converters.lambdas.code_object import BytecodeError
from converters.lambdas.interpret import Function, Imported
from converters.lambdas.limits import show
from converters.lambdas.symbolic import decode
from converters.lambdas.values import Library, Value

__all__ = ["parse_function"]

_SIZE: Final = 20_000  # characters
_DEPTH: Final = 100
_ALLOWED: Final = (
    ast.Name, ast.Constant, ast.Attribute, ast.Lambda, ast.Call, ast.keyword, ast.Starred, ast.Subscript, ast.Slice,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.ListComp,
    ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.arguments, ast.arg, ast.expr_context, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop, ast.FunctionDef, ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.If,
    ast.For, ast.While, ast.Break, ast.Continue, ast.Pass, ast.Expr, ast.Raise, ast.Assert,
)  # fmt: skip
_LIBRARIES: Final = {"keras": "keras", "tf_keras": "keras", "tensorflow": "tf", "numpy": "np", "math": "math"}
_NO_CHANGE: Final = ("tf.function", "register_keras_serializable")  # decorators that leave what is computed as it is


@dataclasses.dataclass
class _Text:
    """What a text defines. given: the values of its names, its functions among them once they are read. unknown: names
    that it binds to what is not understood, with what that is.
    """

    functions: dict[str, ast.FunctionDef | ast.Lambda] = dataclasses.field(default_factory=dict)
    given: dict[str, Value] = dataclasses.field(default_factory=dict)
    unknown: dict[str, str] = dataclasses.field(default_factory=dict)


def parse_function(text: str, names: Sequence[str] = ()) -> Function:
    """The function of a text: `lambda t: ...`, `def f(t): ...`, or a file that defines one of `names`.

    Raises:
        OptionError: the text defines no such function, or one that does what is not understood.
    """
    text = textwrap.dedent(text).strip()
    if len(text) > _SIZE:
        raise OptionError(f"the function is {len(text)} characters long; at most {_SIZE} are read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's, about the text's style
        try:
            body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or "nested too deeply"
            raise OptionError(f"{show(text)} is not Python ({reason}); 'lambda t: t * 2' would be") from error
        if any(_depth(each) > _DEPTH for each in body):
            raise OptionError(f"the function is nested deeper than {_DEPTH} levels")
        found = _Text()
        if len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Lambda):
            found.functions[""] = body[0].value
        elif len(body) > 1 or (body and not isinstance(body[0], ast.Expr)):
            for statement in body:
                _define(text, statement, found)
        return _chosen(text, found, names)


def _chosen(text: str, found: _Text, names: Sequence[str]) -> Function:
    name = next((name for name in names if name in found.functions), None)
    if name is None:
        if not found.functions:
            raise OptionError(f"{show(text)} is no function; write it as 'lambda t: ...' or 'def f(t): ...'")
        if len(found.functions) > 1:
            said = ", ".join(found.functions)
            raise OptionError(f"the text defines {said}; name the one that is meant {' or '.join(names)}")
        name = next(iter(found.functions))
    needed, read = [name], dict[str, Function]()
    while needed:  # those that the function calls, and so on; no other needs to be understood
        each = needed.pop()
        if each not in read:
            read[each] = _read(text, each, found)
            needed += [used for used in _names(read[each]) if used in found.functions]
    found.given.update((each, value) for each, value in read.items() if each)
    return read[name]


def _names(function: Function) -> set[str]:
    return {node.name for node in ex.walk(function.function, *function.unused) if isinstance(node, ex.Name)}


def _define(text: str, statement: ast.stmt, found: _Text) -> None:
    """Take what one statement of a file defines."""
    line = f"line {statement.lineno}"
    match statement:
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Import() | ast.ImportFrom():
            _import(statement, found)
            return
        case ast.FunctionDef(name=name):
            made: ast.FunctionDef | ast.Lambda | None = statement
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            made = value if isinstance(value, ast.Lambda) else None
            if made is None:
                _constant(name, value, found, line)
                return
        case ast.ClassDef(name=name):
            found.unknown[name] = f"a class ({line})"
            return
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return
        case _:
            what = show((ast.get_source_segment(text, statement) or "").split("\n")[0])
            raise OptionError(f"{line} of the function's text, {what}, is no import, no constant and no function")
    if name in found.functions or name in found.given:
        raise OptionError(f"{line} of the function's text defines {name} again")
    assert made is not None
    found.functions[name] = made


def _constant(name: str, value: ast.expr, found: _Text, line: str) -> None:
    if name in found.functions or name in found.given:
        raise OptionError(f"{line} of the function's text defines {name} again")
    try:
        found.given[name] = ast.literal_eval(value)
    except (ValueError, TypeError, MemoryError, RecursionError):
        found.unknown[name] = f"a value that is no plain constant ({line})"


def _import(statement: ast.Import | ast.ImportFrom, found: _Text) -> None:
    """Names of the libraries that are known; another's is an error only if a function uses it."""
    for alias in statement.names:
        top, _, rest = alias.name.partition(".")
        name = alias.asname or top
        of = ""
        if isinstance(statement, ast.ImportFrom):
            top, _, of = (statement.module or "").partition(".")
        found.given.pop(name, None)
        found.unknown.pop(name, None)
        if top not in _LIBRARIES or (isinstance(statement, ast.ImportFrom) and (statement.level or alias.name == "*")):
            found.unknown[name] = f"what {ast.unparse(statement)} gives"
        elif isinstance(statement, ast.ImportFrom):
            found.given[name] = Imported((_LIBRARIES[top], *filter(None, of.split(".")), alias.name))
        elif alias.asname and rest:
            found.given[name] = Imported((_LIBRARIES[top], *rest.split(".")))
        else:
            found.given[name] = Library(_LIBRARIES[top])


def _read(text: str, name: str, found: _Text) -> Function:
    """One function of the text, by its bytecode."""
    node = found.functions[name]
    what = f"the function {name}" if name else "the function"
    if isinstance(node, ast.FunctionDef):
        _undecorated(node, found)
    inner = [*node.body] if isinstance(node, ast.FunctionDef) else [node.body]
    for each in (child for part in inner for child in ast.walk(part)):
        if isinstance(each, ast.FunctionDef):
            each.returns = None
            if each.decorator_list:
                raise OptionError(f"{what} holds {each.name}, which has a decorator")
        if isinstance(each, ast.arg):
            each.annotation = None
        if not isinstance(each, _ALLOWED):
            kind = type(each).__name__
            part = ast.get_source_segment(text, each) if isinstance(each, ast.expr | ast.stmt) else None
            raise OptionError(f"{what} holds {show(part or kind)} ({kind}), which is not understood here")
    values = _defaults(node.args, what)
    try:
        decoded = decode(dumps(_compiled(node)), only=(sys.version_info[0], sys.version_info[1]))
    except (BytecodeError, SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = str(error).removeprefix("the stored function is not understood: ")
        raise OptionError(f"{what} is not understood: {reason}") from error
    made = Function(decoded.function, {}, values, decoded.unused, found.given)
    for used in sorted(_names(made) & found.unknown.keys()):
        raise OptionError(f"{what} uses {used}, {found.unknown[used]}, which is not understood")
    return made


def _undecorated(node: ast.FunctionDef, found: _Text) -> None:
    """Without what Python would evaluate where the function is made, and imports in its body as those of the text."""
    for each in node.decorator_list:
        called = ast.unparse(each.func if isinstance(each, ast.Call) else each)
        if not called.endswith(_NO_CHANGE):
            raise OptionError(f"the function {node.name} has the decorator {called}, which may change what it computes")
    node.decorator_list, node.returns = [], None
    for statement in node.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _import(statement, found)
    node.body = [each for each in node.body if not isinstance(each, ast.Import | ast.ImportFrom)] or [ast.Pass()]


def _defaults(arguments: ast.arguments, what: str) -> dict[str, Value]:
    """The values of the function's own defaults, which are taken out: they are not part of its bytecode."""
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    pairs: list[tuple[str, ast.expr | None]] = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip((each.arg for each in arguments.kwonlyargs), arguments.kw_defaults, strict=True),
    ]
    values: dict[str, Value] = {}
    for name, default in pairs:
        if default is None:
            continue
        try:
            values[name] = ast.literal_eval(default)
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise OptionError(f"{what} has the default {name}={ast.unparse(default)}, no plain value") from error
    arguments.defaults, arguments.kw_defaults = [], [None] * len(arguments.kwonlyargs)
    for each in _all(arguments):
        each.annotation = None
    return values


def _all(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (each for each in (arguments.vararg, arguments.kwarg) if each is not None)


def _compiled(node: ast.FunctionDef | ast.Lambda) -> types.CodeType:
    tree: Any = ast.Expression(node) if isinstance(node, ast.Lambda) else ast.Module([node], [])
    mode = "eval" if isinstance(node, ast.Lambda) else "exec"
    whole = compile(ast.fix_missing_locations(tree), "/given", mode, dont_inherit=True, optimize=0)
    return next(each for each in whole.co_consts if isinstance(each, types.CodeType))


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth
