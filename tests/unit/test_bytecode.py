"""Lambdas' bytecode: what real interpreters compiled decodes to its own source, whichever Python runs this."""

from __future__ import annotations

import ast
import base64
import itertools
import json
import marshal
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from converters.lambdas import expression as ex
from converters.lambdas.code_object import BytecodeError, BytecodeLimits
from converters.lambdas.marshal import decode_text, read_code
from converters.lambdas.opcode_tables import OPCODES
from converters.lambdas.symbolic import decode, to_source

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "bytecode.json").read_text(encoding="utf-8"))
VERSIONS = {
    tuple(map(int, version.split("."))): json.loads(zlib.decompress(base64.b64decode(packed)))
    for version, packed in FIXTURE["versions"].items()
}


class Decided(ast.NodeTransformer):
    """A source with its conditional expressions decided: `truths` says which tests hold."""

    def __init__(self, truths: dict[str, bool]) -> None:
        self.truths = truths
        self.tests: set[str] = set()

    def holds(self, test: ast.expr) -> bool:
        if isinstance(test, ast.BoolOp):
            parts = [self.holds(value) for value in test.values]
            return all(parts) if isinstance(test.op, ast.And) else any(parts)
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return not self.holds(test.operand)
        self.tests.add(ast.unparse(test))
        return self.truths.get(ast.unparse(test), False)

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self.visit(node.body if self.holds(self.visit(node.test)) else node.orelse)


class Folded(ast.NodeTransformer):
    """Compilers compute `1e300 * 2.5` and `2 ** 3`, some of them."""

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        self.generic_visit(node)
        try:
            return ast.Constant(ast.literal_eval(node))
        except (ValueError, TypeError):
            pass
        plain = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        if plain and isinstance(node.op, ast.Mult | ast.Pow):
            value, other = node.left.value, node.right.value
            return ast.Constant(value * other if isinstance(node.op, ast.Mult) else value**other)
        return node


def same(got: str, expected: str) -> bool:
    """Whether two sources are equal however their conditions are decided."""
    trees = [Folded().visit(ast.parse(text)) for text in (got, expected)]
    if ast.unparse(trees[0]) == ast.unparse(trees[1]):
        return True
    tests: set[str] = set()
    for node in itertools.chain(*map(ast.walk, trees)):
        if isinstance(node, ast.IfExp):
            finder = Decided({})
            finder.holds(node.test)
            tests |= finder.tests
    texts = [ast.unparse(tree) for tree in trees]
    for truths in itertools.product([False, True], repeat=len(tests)):
        decided = [Decided(dict(zip(sorted(tests), truths, strict=True))) for _ in texts]
        first, second = (ast.unparse(each.visit(ast.parse(text))) for each, text in zip(decided, texts, strict=True))
        if first != second:
            return False
    return bool(tests)


def without_defaults(source: str) -> str:
    """Defaults of the function itself are not in its bytecode."""
    tree = ast.parse(source, mode="eval")
    assert isinstance(tree.body, ast.Lambda)
    tree.body.args.defaults = []
    tree.body.args.kw_defaults = [None] * len(tree.body.args.kwonlyargs)
    return ast.unparse(tree)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_every_body_decodes_to_its_source(version: tuple[int, int]) -> None:
    assert len(VERSIONS[version]) > 140
    for index, text in VERSIONS[version].items():
        source, expected = FIXTURE["sources"][int(index)]
        if expected.startswith("!"):
            with pytest.raises(BytecodeError, match=expected[1:]) as caught:
                decode(decode_text(text))
            assert "\n" not in str(caught.value)
            continue
        decoded = decode(decode_text(text))
        got = to_source(decoded.function)
        assert same(got, without_defaults(expected)), (source, got)
        assert version in decoded.versions


def test_conditions_keep_their_form_where_the_compiler_keeps_it() -> None:
    for index, text in VERSIONS[3, 8].items():
        source, expected = FIXTURE["sources"][int(index)]
        if " if " in expected and "p(x)" not in expected:
            assert to_source(decode(decode_text(text)).function) == ast.unparse(ast.parse(expected)), source


