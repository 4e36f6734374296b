"""Reads marshalled code objects, which is how Keras stored the function of a Lambda layer, as data.

Nothing is executed and no code object of this Python is ever made: the result is a plain `Code`. The data does not say
which Python wrote it, so every layout that accounts for all of its bytes is given.

Source of the format: the documented behaviour of CPython's `marshal` (versions 2 to 5), checked on real interpreters.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import struct
from typing import Final

from converters.lambdas.code_object import (
    BytecodeError,
    BytecodeLimits,
    Code,
    ConstantSlice,
    Version,
    WrongVersion,
    is_name,
)
from converters.lambdas.limits import show

__all__ = ["LAYOUTS", "Outline", "Reading", "decode_text", "outline", "read_code"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """A code object as one layout reads it, and the Python versions that use that layout."""

    versions: tuple[Version, ...]
    code: Code


@dataclasses.dataclass(frozen=True)
class Outline:
    """Where one layout finds what, whether or not it can read everything.

    code: None if it cannot. sizes: the spans of sizes, counts, indices and integers, which decide how the bytes behind
    them are read. contents: those of strings that the function's meaning can depend on; codes: those of instructions;
    reals: those of floating-point numbers of 8 bytes.
    """

    code: Code | None
    sizes: tuple[tuple[int, int], ...]
    contents: tuple[tuple[int, int], ...]
    codes: tuple[tuple[int, int], ...]
    reals: tuple[tuple[int, int], ...]


LAYOUTS: Final[tuple[tuple[Version, ...], ...]] = (
    ((2, 7),),
    ((3, 5), (3, 6), (3, 7)),
    ((3, 8), (3, 9), (3, 10)),
    ((3, 11), (3, 12), (3, 13), (3, 14)),
)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_REFERENCED: Final = 0x80
_LOCAL, _CELL, _FREE = 0x20, 0x40, 0x80
_UNFINISHED: Final = object()
_CONTAINERS: Final = {"[": "list", "{": "dict", "<": "set", "S": "StopIteration", "0": "null", "?": "unknown object"}


def decode_text(text: str) -> bytes:
    """The marshalled bytes from a config's string: base64, or the raw_unicode_escape text of the oldest Keras 2.0.

    Raises:
        BytecodeError: if the text is neither.
    """
    packed = "".join(text.split())
    if _BASE64.fullmatch(packed):
        try:
            return base64.b64decode(packed, validate=True)
        except binascii.Error as error:
            raise BytecodeError(f"the stored function is damaged base64 ({error})") from error
    return text.encode("raw_unicode_escape")


def read_code(data: bytes, limits: BytecodeLimits | None = None) -> tuple[Reading, ...]:
    """Every layout's reading of `data` that takes up the whole of it.

    Raises:
        WrongVersion: if there is none.
        BytecodeError: if the data exceeds a limit or does not begin as code does.
    """
    limits = limits or BytecodeLimits()
    if len(data) > limits.size:
        raise BytecodeError(f"the stored function has {len(data)} bytes; at most {limits.size} are read")
    if not data or data[0] & ~_REFERENCED != ord("c"):
        raise BytecodeError("the stored function is not marshalled Python bytecode")
    readings, reasons = [], []
    for versions in LAYOUTS:
        reader = _Reader(data, versions[0], limits)
        try:
            readings.append(Reading(versions, reader.read()))
        except BytecodeError as error:
            reasons.append((reader.position, f"as that of Python {_span(versions)}, {error}"))
    if not readings:  # the layout that went furthest is the likeliest
        raise WrongVersion(f"the stored function is damaged bytecode: {max(reasons)[1]}")
    return tuple(readings)


def outline(data: bytes, versions: tuple[Version, ...], limits: BytecodeLimits) -> Outline:
    """Where the layout of these versions finds what in `data`; see `Outline`."""
    reader = _Reader(data, versions[0], limits)
    try:
        code = reader.read()
    except BytecodeError:
        code = None
    return Outline(code, tuple(reader.sizes), tuple(reader.contents), tuple(reader.codes), tuple(reader.reals))


def _span(versions: tuple[Version, ...]) -> str:
    first, last = (".".join(map(str, version)) for version in (versions[0], versions[-1]))
    return first if first == last else f"{first}-{last}"


class _Reader:
    """One pass over the data in the layout of one Python version."""

    def __init__(self, data: bytes, version: Version, limits: BytecodeLimits) -> None:
        self.data, self.version, self.limits = data, version, limits
        self.position = 0
        self.depth = 0
        self.spent = 0
        self.references: list[tuple[object, int]] = []  # (object, what it counts)
        self.interned: list[str | bytes] = []  # Python 2 refers to interned strings by a list of their own
        self.sizes: list[tuple[int, int]] = []
        self.contents: list[tuple[int, int]] = []
        self.codes: list[tuple[int, int]] = []
        self.reals: list[tuple[int, int]] = []

    def read(self) -> Code:
        code = self.item()
        if not isinstance(code, Code):
            raise BytecodeError("it is not a code object")
        if self.position != len(self.data):
            raise BytecodeError(f"{len(self.data) - self.position} bytes follow its end")
        return code

    def take(self, count: int) -> bytes:
        if count < 0 or self.position + count > len(self.data):
            raise BytecodeError("it is cut short")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, form: str = "<i") -> int:
        size = struct.calcsize(form)
        self.sizes.append((self.position, self.position + size))
        return int(struct.unpack(form, self.take(size))[0])

    def spend(self, count: int) -> None:
        self.spent += count
        if self.spent > self.limits.objects:
            raise BytecodeError(f"it holds more than {self.limits.objects} objects")

    def item(self) -> object:
        kind = self.take(1)[0]
        flagged, char = bool(kind & _REFERENCED), chr(kind & ~_REFERENCED)
        if char == "r":
            return self.referred()
        if flagged and self.version < (3, 0):
            raise BytecodeError(f"it has an unknown type code {kind}")
        index, before = len(self.references), self.spent
        if flagged:
            self.references.append((_UNFINISHED, 0))
        self.spend(1)
        self.depth += 1
        if self.depth > self.limits.depth:
            raise BytecodeError(f"it is nested deeper than {self.limits.depth} levels")
        value = self.value(char)
        self.depth -= 1
        if flagged:
            self.references[index] = (value, self.spent - before)
        return value

    def referred(self) -> object:
        index = self.number()
        if self.version < (3, 0) or not 0 <= index < len(self.references):
            raise BytecodeError("it refers to an object that is not there")
        value, weight = self.references[index]
        if value is _UNFINISHED:
            raise BytecodeError("it holds an object that contains itself")
        self.spend(weight)
        return value

    def value(self, char: str) -> object:
        single = {"N": None, "F": False, "T": True, ".": ...}
        if char in single:
            return single[char]
        if char in "iI":
            return self.number("<i" if char == "i" else "<q")
        if char == "l":
            return self.long()
        if char in "fgxy":
            return self.real(char)
        if char in "stuaAzZR":
            return self.string(char)
        if char in "()>":
            count = self.number("<B") if char == ")" else self.number()
            if not 0 <= count <= len(self.data) - self.position:  # each item takes a byte at least
                raise BytecodeError("it is cut short")
            items = tuple(self.item() for _ in range(count))
            return self.frozen(items) if char == ">" else items
        if char == "c":
            return self.code()
        if char == ":" and self.version >= (3, 11):
            return ConstantSlice(self.item(), self.item(), self.item())
        if char in _CONTAINERS:
            raise BytecodeError(f"it holds a {_CONTAINERS[char]}, which no Python compiler puts there")
        raise BytecodeError(f"it has an unknown type code {char!a}")

    def frozen(self, items: tuple[object, ...]) -> frozenset[object]:
        if not all(isinstance(item, str | bytes | int | float | complex | None) for item in items):
            raise BytecodeError("it holds a set of more than plain values")
        return frozenset(items)

    def long(self) -> int:
        count = self.number()
        if abs(count) > self.limits.digits:
            raise BytecodeError(f"it holds an integer of more than {self.limits.digits} digits of 15 bits")
        value = 0
        for place in range(abs(count)):
            digit = self.number("<H")
            if digit >> 15:
                raise BytecodeError("it holds a damaged integer")
            value |= digit << 15 * place
        return -value if count < 0 else value

    def real(self, char: str) -> float | complex:
        parts = []
        for _ in range(2 if char in "xy" else 1):
            if char in "gy":
                self.reals.append((self.position, self.position + 8))
                parts.append(float(struct.unpack("<d", self.take(8))[0]))
                continue
            text = self.take(self.number("<B"))
            try:
                parts.append(float(text))
            except ValueError as error:
                raise BytecodeError("it holds a damaged number") from error
        return complex(*parts) if len(parts) == 2 else parts[0]

    def string(self, char: str) -> str | bytes:
        if char == "R":
            index = self.number()
            if self.version >= (3, 0) or not 0 <= index < len(self.interned):
                raise BytecodeError("it refers to a string that is not there")
            self.spend(len(self.interned[index]) // 16)
            return self.interned[index]
        if char in "aAzZ" and self.version < (3, 0):
            raise BytecodeError(f"it has an unknown type code {char!a}")
        count = self.number("<B") if char in "zZ" else self.number()
        self.contents.append((self.position, self.position + count))
        raw = self.take(count)
        if count > self.limits.string:
            raise BytecodeError(f"it holds a string of more than {self.limits.string} bytes")
        self.spend(count // 16)
        if char == "s" and self.version >= (3, 0):
            return raw
        try:
            # Python 2's str is bytes: it is text where it is ASCII, as names and options are.
            ascii_only = char in "aAzZ" or (self.version < (3, 0) and char in "st")
            text: str | bytes = raw.decode("ascii") if ascii_only else raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            if self.version >= (3, 0) or char == "u":
                raise BytecodeError("it holds a damaged string") from error
            text = raw
        if char == "t" and self.version < (3, 0):
            self.interned.append(text)
        return text

    def code(self) -> Code:
        numbers = {field: self.number() for field in _fields(self.version)}
        raw = self.item()
        if self.contents and self.contents[-1][1] == self.position:  # not a reference to an earlier one
            self.codes.append(self.contents.pop())
        consts = self.item()
        names = self.names()
        if self.version >= (3, 11):
            slots = derefs = self.names()
            kinds = self.item()
            if not isinstance(kinds, bytes) or len(kinds) != len(slots):
                raise BytecodeError("its variables have no kinds")
            varnames, cellvars, freevars = (
                tuple(name for name, each in zip(slots, kinds, strict=True) if each & kind)
                for kind in (_LOCAL, _CELL, _FREE)
            )
        else:
            varnames, freevars, cellvars = self.names(), self.names(), self.names()
            slots, derefs = varnames, cellvars + freevars
        windows = _is_windows(self.aside())  # the file name itself is dropped
        name = self.aside()
        if self.version >= (3, 11):
            self.aside()  # the qualified name
        self.take(4)  # the first line
        # Only 3.8 to 3.10, which share a layout, are told apart by their tables of lines.
        lines = self.item() if (3, 8) <= self.version < (3, 11) else self.aside()
        handlers = self.item() if self.version >= (3, 11) else b""
        # Python 2's str is what other versions call bytes, and reads as text above where it is ASCII.
        raw, lines = _as_bytes(raw), _as_bytes(lines)
        if not (isinstance(raw, bytes) and isinstance(lines, bytes) and isinstance(handlers, bytes)):
            raise BytecodeError("its instructions are no bytes")
        if not isinstance(consts, tuple) or not isinstance(name, str):
            raise BytecodeError("its constants or its name are of the wrong type")
        code = Code(
            name=name,
            argcount=numbers["argcount"],
            posonly=numbers.get("posonly", 0),
            kwonly=numbers.get("kwonly", 0),
            names=names,
            consts=consts,
            varnames=varnames,
            freevars=freevars,
            cellvars=cellvars,
            slots=slots,
            derefs=derefs,
            bytecode=raw,
            flags=numbers["flags"],
            stacksize=numbers["stacksize"],
            lines=lines,
            handlers=handlers,
            windows=windows,
        )
        _check(code, numbers.get("nlocals", len(varnames)))
        return code

    def aside(self) -> object:
        """An item on whose text the function's meaning does not depend."""
        before = len(self.contents)
        value = self.item()
        del self.contents[before:]
        return value

    def names(self) -> tuple[str, ...]:
        value = self.item()
        if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
            raise BytecodeError("its names are no tuple of strings")
        for name in value:
            if not self.is_name(name):
                raise BytecodeError(f"it holds {show(name)} where a name belongs")
        return value

    def is_name(self, name: str) -> bool:
        if name in ("True", "False", "None"):
            return self.version < (3, 0)  # where they are globals like any other
        # Python 2 calls an argument that is written as a tuple `.0`, and so do comprehensions.
        return is_name(name) or (name.startswith(".") and name[1:].isdecimal() and len(name) < 9)


