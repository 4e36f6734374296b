"""The kinds of cases, how often each comes, and the sweeps that leave no opcode and no type code out."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from fuzzing import marshalled, programs
from fuzzing.attacks import of_attack
from fuzzing.case import Case, Draw
from fuzzing.configs import (
    of_arguments,
    of_blob,
    of_expression,
    of_junk,
    of_mutation,
    of_node,
    of_raw,
    with_code,
)
from fuzzing.containers import of_other, of_text, of_zip
from fuzzing.hdf5_files import of_fixture, of_hdf5
from fuzzing.marshalled import Version
from fuzzing.templates import Templates
from fuzzing.valid import of_valid

Pair = tuple[Version, int]


def _of_marshal(draw: Draw, templates: Templates) -> Case:
    make = draw.choice((marshalled.damaged_code, marshalled.damaged_code, marshalled.extreme))
    return with_code(base64.b64encode(make(draw, draw.choice(marshalled.versions()))).decode(), draw)


def _of_program(draw: Draw, templates: Templates) -> Case:
    return with_code(base64.b64encode(programs.program(draw, draw.choice(marshalled.versions()))).decode(), draw)


# What a case is made of, and how often it comes beside the others. Whole files go in by the public door.
KINDS: Final[dict[str, tuple[Callable[[Draw, Templates], Case], float]]] = {
    "expression": (of_expression, 21.0), "blob": (of_blob, 10.0), "marshal": (_of_marshal, 5.0),
    "program": (_of_program, 8.0), "arguments": (of_arguments, 3.0), "raw": (of_raw, 5.0), "node": (of_node, 3.0),
    "mutation": (of_mutation, 10.0), "junk": (of_junk, 3.0), "text": (of_text, 1.5), "valid": (of_valid, 7.0),
    "attack": (of_attack, 0.8), "zip": (of_zip, 0.8), "other": (of_other, 0.3), "hdf5": (of_hdf5, 1.3),
    "fixture": (of_fixture, 0.8),
}  # fmt: skip
# One case for each version and number from 0 to 255.
SWEEPS: Final[dict[str, Callable[[Draw, Version, int], bytes]]] = {
    "opcode": programs.of_opcode, "type": marshalled.of_type,
}  # fmt: skip
_SWEPT: Final = 16.3  # each, as the numbers above


class Cases:
    """Cases without end. swept: what each sweep has had so far."""

    def __init__(self, draw: Draw, templates: Templates, kinds: Iterable[str] = (), ordered: bool = True) -> None:
        """ordered: whether a sweep takes each pair once before it takes any twice; a fuzzer chooses them itself."""
        self.draw, self.templates = draw, templates
        self.weights = {name: weight for name, (_, weight) in KINDS.items()} | dict.fromkeys(SWEEPS, _SWEPT)
        self.weights = {name: self.weights[name] for name in kinds or self.weights}
        self.swept: dict[str, set[Pair]] = {name: set() for name in SWEEPS}
        self._left = {name: self._pairs() if ordered else iter(()) for name in SWEEPS}

    @staticmethod
    def size() -> int:
        """Pairs of one sweep."""
        return 256 * len(marshalled.versions())

    def _pairs(self) -> Iterator[Pair]:
        pairs = [(version, number) for version in marshalled.versions() for number in range(256)]
        self.draw.shuffle(pairs)
        return iter(pairs)

    def next(self) -> tuple[str, Case]:
        (kind,) = self.draw.choices(list(self.weights), list(self.weights.values()))
        if kind in KINDS:
            return kind, KINDS[kind][0](self.draw, self.templates)
        drawn = (self.draw.choice(marshalled.versions()), self.draw.randrange(256))
        version, number = next(self._left[kind], drawn)
        self.swept[kind].add((version, number))
        made = SWEEPS[kind](self.draw, version, number)
        return kind, with_code(base64.b64encode(made).decode(), self.draw)
