"""The spatial convolution over strips of the map, each strip a channel of a depthwise convolution.

A k x k convolution to one channel leaves the vector lanes of a processor empty. Cut into as many strips of rows as
there are lanes, each with the rows above and below that the kernel reaches, all lanes compute the same sums at once,
and none that do not count.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LANES", "Strips", "strips"]

LANES: Final = 16
"""Numbers of 32 bits in a vector register of AVX-512; ONNX Runtime's blocks of channels are of 16 or 8."""


@dataclasses.dataclass(frozen=True, slots=True)
class Strips:
    """How maps of one size are cut.

    Attributes:
        count: strips of a map; height: rows of output of each; the last may lie below the map.
        map_height: rows of a map; pieces: maps; kernel_size: of the kernel.
    """

    count: int
    height: int
    map_height: int
    pieces: int
    kernel_size: int

    def rows(self) -> NDArray[np.int64]:
        """The rows that each strip reads, (pieces * count, height + k - 1), where all maps and a row of zeros lie below
        one another."""
        first = np.arange(self.count)[:, None] * self.height - (self.kernel_size - 1) // 2
        rows = first + np.arange(self.height + self.kernel_size - 1)
        outside = (rows < 0) | (rows >= self.map_height)
        zeros = self.pieces * self.map_height
        return np.concatenate(
            [np.where(outside, zeros, rows + piece * self.map_height) for piece in range(self.pieces)]
        )


def strips(height: int, kernel_size: int, pieces: int) -> Strips:
    """As many strips of each map as fill the lanes together, for `same` with a square kernel."""
    count = LANES // pieces
    return Strips(count, -(-height // count), height, pieces, kernel_size)
