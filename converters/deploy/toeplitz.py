"""The spatial convolution in blocked form: neighbouring outputs computed as channels.

A k x k convolution to one channel leaves the vector lanes of a processor empty, since kernels spread over output
channels. The same sums as a convolution of groups of `group` columns to blocks of `block` columns fill them: the map
(H, W, 1) is read as (H, W / group, group), the kernel is laid out Toeplitz-wise with zeros, the stride is one
block, and the result (H, W / block, block) is read as (H, W, 1).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from converters.deploy.formula import Array

__all__ = ["Blocking", "blocked_kernel"]


@dataclasses.dataclass(frozen=True, slots=True)
class Blocking:
    """block: columns of output that are channels of one position; group: columns of input. group divides block, and
    block the width of the map, to which columns of zeros are added if need be."""

    block: int
    group: int

    def whole(self, width: int) -> int:
        """The next multiple of the block to a width, in columns."""
        return -(-width // self.block) * self.block

    def __str__(self) -> str:
        return f"{self.block}/{self.group}"


def blocked_kernel(kernel: Array, blocking: Blocking, width: int) -> Array:
    """A kernel (k, k, c, 1) for `same` -> (k, groups, c * group, block) for `same` with the stride (1, block / group).

    The c maps are grouped each for itself and then lie side by side.

    `same` pads both sides by as many groups as the kernel has beyond one block, so it is laid out symmetrically; a map
    that is one block wide needs no padding, and columns beyond its edge are left out.
    """
    size, _, pieces, _ = kernel.shape
    block, group = blocking.block, blocking.group
    left, right = (size - 1) // 2, size // 2
    lead = 0 if block == width else -(-max(left, right) // group)
    groups = block // group + 2 * lead
    made = np.zeros((size, groups, pieces, group, block), kernel.dtype)
    for place in range(groups):
        for element in range(group):
            column = (place - lead) * group + element
            for output in range(block):
                tap = column - output + left
                if 0 <= tap < size:
                    made[:, place, :, element, output] = kernel[:, tap, :, 0]
    return made.reshape(size, groups, pieces * group, block)
