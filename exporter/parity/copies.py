"""Copies of a file's tensors, rounded to other steps: what of their error is theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from exporter.parity.prediction import largest

if TYPE_CHECKING:
    from exporter.parity.matching import Match


def by_their_source(known: Mapping[str, Match]) -> dict[str, Match]:
    """The matches by their file's tensor, those that are rounded copies held against what they copy, where that is in
    the file and right.

    A layer with weights of 8 bits may be off by a tenth of its spread; rounding its result may not, so that a zero
    point that is five steps off is seen. And what the range of that result has clipped, a copy in wider steps has lost
    as well.
    """
    judged = {}
    for name, match in known.items():
        tensor, source = match.file, known.get(match.file.copies)
        quantised = tensor.step > 0 and tensor.low < tensor.high
        judged[name] = match
        if quantised and source is not None and source.layer is match.layer and source.agrees:
            error = largest(match.value, np.clip(source.value, tensor.low, tensor.high))
            wider = tensor.low <= source.file.low and source.file.high <= tensor.high
            if (match.agrees and error > tensor.rounding) or (not match.agrees and wider and error <= tensor.rounding):
                judged[name] = dataclasses.replace(match, error=error, allowed=tensor.rounding)
    return judged
