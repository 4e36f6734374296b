"""Bytes of a code object -> instructions, by the opcode table of one CPython version.

Whatever that version's compiler could not have written (an unknown opcode, a stray cache entry, a jump into the middle
of an instruction, an index that is out of range) raises `WrongVersion`: the table is not the one the code was made for.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Final

from converters.lambdas.code_object import Code, WrongVersion
from converters.lambdas.opcode_tables import ARGUMENT, CACHE, OPCODES

__all__ = ["BINARY", "COMPARISONS", "VERSIONS", "Instruction", "disassemble", "opcode_places"]

Version = tuple[int, int]
VERSIONS: Final = tuple(sorted(OPCODES))

COMPARISONS: Final = ("<", "<=", "==", "!=", ">", ">=", "in", "not in", "is", "is not", "exception match")
# The argument of BINARY_OP; 13 more are the same in place, and 3.14 adds the subscript.
BINARY: Final = ("+", "&", "//", "<<", "@", "*", "%", "|", "**", ">>", "-", "/", "^")

_JUMPS: Final = ("JUMP", "POP_JUMP", "FOR_ITER", "SEND", "SETUP_LOOP", "SETUP_EXCEPT", "SETUP_FINALLY", "SETUP_WITH")
# Up to 3.10 these jump to a place counted from the start of the code; from 3.11 on every jump is relative.
_ABSOLUTE: Final = ("JUMP_ABSOLUTE", "JUMP_IF", "POP_JUMP", "CONTINUE_LOOP")
_CONSTS: Final = ("LOAD_CONST", "RETURN_CONST", "KW_NAMES")
_NAMES: Final = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "STORE_GLOBAL", "STORE_NAME")
_OPTIMISED: Final = 0x01  # of a code object whose local variables have numbers


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction. arg: with all EXTENDED_ARGs; target: the offset that a jump goes to; next: where it ends."""

    offset: int
    name: str
    arg: int
    next: int
    target: int | None = None


@functools.cache
def _table(version: Version) -> dict[int, str]:
    names, code = {}, 0
    for word in OPCODES[version].split():
        if word.isdecimal():
            code = int(word)
        else:
            names[code] = word
            code += 1
    return names


def disassemble(code: Code, version: Version) -> tuple[Instruction, ...]:
    """The instructions of `code` as CPython `version` would read them.

    Raises:
        WrongVersion: if they are none that this version's compiler writes.
    """
    raw = code.bytecode
    if not raw:
        raise WrongVersion("it has no instructions")
    _check_lines(code, version)
    found = tuple(_words(raw, version) if version >= (3, 6) else _old(raw, version))
    starts = {instruction.offset for instruction in found}
    for instruction in found:
        if instruction.target is not None and instruction.target not in starts:
            raise WrongVersion(f"{instruction.name} jumps to {instruction.target}, where no instruction begins")
        _check_index(instruction, code, version)
    return found


def opcode_places(raw: bytes | bytearray, version: Version) -> Iterator[tuple[int, frozenset[int]]]:
    """The place of each opcode, and which of all opcodes can stand there by the cache entries behind it.

    A place that changes once it has been given decides where the next one is: up to 3.5 opcodes differ in length.
    """
    table, cache = _table(version), CACHE.get(version, {})
    plain = {code for code, name in table.items() if name != "CACHE" and not name.endswith("_NAME")}
    plain |= {code for code, name in table.items() if name == "IMPORT_NAME"}
    cached = frozenset(code for code in plain if cache.get(table[code]))
    at = 0
    while at < len(raw):
        if version < (3, 6):
            yield at, frozenset(plain)
            at += 3 if raw[at] >= ARGUMENT[version] else 1
            continue
        if version < (3, 11) or raw[at] != 0:
            behind = raw[at + 2 : at + 4] == b"\0\0" and version >= (3, 11)
            yield at, cached if behind else frozenset(plain - cached)
        at += 2


