"""Marshalled data made from scratch: every type code of every version, right, lying, deep, huge, and within itself."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fuzzing.case import Draw

Version = tuple[int, int]

# Every type code that a CPython from 2.7 to 3.14 reads: `:` is of 3.14, `R` and `S` with a meaning of its own of 2.7.
TYPES: Final = "0NFTS.iIfgxylstuaAzZ()[{<>cr:R?"
REFERENCED: Final = 0x80
_COUNTS: Final = (0, 1, 2, 3, -1, 255, 65536, 10**6, 2**31 - 1, -(2**31))
_TEXTS: Final = (b"", b"x", b"axis", b"1", b"K", b"max", b"\xff\xfe", b"\xed\xa0\x80", b"os.system", b"\0", b"y" * 300)
_NUMBERS: Final = (b"1.5", b"nan", b"inf", b"-1e400", b"-0", b"x", b"1_0", b"0x1p3", b"\xff", b" 1 ", b"")
_DOUBLES: Final = (0.0, -0.0, 1.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_INTEGERS: Final = (0, 1, -1, 2, 3, 4, 255, 2**31 - 1, -(2**31))


@functools.cache
def versions() -> tuple[Version, ...]:
    from converters.lambdas.opcode_tables import OPCODES

    return tuple(OPCODES)


@functools.cache
def numbered(version: Version) -> dict[str, int]:
    """The opcodes of a version: name -> number."""
    from converters.lambdas.opcode_tables import OPCODES

    found, number = {}, 0
    for text in OPCODES[version].split():
        if text.isdecimal():
            number = int(text)
        else:
            found[text] = number
            number += 1
    return found


def packed(form: str, *values: float) -> bytes:
    return struct.pack(f"<{form}", *values)


def text(value: str | bytes, version: Version) -> bytes:
    """A name."""
    raw = value.encode() if isinstance(value, str) else value
    return (b"s" if version < (3, 0) else b"u") + packed("i", len(raw)) + raw


def raw_bytes(value: bytes) -> bytes:
    return b"s" + packed("i", len(value)) + value


def group(items: Iterable[bytes], kind: bytes = b"(") -> bytes:
    items = list(items)
    return kind + packed("i", len(items)) + b"".join(items)


def code(
    version: Version,
    raw: bytes,
    consts: bytes = b"(\x01\0\0\0N",
    names: Sequence[str] = ("K", "max", "tf", "x"),
    fields: Mapping[str, bytes] | None = None,
    handlers: bytes = b"",
) -> bytes:
    """A code object of one argument `x`. fields: what stands in the place of parts of it, by name."""
    local = group([text("x", version), text("y", version)])
    parts: dict[str, bytes] = {"argcount": packed("i", 1)}
    if version >= (3, 8):
        parts["posonly"] = packed("i", 0)
    if version >= (3, 0):
        parts["kwonly"] = packed("i", 0)
    if version < (3, 11):
        parts["nlocals"] = packed("i", 2)
    parts |= {"stacksize": packed("i", 50), "flags": packed("i", 67), "raw": raw_bytes(raw), "consts": consts}
    parts["names"] = group(text(name, version) for name in names)
    if version >= (3, 11):
        parts |= {"varnames": local, "kinds": raw_bytes(b"\x20\x20")}
    else:
        parts |= {"varnames": local, "freevars": b"(\0\0\0\0", "cellvars": b"(\0\0\0\0"}
    parts |= {"filename": text("/home/someone/secret.py", version), "name": text("f", version)}
    if version >= (3, 11):
        parts["qualname"] = text("f", version)
    spanned = b"\xfe\0" * (len(raw) // 254) + bytes([len(raw) % 254, 0]) if version == (3, 10) else b""
    parts |= {"line": packed("i", 1), "lines": raw_bytes(spanned)}
    if version >= (3, 11):
        parts["handlers"] = raw_bytes(handlers)
    parts |= {name: value for name, value in (fields or {}).items() if name in parts}
    return b"c" + b"".join(parts.values())


def instruction(version: Version, which: str | int, arg: int = 0) -> bytes:
    """One instruction, by its name or number, with its caches, where the version has them."""
    from converters.lambdas.opcode_tables import CACHE

    number = numbered(version)[which] if isinstance(which, str) else which
    if version < (3, 6):
        return bytes([number]) + (bytes([arg & 255, 0]) if number >= 90 else b"")
    name = next((name for name, each in numbered(version).items() if each == number), "")
    return bytes([number, arg & 255]) + bytes(2 * CACHE.get(version, {}).get(name, 0))


def returning(version: Version, index: int = 0) -> bytes:
    """Instructions that return `x` times a constant."""
    begin = instruction(version, "RESUME") if version >= (3, 11) else b""
    times = ("BINARY_OP", 5) if version >= (3, 11) else ("BINARY_MULTIPLY", 0)
    body = (("LOAD_FAST", 0), ("LOAD_CONST", index), times, ("RETURN_VALUE", 0))
    return begin + b"".join(instruction(version, name, arg) for name, arg in body)


def item(draw: Draw, version: Version, depth: int = 3, char: str | None = None) -> bytes:
    """An object of a kind, or of any; its counts are mostly right, and its content is of every kind below."""
    char = char or draw.choice(TYPES)
    flag = REFERENCED if draw.randrange(4) == 0 else 0
    return bytes([ord(char) & 0x7F | flag]) + _content(draw, version, depth, char)


def _content(draw: Draw, version: Version, depth: int, char: str) -> bytes:
    if char in "iIrR":
        return packed("q" if char == "I" else "i", draw.choice(_INTEGERS))
    if char in "fx":
        return b"".join(bytes([len(each)]) + each for each in draw.choices(_NUMBERS, k=2 if char == "x" else 1))
    if char in "gy":
        return packed("d" * (2 if char == "y" else 1), *draw.choices(_DOUBLES, k=2 if char == "y" else 1))
    if char == "l":
        digits = [draw.choice((0, 1, 0x7FFF, 0x8000)) for _ in range(draw.choice((0, 1, 3, 70, 71)))]
        return packed("i", max(-(2**31) + 1, _count(draw, len(digits))) * draw.choice((1, -1))) + packed(
            "H" * len(digits), *digits
        )
    if char in "stuAa":
        value = draw.choice(_TEXTS)
        return packed("i", _count(draw, len(value))) + value
    if char in "zZ":
        value = draw.choice(_TEXTS)[:255]
        return bytes([_count(draw, len(value)) & 255]) + value
    if char in "([<>)":
        items = [item(draw, version, depth - 1) for _ in range(draw.randrange(4) if depth else 0)]
        count = _count(draw, len(items))
        return (bytes([count & 255]) if char == ")" else packed("i", count)) + b"".join(items)
    if char == "{":
        return b"".join(item(draw, version, depth - 1) for _ in range(2 * draw.randrange(3) if depth else 0)) + b"0"
    if char == ":":
        return b"".join(item(draw, version, max(0, depth - 1)) for _ in range(3)) if depth else b"NNN"
    if char == "c" and depth:
        return damaged_code(draw, version, depth - 1)[1:]
    return b""


def _count(draw: Draw, right: int) -> int:
    return draw.choice(_COUNTS) if draw.randrange(8) == 0 else right


_FIELDS: Final = (
    "argcount", "posonly", "kwonly", "nlocals", "stacksize", "flags", "raw", "consts", "names", "varnames", "kinds",
    "freevars", "cellvars", "filename", "name", "qualname", "line", "lines", "handlers",
)  # fmt: skip
_NUMERIC: Final = ("argcount", "posonly", "kwonly", "nlocals", "stacksize", "flags", "line")


def damaged_code(draw: Draw, version: Version, depth: int = 2) -> bytes:
    """A code object with constants of any kind, and one or two of its fields exchanged."""
    fields = {}
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        name = draw.choice(_FIELDS)
        number = packed("i", draw.choice((*_INTEGERS, 0x0C, 0x23, 2**30)))
        fields[name] = number if name in _NUMERIC else item(draw, version, depth)
    items = [item(draw, version, depth) for _ in range(draw.randrange(1, 4))]
    return code(version, returning(version), group(items), fields=fields)


def of_type(draw: Draw, version: Version, kind: int) -> bytes:
    """A code object with an object of this type code, flag included, among its constants, or in another field."""
    char, flag = chr(kind & 0x7F), kind & REFERENCED
    known = char in TYPES
    content = _content(draw, version, 2, char) if known else draw.choice((b"", bytes(16), b"\xff" * 16, b"\1\0\0\0NN"))
    made = bytes([ord(char) | flag]) + content
    if draw.randrange(4):
        return code(version, returning(version), group([made, b"N"]))
    return code(version, returning(version), fields={draw.choice(_FIELDS[6:]): made})


def extreme(draw: Draw, version: Version) -> bytes:
    """Deep nesting, huge counts, and objects that hold themselves."""
    kind = draw.randrange(7)
    if kind == 0:
        opening = draw.choice((b")\1", b"(\1\0\0\0", b"[\1\0\0\0", b">\1\0\0\0", b"{N", b"\xa9\1", b":"))
        return code(version, returning(version), b"(\1\0\0\0" + opening * draw.choice((10, 19, 20, 500, 50_000)) + b"N")
    if kind == 1:
        char = draw.choice("stuAalc([<>")
        return code(version, returning(version), b"(\1\0\0\0" + char.encode() + packed("i", draw.choice(_COUNTS[4:])))
    if kind == 2:  # holds itself
        opening = draw.choice((b"\xa9\2", b"\xa8\2\0\0\0", b"\xdb\2\0\0\0", b"\xbe\2\0\0\0", b"\xfb", b"\xba"))
        return code(version, returning(version), b"\xa8\1\0\0\0" + opening + (b"r" + packed("i", 1)) * 3 + b"0")
    if kind == 3:  # a function that holds itself
        return b"\xe3" + code(version, returning(version), b"(\1\0\0\0r\0\0\0\0")[1:]
    if kind == 4:  # each holds the one before it twice, by reference
        count = draw.choice((3, 12, 20, 60))
        items = [b"\xa9\2NN", *(b"\xa9\2" + (b"r" + packed("i", index)) * 2 for index in range(count))]
        return code(version, returning(version, min(count, 255)), group(items))
    if kind == 5:  # a function in a function in a function
        made = code(version, returning(version))
        for _ in range(draw.choice((3, 10, 30, 200))):
            made = code(version, returning(version), group([made]))
        return made
    many = draw.choice((b"N", b"i\1\0\0\0", b"s\3\0\0\0abc", b"g" + bytes(8)))
    return code(version, returning(version), group([many] * draw.choice((1000, 49_990, 60_000))))