def _fields(version: Version) -> tuple[str, ...]:
    if version < (3, 0):
        return ("argcount", "nlocals", "stacksize", "flags")
    if version < (3, 8):
        return ("argcount", "kwonly", "nlocals", "stacksize", "flags")
    if version < (3, 11):
        return ("argcount", "posonly", "kwonly", "nlocals", "stacksize", "flags")
    return ("argcount", "posonly", "kwonly", "stacksize", "flags")


def _is_windows(path: object) -> bool | None:
    """Whether the path of a source file is one of Windows; None where that cannot be told."""
    if not isinstance(path, str):
        return None
    if re.match(r"[A-Za-z]:[/\\]|//|\\\\", path):
        return True
    return False if path.startswith("/") else None


def _as_bytes(value: object) -> object:
    return value.encode("ascii", "replace") if isinstance(value, str) else value


def _check(code: Code, nlocals: int) -> None:
    arguments = code.argcount + code.kwonly + code.varargs + code.varkeywords
    counts = (code.argcount, code.posonly, code.kwonly, code.stacksize, code.flags)
    if min(counts) < 0 or code.posonly > code.argcount or arguments > len(code.varnames):
        raise BytecodeError("its numbers of arguments make no sense")
    if nlocals != len(code.varnames) or len(set(code.slots)) != len(code.slots):
        raise BytecodeError("its local variables make no sense")
