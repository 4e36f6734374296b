"""Hostile bytecode: each blob gives an expression or one clear refusal, quickly, and nothing of it is ever run."""

from __future__ import annotations

import base64
import builtins
import json
import marshal
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from converters.lambdas.code_object import BytecodeError
from converters.lambdas.marshal import decode_text, read_code
from converters.lambdas.opcode_tables import CACHE, OPCODES
from converters.lambdas.symbolic import decode, to_source

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "bytecode.json").read_text(encoding="utf-8"))
BLOBS = [
    decode_text(text)
    for packed in FIXTURE["versions"].values()
    for text in json.loads(zlib.decompress(base64.b64decode(packed))).values()
    if len(text) < 2000
]
SECONDS = 2.0


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever could turn data into running code dies."""

    def die(*args: Any, **kwargs: Any) -> Any:
        raise SystemExit("executed")

    monkeypatch.setattr(marshal, "loads", die)
    monkeypatch.setattr(builtins, "eval", die)
    monkeypatch.setattr(builtins, "exec", die)


def judge(data: bytes) -> str | None:
    """The source that comes of a blob, or None where it is refused."""
    begun = time.monotonic()
    source, message = None, ""
    try:
        decoded = decode(data)
        source = to_source(decoded.function)
        for call in decoded.unused:
            to_source(call)
    except BytecodeError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 2000
    assert time.monotonic() - begun < SECONDS
    return source


def put(value: Any) -> bytes:
    if isinstance(value, tuple):
        return b"(" + struct.pack("<i", len(value)) + b"".join(map(put, value))
    return value.raw if isinstance(value, Raw) else marshal.dumps(value, 2)


class Raw:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw


def code(
    raw: bytes,
    consts: Any = (None,),
    names: Any = ("a",),
    varnames: Any = ("x",),
    version: tuple[int, int] = (3, 6),
    stack: int = 1000,
) -> bytes:
    """A code object of one argument in the layout of `version`."""
    variables = (put(varnames), put(()), put(()))
    if version < (3, 0):
        head = struct.pack("<4i", 1, len(varnames), stack, 3)
    elif version < (3, 8):
        head = struct.pack("<5i", 1, 0, len(varnames), stack, 3)
    elif version < (3, 11):
        head = struct.pack("<6i", 1, 0, 0, len(varnames), stack, 3)
    else:
        head = struct.pack("<5i", 1, 0, 0, stack, 3)
        variables = (put(varnames), put(b"\x20" * len(varnames)))
    name = b"s" + struct.pack("<i", 1) + b"f" if version < (3, 0) else put("f")
    lines = name, struct.pack("<i", 1), put(bytes([len(raw) & 255, 0]) if version == (3, 10) else b"")
    if version >= (3, 11):
        lines = name, name, struct.pack("<i", 1), put(b""), put(b"")
    return b"c" + head + b"".join((put(raw), put(consts), put(names), *variables, name, *lines))


def test_mutations() -> None:
    rng = random.Random(20261122)
    understood = 0
    for _ in range(2000):
        data = bytearray(rng.choice(BLOBS))
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            place = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[place] = rng.randrange(256)
            elif kind == 1:
                data[place] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del data[place : place + rng.randrange(1, 5)]
                data += b"c" if not data else b""
            else:
                data[place:place] = rng.choice((b"\xff\xff\xff\x7f", b"r\0\0\0\0", b"\x64\x00", b"(\x02\0\0\0"))
        understood += judge(bytes(data)) is not None
    assert 0 < understood < 1000


def test_truncations() -> None:
    for data in BLOBS[:: len(BLOBS) // 12]:
        for length in range(len(data)):
            assert judge(data[:length]) is None
        assert judge(data + b"\0") is None


def test_what_is_no_code() -> None:
    for value in (None, 1, 1.5, "text", b"bytes", (1, 2), [], {}, {1}, frozenset(), 1j, ..., True, 1 << 90):
        assert judge(marshal.dumps(value)) is None
    for data in (b"", b"\0", b"c", b"\xe3", b"\x80\x04\x95", b"c" * 100_000, b"(" * 100_000, b"\xff" * 4096):
        assert judge(data) is None


def test_every_type_code_everywhere() -> None:
    for kind in range(256):
        for tail in (b"", bytes(64), b"\xff" * 64, struct.pack("<i", 3) * 16):
            assert judge(bytes([kind]) + tail) is None
            judge(code(b"\x64\x00\x53\x00", Raw(b"(\x01\0\0\0" + bytes([kind]) + tail)))


def test_deep_and_huge_and_self_referring() -> None:
    returns = b"\x64\x00\x53\x00"
    constants = {
        "deep": b")\x01" * 5000 + b"N",
        "huge tuple": b"(\xff\xff\xff\x7f",
        "negative tuple": b"(\xff\xff\xff\xff",
        "huge string": b"s\xff\xff\xff\x7f",
        "huge text": b"u\x00\x00\x00\x70abc",
        "huge integer": b"l\xff\xff\xff\x7f",
        "long integer": b"l" + struct.pack("<i", 30_000) + b"\xff\x7f" * 30_000,
        "self": b"\xa9\x01r\x00\x00\x00\x00",
        "self in a code": b"\xe3" + bytes(20) + b"r\x00\x00\x00\x00",
        "no such reference": b"r\x05\x00\x00\x00",
        "list": b"[\x01\0\0\0N",
        "dict": b"{NN0",
        "set of tuples": b">\x01\0\0\0)\x01N",
    }
    for constant in constants.values():
        assert judge(code(returns, Raw(b"(\x01\0\0\0" + constant))) is None

    doubling = b"\xa9\x02NN"  # each tuple holds the one before it twice, by reference
    items = [doubling]
    for index in range(40):
        items.append(b"\xa9\x02" + (b"r" + struct.pack("<i", index)) * 2)
    assert judge(code(returns, Raw(b"(" + struct.pack("<i", len(items)) + b"".join(items)))) is None


def test_expressions_that_explode() -> None:
    version = (3, 6)
    doubled = b"\x7c\x00" + b"\x04\x00\x17\x00" * 5000 + b"\x53\x00"  # x + x, and that plus itself, ...
    chained = b"\x7c\x00" + b"\x0b\x00" * 9000 + b"\x53\x00"  # - - - ... x
    tuples = b"\x64\x00" + b"\x04\x00\x66\x02" * 3000 + b"\x53\x00"
    nested = b"\x64\x00" + b"\x66\x01" * 9000 + b"\x53\x00"
    lists = b"\x64\x01" * 200 + b"\x95\xc8" + b"\x53\x00"  # 200 times the 10,000 items of a constant
    for raw in (doubled, chained, tuples, nested, lists):
        assert judge(code(raw, (None, tuple(range(10_000))), version=version)) is None
    text = "y" * 60_000
    repeated = b"\x64\x00" * 900 + b"\x90\x03\x66\x84\x53\x00"
    assert judge(code(repeated, (text,), version=version)) is None


def jump(opcode: int, target: int) -> bytes:
    """An absolute jump of 3.6, always as long."""
    return bytes([0x90, target >> 8, opcode, target & 255])


def test_ladders_of_branches() -> None:
    """Many ways open at once: tests that never meet again, that all meet in one place, that meet at once."""
    for count in (50, 90, 150, 1500):
        if count < 1500:
            ends = b"".join(b"\x7c\x00" + jump(0x72, 6 * count + 4 * i) for i in range(count))
            judge(code(ends + b"\x64\x00\x53\x00" * (count + 1)))
        one = b"".join(b"\x7c\x00" + jump(0x72, 6 * count) for _ in range(count)) + b"\x7c\x00\x53\x00"
        judge(code(one))
        many = tuple(f"v{i}" for i in range(250))
        stores = b"".join(b"\x7c\x00\x7d" + bytes([i]) for i in range(1, 250))
        body = stores
        for i in range(count):  # if x: v_i = x + v_(i - 1) else: v_i = x - v_(i - 1)
            here, place = len(body), i % 248 + 1
            other = b"\x7c\x00\x7c" + bytes([place]) + b"\x18\x00\x7d" + bytes([place + 1])
            this = other.replace(b"\x18", b"\x17") + jump(0x71, here + 26)
            body += b"\x7c\x00" + jump(0x72, here + 18) + this + other
        judge(code(body + b"\x7c\x05\x53\x00", varnames=("x", *many)))


@pytest.mark.parametrize("version", OPCODES, ids=str)
def test_every_opcode(version: tuple[int, int]) -> None:
    """Every number with several arguments, on stacks of several depths."""
    names, wide, understood = numbered(version), version >= (3, 6), 0
    numbers = {name: number for number, name in names.items()}

    def word(number: int, arg: int) -> bytes:
        if wide:
            return bytes([number, arg]) + bytes(2 * CACHE.get(version, {}).get(names.get(number, ""), 0))
        argument = bytes([arg, 0]) if number >= 90 else b""
        return bytes([number]) + argument

    begin = word(numbers["RESUME"], 0) if version >= (3, 11) else b""
    load, end = word(numbers["LOAD_FAST"], 0), word(numbers["RETURN_VALUE"], 0)
    for number in range(256):
        for arg in (0, 1, 2, 3, 5, 8, 16, 26, 255):
            for depth in (0, 1, 2, 3, 4):
                raw = begin + load * depth + word(number, arg) + end
                understood += judge(code(raw, (None, ("x",), 1.5), version=version)) is not None
    assert understood > 50


def numbered(version: tuple[int, int]) -> dict[int, str]:
    names, number = {}, 0
    for text in OPCODES[version].split():
        if text.isdecimal():
            number = int(text)
        else:
            names[number] = text
            number += 1
    return names


def test_names_that_are_no_names() -> None:
    for name in ("os; import os", "a b", "lambda", "", "a.b", "x\n", "\u202ex", "ﬁ", "True", "y" * 300, "1"):
        raw = b"\x74\x00\x53\x00"
        assert judge(code(raw, names=(name,))) is None
        raw = b"\x74\x00\x64\x00\x64\x01\x8d\x01\x53\x00"
        assert judge(code(raw, ("a", (name,)))) is None
    assert judge(code(b"\x74\x00\x53\x00", names=("os",))) == "lambda x: os"


def test_a_payload_is_shown_and_not_run() -> None:
    payload = compile("lambda x: __import__('os').system('touch canary') or x", "f", "eval").co_consts[0]
    assert judge(marshal.dumps(payload)) == "lambda x: __import__('os').system('touch canary') or x"


def test_no_python_wrote_two_layouts() -> None:
    for data in BLOBS:
        assert len(read_code(data)) == 1