def find(start: str, version: tuple[int, int] = (3, 9)) -> bytes:
    index = next(index for index, (source, _) in enumerate(FIXTURE["sources"]) if source.startswith(start))
    return decode_text(VERSIONS[version][str(index)])


def test_the_tree() -> None:
    decoded = decode(find("f = lambda x: K.max(x, axis=3"))
    maximum = ex.Attr(ex.Name("K"), "max")
    assert decoded.expression == ex.Call(maximum, (ex.Arg("x"),), (("axis", ex.Const(3)), ("keepdims", ex.Const(True))))
    assert decoded.arguments == ("x",)
    assert decode(find("f = lambda x: x / 255.0", (2, 7))).expression == ex.BinOp(
        "classic /", ex.Arg("x"), ex.Const(255.0)
    )
    assert decode(find("def f(x):\n  x += 1")).expression.inplace  # type: ignore[attr-defined]
    swapped = decode(find("def f(x):\n  a, b = x\n")).expression
    assert swapped == ex.BinOp("-", ex.Unpack(ex.Arg("x"), 0, 2), ex.Unpack(ex.Arg("x"), 1, 2))


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_closures_and_unused_calls_are_told(version: tuple[int, int]) -> None:
    assert decode(find("def make(k, s)", version)).free == ("k", "s")
    assert decode(find("def make(k):", version)).free == ("k",)
    unused = decode(find("def f(x):\n  shape = K.int_shape(x)", version)).unused
    assert [to_source(call) for call in unused] == ["K.int_shape(x)"]


def test_a_shared_local_is_one_object() -> None:
    product = decode(find("def f(x):\n  a = b = K.abs(x)")).expression
    assert isinstance(product, ex.BinOp)
    assert product.left is product.right


def test_the_file_name_is_not_kept() -> None:
    code = compile("lambda x: x", "/home/somebody/model.py", "eval").co_consts[0]
    assert b"somebody" in marshal.dumps(code)
    assert "somebody" not in repr(read_code(marshal.dumps(code)))


def test_both_text_forms() -> None:
    data = marshal.dumps((lambda x: x * 200).__code__)
    assert decode_text(base64.b64encode(data).decode()) == data
    assert decode_text(base64.encodebytes(data).decode()) == data
    raw = "".join(map(chr, data))
    assert decode_text(raw.encode("raw_unicode_escape").decode("raw_unicode_escape")) == data


