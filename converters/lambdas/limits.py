"""How much of a model file is believed, and how its text is shown."""

from __future__ import annotations

import dataclasses

__all__ = ["Limits", "is_bomb", "line", "show"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Real models stay far below each of these; whatever exceeds one is refused.

    config_bytes: of the model config as JSON text. values: in it, each of which takes far more memory than its text.
    depth: of nesting within it. members: of a zip archive.
    objects: groups and tensors of an HDF5 file. bomb_bytes, bomb_ratio: a member, or all tensors together, may declare
    at most `bomb_ratio` times the bytes that are stored for it, once it declares more than `bomb_bytes`. seconds: for
    reading one HDF5 file from end to end, by the clock; rate: bytes of it for each second of processor time that this
    may take beyond the first.
    """

    config_bytes: int = 64 << 20
    values: int = 1_000_000
    depth: int = 200
    members: int = 10_000
    objects: int = 200_000
    bomb_bytes: int = 32 << 20
    bomb_ratio: int = 20
    seconds: float = 300.0
    rate: int = 2 << 20


def is_bomb(declared: int, stored: int, limits: Limits) -> bool:
    """Whether `declared` bytes are too many for the `stored` ones."""
    return declared > limits.bomb_bytes and declared > limits.bomb_ratio * stored


def show(text: object, width: int = 120) -> str:
    """Text from a file as one printable line of an error message, quoted and cut to `width` characters."""
    line = repr(str(text))
    return line if len(line) <= width else line[: width - 4] + "...'"


def line(text: object, width: int = 10_000) -> str:
    """Text with parts of a file in it as one printable line, cut to `width` characters."""
    plain = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(str(text).split()))
    return plain if len(plain) <= width else plain[: width - 3] + "..."
