r"""Bytecode that Keras wrote on Windows: every byte 0x5c of it, the backslash, was stored as 0x2f, the slash.

It was done for the sake of file names, and hits sizes, constants and instructions as well: 0x5c is the number 92, and
up to Python 3.12 the instruction that unpacks a tuple. Keras has done so since 2.0.5, and 3.15 still does. As all
backslashes are gone from such bytecode, what holds one was not changed.

What was lost is taken from the bytecode itself: of all ways to put backslashes back, those are counted that make sense
and differ in what the function computes.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from converters.lambdas.code_object import BytecodeError, BytecodeLimits, WrongVersion
from converters.lambdas.marshal import LAYOUTS, Outline, outline, read_code
from converters.lambdas.opcodes import opcode_places
from converters.lambdas.symbolic import Decoded, decode, key_of, to_source

__all__ = ["decode_stored"]

_SLASH: Final = 0x2F
_BACKSLASH: Final = 0x5C
_EFFORT: Final = 100_000  # bytes read in trying to mend one function
_SHORT, _LONG = 8, 13  # characters of a number that somebody wrote, and of one that chance made

MENDED: Final = (
    "the bytecode was damaged by Keras on Windows, which stored each byte 0x5c as 0x2f; this is the one way to mend it "
    "that makes sense"
)


def decode_stored(data: bytes) -> tuple[Decoded, tuple[str, ...]]:
    """What marshalled code from a file computes, and what was taken for granted about it.

    Raises:
        BytecodeError: as `symbolic.decode`, or if the bytecode can have been damaged on Windows and does not tell what
            it was before.
    """
    if _BACKSLASH in data or _SLASH not in data:
        return decode(data), ()
    try:
        plain = decode(data)
    except WrongVersion as error:
        return _mended(data, error), (MENDED,)
    windows = {reading.code.windows for reading in read_code(data)}
    if False in windows:
        return plain, ()
    try:
        meanings = _meanings(data)
    except BytecodeError as error:
        raise BytecodeError(f"{error}; as it stands it reads as {to_source(plain.function)}") from error
    others = [meaning for key, meaning in meanings.items() if key != key_of(plain)]
    if others:
        where = "on Windows" if True in windows else "perhaps on Windows"
        raise BytecodeError(
            f"it was written {where}, where Keras stored each byte 0x5c as 0x2f: it reads as "
            f"{to_source(plain.function)}, and may have been {_either(others)}"
        )
    return plain, ()


def _mended(data: bytes, error: WrongVersion) -> Decoded:
    meanings = _meanings(data)
    if not meanings:
        raise error
    if len(meanings) > 1:
        raise BytecodeError(
            "it was damaged by Keras on Windows, which stored each byte 0x5c as 0x2f, and does not tell what it was: "
            f"{_either(list(meanings.values()))}"
        )
    (only,) = meanings.values()
    if isinstance(only, str):
        raise BytecodeError(only)
    return only


def _either(meanings: Sequence[Decoded | str]) -> str:
    return " or ".join(
        "what is not understood" if isinstance(each, str) else to_source(each.function) for each in meanings[:3]
    )


def _meanings(data: bytes) -> dict[str, Decoded | str]:
    """What each way to put backslashes back computes, if it makes sense; of one that is not understood, the reason.

    Raises:
        BytecodeError: there are too many ways.
    """
    found: dict[str, Decoded | str] = {}
    tried: set[bytes] = set()
    effort = 0
    for variant, whole in _variants(data):
        effort += len(data)
        if effort > _EFFORT:
            raise BytecodeError("it may have been damaged on Windows, in more ways than can be tried")
        if not whole or variant in tried:
            continue
        tried.add(variant)
        try:
            decoded = decode(variant)
            found.setdefault(key_of(decoded), decoded)
        except WrongVersion:
            continue
        except BytecodeError as error:
            found.setdefault("", str(error))
    return found


def _variants(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """The data with backslashes put back in each way that is tried, and whether all of it was decided."""
    for layout in LAYOUTS:
        waiting: list[tuple[bytes, frozenset[int]]] = [(data, frozenset())]
        while waiting:
            variant, decided = waiting.pop()
            seen = outline(variant, layout, BytecodeLimits())
            place = next((each for each in _slashes(variant, seen.sizes) if each not in decided), None)
            yield variant, False
            if place is not None:
                # What is read behind a size depends on it, so one is decided at a time.
                waiting += [(variant, decided | {place}), (_put(variant, {place: _BACKSLASH}), decided | {place})]
            elif seen.code is not None and seen.code.windows is not False:
                for version in layout:
                    yield from ((each, True) for each in _contents(variant, seen, version))


def _contents(data: bytes, seen: Outline, version: tuple[int, int]) -> Iterator[bytes]:
    """The data with every choice of bytes in strings, instructions and floating-point numbers."""
    groups: list[list[dict[int, int]]] = []
    for span in seen.codes:
        found = _opcodes(data, span, version)
        if found is None:
            return
        data, certain = found
        groups += [[{}, {place: _BACKSLASH}] for place in _slashes(data, [span]) if place not in certain]
    groups += [[{}, {place: _BACKSLASH}] for place in _slashes(data, seen.contents)]
    groups += [_reals(data, span) for span in seen.reals]
    for choice in itertools.product(*groups):
        yield _put(data, {place: byte for part in choice for place, byte in part.items()})


def _opcodes(data: bytes, span: tuple[int, int], version: tuple[int, int]) -> tuple[bytes, set[int]] | None:
    """The data with those opcodes mended that only one choice makes sense for, and where an opcode is certain."""
    start, stop = span
    code, certain = bytearray(data[start:stop]), set()
    for place, possible in opcode_places(code, version):
        if code[place] != _SLASH:
            continue
        choices = {_SLASH, _BACKSLASH} & possible
        if not choices:
            return None
        if len(choices) == 1:
            certain.add(start + place)
            code[place] = choices.pop()
    return data[:start] + code + data[stop:], certain


def _reals(data: bytes, span: tuple[int, int]) -> list[dict[int, int]]:
    """The ways to mend one floating-point number; where one is a short decimal, none that is a long one."""
    places = list(_slashes(data, [span]))
    ways = [
        dict.fromkeys(chosen, _BACKSLASH)
        for count in range(len(places) + 1)
        for chosen in itertools.combinations(places, count)
    ]
    lengths = [len(repr(struct.unpack("<d", _put(data, way)[span[0] : span[1]])[0])) for way in ways]
    if min(lengths) > _SHORT:
        return ways
    return [way for way, length in zip(ways, lengths, strict=True) if length < _LONG]


def _slashes(data: bytes, spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    return (place for start, stop in spans for place in range(start, min(stop, len(data))) if data[place] == _SLASH)


def _put(data: bytes, changes: dict[int, int]) -> bytes:
    made = bytearray(data)
    for place, byte in changes.items():
        made[place] = byte
    return bytes(made)
