"""Adding without a fault of Keras: on TensorFlow `ops.add` takes a second operand of one axis for a bias.

Where it has a single axis of size n > 1, and n is the size of the first operand's axis 1 or last axis, it is added
along that axis, wherever its own stands (seen in Keras 3.15.1: to zeros((3, 3)), [[0], [1], [2]] adds 0, 1 and 2 to the
columns).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["adds_rightly"]

Sizes = Sequence[int | None]


def adds_rightly(first: Sizes, second: Sizes) -> bool:
    """Whether `ops.add` of these shapes is surely right, whatever the open sizes become."""
    if len(first) < 2 or tuple(first) == tuple(second):
        return True
    places = [axis - len(second) for axis, size in enumerate(second) if size is not None and size > 1]
    if len(places) > 1 or not places:
        return len(places) > 1 or None not in second
    size, last, channels = second[places[0]], first[-1], first[1]
    if size not in (last, channels) and None not in (last, channels):
        return True
    if len(second) > len(first):
        return False
    if size == last:
        return places[0] == -1
    return last is not None and size == channels and places[0] == 1 - len(first)
