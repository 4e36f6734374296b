"""Copies of a file's tensors, rounded to other steps: what of their error is theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from exporter.parity.prediction import largest

if TYPE_CHECKING:
    from exporter.parity.matching import Match


def as_clipped_before(known: Mapping[str, Match]) -> dict[str, Match]:
    """The matches by their file's tensor. What the range of a result has clipped, its copies in wider steps have lost
    as well."""
    judged = dict(known)
    for name, match in known.items():
        source = _source(match, known)
        if source is None or match.agrees:
            continue
        wider = match.file.low <= source.file.low and source.file.high <= match.file.high
        if wider and (error := _beside(match, source)) <= match.file.rounding:
            judged[name] = dataclasses.replace(match, error=error, allowed=match.file.rounding)
    return judged


def by_their_source(known: Mapping[str, Match]) -> dict[str, Match]:
    """The matches by their file's tensor, those that are rounded copies held against what they copy, where that is in
    the file and right.

    A layer with weights of 8 bits may be off by a tenth of its spread; rounding its result may not, so that a zero
    point that is five steps off is seen.
    """
    judged = dict(known)
    for name, match in known.items():
        source = _source(match, known)
        if source is not None and match.agrees and (error := _beside(match, source)) > match.file.rounding:
            judged[name] = dataclasses.replace(match, error=error, allowed=match.file.rounding)
    return judged


def _source(match: Match, known: Mapping[str, Match]) -> Match | None:
    """What a quantised tensor copies, where that is the same layer's and right."""
    tensor, source = match.file, known.get(match.file.copies)
    quantised = tensor.step > 0 and tensor.low < tensor.high
    return source if quantised and source is not None and source.layer is match.layer and source.agrees else None


def _beside(match: Match, source: Match) -> float:
    return largest(match.value, np.clip(source.value, match.file.low, match.file.high))
