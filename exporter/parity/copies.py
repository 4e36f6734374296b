"""Copies of a file's tensors, rounded to other steps: what of their error is theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from exporter.parity.prediction import largest

if TYPE_CHECKING:
    from exporter.parity.matching import Match


def by_their_source(matches: Iterable[Match]) -> list[Match]:
    """The matches, those that are rounded copies held against what they copy, where that is in the file and right.

    A layer with weights of 8 bits may be off by a tenth of its spread; rounding its result may not, so that a zero
    point that is five steps off is seen.
    """
    matches = list(matches)
    known = {match.file.name: match for match in matches}
    judged = []
    for match in matches:
        tensor, source = match.file, known.get(match.file.copies)
        quantised = tensor.step > 0 and tensor.low < tensor.high
        if quantised and source is not None and source.layer is match.layer and source.agrees and match.agrees:
            error = largest(match.value, np.clip(source.value, tensor.low, tensor.high))
            if error > tensor.rounding:
                match = dataclasses.replace(match, error=error, allowed=tensor.rounding)
        judged.append(match)
    return judged
