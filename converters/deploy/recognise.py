"""Finds CBAM blocks, channel attention alone and spatial attention alone in any functional Keras model.

By what is computed, not by names: every product of a map and something is asked whether that something is a gate of
CBAM, computed from this map (`refine`, `gates`). Two gates in a row are one block (`assemble`). Each block that is
found is then run with random weights against the formula in NumPy (`proof`), and is dropped if it differs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from converters.deploy.assemble import assemble
from converters.deploy.blocks import Block, Placement
from converters.deploy.flat import Flat, flatten
from converters.deploy.proof import check
from converters.deploy.refine import Lookalike, refinements

__all__ = ["Block", "Lookalike", "Placement", "Recognition", "blocks_of", "check", "recognise"]


@dataclasses.dataclass(frozen=True)
class Recognition:
    """The blocks of a model, in graph order, and the gates that are like CBAM's but not equal to it."""

    blocks: tuple[Block, ...]
    lookalikes: tuple[Lookalike, ...]


def recognise(model: Any, *, proved: bool = True) -> Recognition:
    """Find the attention blocks of a functional or built Sequential model, of the models inside it too.

    Args:
        model: a Keras model; it is not changed, and nothing of it is run but copies of the layers of each block.
        proved: run every block against the formula; a block that fails is a lookalike.

    Raises:
        ModelError: the model is not functional, so its calls are Python code.
    """
    return blocks_of(flatten(model), proved=proved)


def blocks_of(flat: Flat, *, proved: bool = True) -> Recognition:
    """`recognise` for a model that is already flat; the blocks then name its tensors."""
    found, lookalikes = refinements(flat)
    blocks = []
    for block in assemble(flat, found):
        reason = check(block) if proved else ""
        if reason:
            lookalikes.append(Lookalike(block.name, reason))
        else:
            blocks.append(block)
    return Recognition(tuple(blocks), tuple(lookalikes))
