"""What each runtime computes fastest, as measured: docs/lowering-notes.md has the figures."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final

__all__ = ["PREFERENCES", "Preference", "Target"]


class Target(enum.StrEnum):
    """A runtime and the arithmetic it is to use. `litert-weights`: small weights, float activations. Where activations
    are quantised, calling a shared MLP once or twice decides how they are rounded, so either form is a row."""

    LITERT_FLOAT = "litert-float"
    LITERT_WEIGHTS = "litert-weights"
    LITERT_INT8 = "litert-int8"
    LITERT_INT8_MERGED = "litert-int8-merged"
    LITERT_INT16X8 = "litert-int16x8"
    LITERT_INT16X8_TWICE = "litert-int16x8-twice"
    ONNXRUNTIME = "onnxruntime"


@dataclasses.dataclass(frozen=True, slots=True)
class Preference:
    """What is fastest in one target, by the size of the map.

    Attributes:
        merged_from: channels from which the MLP is called once on both vectors; None: never.
        two_step_from: channels from which the maximum over the map is taken by rows first; None: never.
        apart: the pooled maps are convolved apart.
        whole_row: a map up to this wide is one block of the spatial convolution.
        blocks: widths of a block to choose from on wider maps, the best first.
        groups: columns of input read as channels to choose from, the best first.
        mean_convolved_to: channels up to which the mean over the channels is a 1x1 convolution; 0: never.
        channels_last: channels-first layers are run channels last.
        winograd_from: channels in and out from which a 3x3 convolution is computed by Winograd's F(2, 3); None: never.
        pairs_columns: a convolution with a stride of two over up to four channels takes two columns as one.
    """

    merged_from: int | None = None
    two_step_from: int | None = None
    apart: bool = True
    whole_row: int = 16
    blocks: tuple[int, ...] = (16, 14, 12, 8, 20, 10, 28, 24, 32, 18, 15, *range(9, 33), 7, 6, 5, 4)
    groups: tuple[int, ...] = (4, 2, 1)
    mean_convolved_to: int = 0
    channels_last: bool = True
    winograd_from: int | None = None
    pairs_columns: bool = False


_INT8: Final = Preference(groups=(8, 7, 4, 2, 1), mean_convolved_to=32, pairs_columns=True)

PREFERENCES: Final[Mapping[Target, Preference]] = {
    Target.LITERT_FLOAT: Preference(merged_from=1, two_step_from=512, winograd_from=48),
    Target.LITERT_WEIGHTS: Preference(merged_from=1, two_step_from=512),
    Target.LITERT_INT8: _INT8,
    Target.LITERT_INT8_MERGED: dataclasses.replace(_INT8, merged_from=1),
    Target.LITERT_INT16X8: Preference(merged_from=1),
    Target.LITERT_INT16X8_TWICE: Preference(),
    Target.ONNXRUNTIME: Preference(merged_from=1),
}
