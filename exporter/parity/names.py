"""Which layers the name of a file's tensor speaks of: a hint, since converters join, number and drop names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NUMBER: Final = re.compile(r"_\d+$")
_OUTPUT: Final = re.compile(r":\d+(?=/|$)|:.*$")
"""Which output of an operation a tensor is: `scope/mark:0`, or inside a lowered block `scope/mark:0/Conv_8`."""


class Names:
    """Layers by the names that a converter leaves in a file."""

    def __init__(self, layers: Iterable[str]) -> None:
        self._exact = {name: [name] for name in layers}
        self._loose: dict[tuple[str, ...], list[str]] = {}
        for name in list(self._exact):
            self._exact.setdefault(name.rpartition("/")[0], []).append(name)
            whole, own = _key(name), _key(name, numbered=True)
            # With and without the scope of the model itself; the scope of a layer stands for all that is in it.
            for key in dict.fromkeys((own, own[1:], whole, whole[1:], whole[:-1], whole[1:-1])):
                if key:
                    self._loose.setdefault(key, []).append(name)

    def hints(self, name: str) -> list[str]:
        """The layers that a tensor's name speaks of."""
        found: dict[str, None] = {}
        for part in (_OUTPUT.sub("", part) for part in name.split(";")):
            scope = part.rpartition("/")[0]
            found |= dict.fromkeys(self._exact.get(part) or self._exact.get(scope) or self._like(part))
        return list(found)

    def _like(self, part: str) -> list[str]:
        key = _key(part)
        # The number of an operation tells it from its like in the same scope; that of a layer depends on the process.
        for tried in (_key(part, numbered=True), key, key[:-1]):
            for start in range(len(tried)):  # the model may stand in others, in the file
                if tried[start:] in self._loose:
                    return self._loose[tried[start:]]
        return []


def _key(name: str, numbered: bool = False) -> tuple[str, ...]:
    """The scopes of a name without the numbers that keep them apart; `numbered`: the last with its own."""
    *scopes, last = name.split("/")
    return (*(_NUMBER.sub("", scope) for scope in scopes), last if numbered else _NUMBER.sub("", last))