def packed(version: tuple[int, int], words: str, consts: tuple[Any, ...], names: tuple[str, ...]) -> bytes:
    """A function of `x`, assembled by hand for a version whose interpreter is not at hand."""
    numbers = {}
    number = 0
    for word in OPCODES[version].split():
        if word.isdecimal():
            number = int(word)
        else:
            numbers[word], number = number, number + 1
    raw = b""
    for word in words.split():
        name, _, arg = word.partition(":")
        if name == "CACHE":
            raw += bytes(2 * int(arg))
        elif version >= (3, 6):
            raw += bytes([numbers[name], int(arg or 0)])
        else:
            raw += bytes([numbers[name]]) + (struct.pack("<H", int(arg)) if arg else b"")

    def put(value: Any) -> bytes:
        if isinstance(value, tuple):
            return b"(" + struct.pack("<i", len(value)) + b"".join(map(put, value))
        if isinstance(value, slice):
            return b":" + put(value.start) + put(value.stop) + put(value.step)
        return marshal.dumps(value, 2)

    code = put(raw), put(consts), put(names)
    if version >= (3, 11):
        head = struct.pack("<5i", 1, 0, 0, 20, 3)
        rest = put(("x",)), put(b"\x26"), put("secret.py"), put("f"), put("f"), struct.pack("<i", 1), put(b""), put(b"")
    else:
        head = struct.pack("<5i", 1, 0, 1, 20, 0x43)
        rest = put(("x",)), put(()), put(()), put("secret.py"), put("f"), struct.pack("<i", 1), put(b"")
    return b"c" + head + b"".join((*code, *rest))


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (
            "RESUME LOAD_GLOBAL:0 CACHE:4 LOAD_ATTR:3 CACHE:9 LOAD_FAST_BORROW:0 LOAD_CONST:0 BINARY_OP:26 CACHE:5 "
            "LOAD_SMALL_INT:3 LOAD_CONST:1 CALL_KW:2 CACHE:3 RETURN_VALUE",
            "lambda x: K.max(x[:, 1:], axis=3)",
        ),
        ("RESUME LOAD_FAST_BORROW_LOAD_FAST_BORROW:0 BINARY_OP:5 CACHE:5 RETURN_VALUE", "lambda x: x * x"),
        (
            "RESUME LOAD_FAST_BORROW:0 POP_JUMP_IF_NOT_NONE:3 CACHE:1 NOT_TAKEN LOAD_SMALL_INT:1 RETURN_VALUE "
            "LOAD_FAST_BORROW:0 RETURN_VALUE",
            "lambda x: 1 if x is None else x",
        ),
        (
            "RESUME LOAD_GLOBAL:1 CACHE:4 LOAD_FAST_BORROW:0 PUSH_NULL CALL_FUNCTION_EX RETURN_VALUE",
            "lambda x: K(*x)",
        ),
    ],
)
def test_python_314_assembled_by_hand(words: str, source: str) -> None:
    consts = ((slice(None, None, None), slice(1, None, None)), ("axis",))
    decoded = decode(packed((3, 14), words, consts, ("K", "max")))
    assert to_source(decoded.function) == source
    assert decoded.versions == ((3, 14),)


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (
            "LOAD_GLOBAL:0 LOAD_ATTR:1 LOAD_FAST:0 LOAD_CONST:1 LOAD_CONST:2 CALL_FUNCTION:257 RETURN_VALUE",
            "lambda x: K.max(x, axis=3)",
        ),
        ("LOAD_FAST:0 POP_JUMP_IF_FALSE:10 LOAD_CONST:2 RETURN_VALUE LOAD_FAST:0 RETURN_VALUE", "lambda x: x and 3"),
        ("LOAD_GLOBAL:0 LOAD_FAST:0 CALL_FUNCTION_VAR:0 RETURN_VALUE", "lambda x: K(*x)"),
    ],
)
def test_python_35_assembled_by_hand(words: str, source: str) -> None:
    decoded = decode(packed((3, 5), words, (None, "axis", 3), ("K", "max")))
    assert to_source(decoded.function) == source
    assert decoded.versions == ((3, 5),)


def test_jumps_of_310_are_not_read_as_older_ones() -> None:
    assert decode(find("f = lambda x: x if flag else -x", (3, 10))).versions == ((3, 10),)
    assert (3, 10) not in decode(find("f = lambda x: x if flag else -x", (3, 9))).versions


def test_versions_that_disagree_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.lambdas import symbolic

    def disagreeing(code: Any, version: tuple[int, int], budget: Any) -> Any:
        return ex.Lambda(("x",), ex.Const(version[1] == 8)), []

    monkeypatch.setattr(symbolic, "evaluate", disagreeing)
    with pytest.raises(
        BytecodeError, match=r"different things.*lambda x: True \(3\.8\); lambda x: False \(3\.9, 3\.10\)"
    ):
        decode(find("f = lambda x: x if flag else -x"))


def test_limits_are_told() -> None:
    data = find("f = lambda x: [x + 1000")
    for name, value in {"size": 100, "objects": 50, "steps": 50, "nodes": 50, "levels": 2, "depth": 1}.items():
        with pytest.raises(BytecodeError, match=rf"\b{value}\b"):
            decode(data, BytecodeLimits(**{name: value}))
    with pytest.raises(BytecodeError, match="4 digits"):
        decode(find("f = lambda x: 1234567890123"), BytecodeLimits(digits=4))


def test_names_stay_apart() -> None:
    inner = ex.Lambda(("x",), ex.BinOp("+", ex.Arg("x", 1), ex.Arg("x", 0)), scope=1)
    shown = to_source(ex.Lambda(("x",), ex.Call(inner, (ex.Arg("x", 0),))))
    assert re.fullmatch(r"lambda (\w+): \(lambda (\w+): \2 \+ \1\)\(\1\)", shown)
