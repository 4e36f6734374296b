"""A code object as data: what the reader of marshalled bytecode gives, its limits and its errors."""

from __future__ import annotations

import dataclasses
import keyword
import unicodedata
from typing import Final

from converters.errors import ModelError

__all__ = [
    "BytecodeError",
    "BytecodeLimits",
    "Code",
    "ConstantSlice",
    "Version",
    "WrongVersion",
    "is_name",
]

Version = tuple[int, int]

_VARARGS: Final = 0x04
_VARKEYWORDS: Final = 0x08


class BytecodeError(ModelError):
    """Stored bytecode that is damaged, hostile, or beyond what is understood."""


class WrongVersion(BytecodeError):  # noqa: N818 - a finding about one reading of several
    """Bytecode that the Python version assumed for it could not have written."""


@dataclasses.dataclass(frozen=True)
class BytecodeLimits:
    """Real Lambdas stay far below each of these; whatever exceeds one is refused.

    size: bytes of the marshalled data. depth: of nesting in it. objects: in it, where a reference counts as much as
    what it refers to, and text as one more per 16 characters. string: bytes of one string. digits: 15-bit digits of an
    integer. steps: instructions evaluated. paths: ways through the branches that are open at once. nodes, levels: size
    and nesting of the resulting expression, where a local counts as often as it is used.
    """

    size: int = 1 << 20
    depth: int = 20
    objects: int = 50_000
    string: int = 1 << 16
    digits: int = 70
    steps: int = 20_000
    paths: int = 64
    nodes: int = 10_000
    levels: int = 100


@dataclasses.dataclass(frozen=True)
class ConstantSlice:
    """A slice among the constants, as Python 3.14 stores them."""

    start: object
    stop: object
    step: object


@dataclasses.dataclass(frozen=True)
class Code:
    """A function as stored. The file name, which would tell of its author's machine, is not kept.

    varnames begins with the arguments: `argcount` positional ones (the first `posonly` by position only), then
    `kwonly`, then *args and **kwargs if `flags` say so. slots and derefs are what the indices of local-variable and of
    closure instructions count in. lines is the table of line numbers; handlers, that of exceptions. windows: whether
    the file name was one of Windows; None where it does not tell.
    """

    name: str
    argcount: int
    posonly: int
    kwonly: int
    names: tuple[str, ...]
    consts: tuple[object, ...]
    varnames: tuple[str, ...]
    freevars: tuple[str, ...]
    cellvars: tuple[str, ...]
    slots: tuple[str, ...]
    derefs: tuple[str, ...]
    bytecode: bytes
    flags: int
    stacksize: int
    lines: bytes = b""
    handlers: bytes = b""
    windows: bool | None = None

    @property
    def varargs(self) -> bool:
        return bool(self.flags & _VARARGS)

    @property
    def varkeywords(self) -> bool:
        return bool(self.flags & _VARKEYWORDS)


def is_name(name: str) -> bool:
    """Whether text is a name that means the same wherever it is written."""
    plain = len(name) <= 200 and name.isidentifier() and not keyword.iskeyword(name)
    return plain and unicodedata.normalize("NFKC", name) == name