def _old(raw: bytes, version: Version) -> Iterator[Instruction]:
    """2.7 and 3.5: one byte, and two more for an argument."""
    table, start, at, extended = _table(version), 0, 0, 0
    while at < len(raw):
        opcode, arg = raw[at], 0
        at += 1
        if opcode >= ARGUMENT[version]:
            if at + 2 > len(raw):
                raise WrongVersion("its last instruction is cut short")
            arg = int.from_bytes(raw[at : at + 2], "little") | extended << 16
            at += 2
        name = _name(table, opcode, start)
        if name == "EXTENDED_ARG":
            if extended or at >= len(raw):
                raise WrongVersion("EXTENDED_ARG is followed by no instruction")
            extended = arg
            continue
        if extended and opcode < ARGUMENT[version]:
            raise WrongVersion(f"{name} takes no argument")
        yield Instruction(start, name, arg, at, _target(name, arg, at, version))
        start, extended = at, 0


def _words(raw: bytes, version: Version) -> Iterator[Instruction]:
    """3.6 and later: a byte and its argument; from 3.11 on followed by cache entries."""
    if len(raw) % 2:
        raise WrongVersion("it has an odd number of bytes")
    table, cache, start, at, extended, prefixes = _table(version), CACHE.get(version, {}), 0, 0, 0, 0
    while at < len(raw):
        opcode, arg = raw[at], raw[at + 1] | extended << 8
        at += 2
        name = _name(table, opcode, start)
        if name == "EXTENDED_ARG":
            extended, prefixes = arg, prefixes + 1
            if prefixes > 3 or at >= len(raw):
                raise WrongVersion("EXTENDED_ARG is followed by no instruction")
            continue
        # The optimisers of 3.10 and later turn instructions into these two kinds and leave the argument behind.
        if opcode < ARGUMENT[version] and arg and not name.startswith(("NOP", "ROT_")):
            raise WrongVersion(f"{name} takes no argument")
        count = 2 * cache.get(name, 0)
        if raw[at : at + count] != bytes(count):
            raise WrongVersion(f"{name} at {start} is not followed by its cache")
        at += count
        yield Instruction(start, name, arg, at, _target(name, arg, at, version))
        start, extended, prefixes = at, 0, 0


def _name(table: dict[int, str], opcode: int, offset: int) -> str:
    name = table.get(opcode)
    if name is None or name == "CACHE":
        raise WrongVersion(f"no instruction has the number {opcode} (at {offset})")
    return name


def _target(name: str, arg: int, after: int, version: Version) -> int | None:
    if not name.startswith(_JUMPS):
        return None
    unit = 2 if version >= (3, 10) else 1
    if version >= (3, 11):
        return after + unit * (-arg if "BACKWARD" in name else arg)
    return unit * arg if name.startswith(_ABSOLUTE) else after + unit * arg


def _check_index(instruction: Instruction, code: Code, version: Version) -> None:
    name, arg = instruction.name, instruction.arg
    if name.endswith("_NAME") and code.flags & _OPTIMISED and name != "IMPORT_NAME":
        raise WrongVersion(f"{name} is none of a function's instructions")
    count = None
    if name in _CONSTS:
        count = len(code.consts)
    elif name in _NAMES:
        shift = (name == "LOAD_GLOBAL" and version >= (3, 11)) or (name == "LOAD_ATTR" and version >= (3, 12))
        arg, count = arg >> shift, len(code.names)
    elif "_DEREF" in name or name in ("LOAD_CLOSURE", "MAKE_CELL"):
        count = len(code.derefs)
    elif name.count("_FAST") == 2:
        arg, count = max(arg >> 4, arg & 15), len(code.slots)
    elif "_FAST" in name:
        count = len(code.slots)
    elif name == "COMPARE_OP":
        arg = arg >> (5 if version >= (3, 13) else 4 if version >= (3, 12) else 0)
        count = len(COMPARISONS) if version < (3, 9) else 6
    elif name == "BINARY_OP":
        count = 2 * len(BINARY) + (version >= (3, 14))
    if count is not None and arg >= count:
        raise WrongVersion(f"{name} at {instruction.offset} asks for number {arg} of {count}")


def _check_lines(code: Code, version: Version) -> None:
    # 3.8 to 3.10 share a layout and most opcodes, but count jumps differently. Their line tables tell them apart: that
    # of 3.10 spans the whole code, the older ones end at the start of the last line.
    if (3, 8) <= version <= (3, 10):
        spanned = sum(code.lines[::2])
        if len(code.lines) % 2 or (spanned == len(code.bytecode)) != (version == (3, 10)):
            raise WrongVersion("its line table is of another version")
