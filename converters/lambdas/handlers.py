"""The exception tables of Python 3.11 and later: which of their entries only tidy up and raise the same error again."""

from __future__ import annotations

from collections.abc import Sequence

from converters.lambdas.code_object import WrongVersion
from converters.lambdas.opcodes import Instruction

__all__ = ["only_raise"]


def only_raise(table: bytes, listing: Sequence[Instruction]) -> bool:
    """Whether every handler is that of a comprehension or a generator, which restores variables and raises again."""
    places = {each.offset: index for index, each in enumerate(listing)}
    return all(target in places and _raises(listing[places[target] :]) for target in _targets(table))


def _targets(table: bytes) -> set[int]:
    found: set[int] = set()
    numbers: list[int] = []
    for byte in table:
        if byte & 0x80 or not numbers:  # an entry begins
            numbers = [] if byte & 0x80 else numbers
            if not byte & 0x80:
                raise WrongVersion("its exception table is damaged")
            numbers.append(0)
            if len(found) > 10_000:
                raise WrongVersion("its exception table is too long")
        numbers[-1] = numbers[-1] << 6 | byte & 0x3F
        if len(numbers) > 4:
            raise WrongVersion("its exception table is damaged")
        if not byte & 0x40:
            if len(numbers) == 3:
                found.add(2 * numbers[2])
            numbers.append(0)
    if len(numbers) != 5:
        raise WrongVersion("its exception table is damaged")
    return found


def _raises(rest: Sequence[Instruction]) -> bool:
    names = [each.name for each in rest]
    if names[:1] == ["CALL_INTRINSIC_1"] and rest[0].arg == 3:
        return names[1:2] == ["RERAISE"]
    for name in names:
        if name == "RERAISE":
            return True
        if name not in ("SWAP", "POP_TOP", "STORE_FAST", "STORE_FAST_STORE_FAST"):
            return False
    return False
