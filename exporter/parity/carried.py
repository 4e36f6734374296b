"""Rounding of a file's tensors that are none of the model's: what of it those behind them carry."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

import numpy as np

from exporter.parity.sums import ADDED
from exporter.parity.traced import MOVED, ROUNDED, FileTensor

_MULTIPLIED: Final = ("Mul", "MUL")
_PASSING: Final = MOVED | ROUNDED | {*ADDED, *_MULTIPLIED}


def carried(tensor: FileTensor, tensors: Mapping[str, FileTensor], known: Container[str]) -> float:
    """What rounding in front may move a tensor by, that is in no tensor of the model and so in no prediction.

    Converters multiply in another order: x * gate * gain as x * (gate * gain), of which the product in brackets is then
    rounded to the steps of its own range. Told of sums and products only; of all else nothing is allowed.

    Args:
        tensors: those of the file by name.
        known: names of those that are tensors of the model. What comes after them is predicted from their values.
    """
    found: dict[str, float] = {}

    def of(each: FileTensor) -> float:
        if each.name not in found:
            found[each.name] = sum(
                rounding(tensors[name]) * _passed_on(each, tensors[name], tensors)
                for name in (each.sources if each.op in _PASSING else ())
                if name in tensors and name not in known and tensors[name].copies not in known
            )
        return found[each.name]

    def rounding(source: FileTensor) -> float:
        before = of(source)
        # Rounded once more to the same steps it is the same number.
        return max(before, source.rounding) if source.op in MOVED | ROUNDED else before + source.rounding

    return of(tensor)


def _passed_on(tensor: FileTensor, source: FileTensor, tensors: Mapping[str, FileTensor]) -> float:
    """By how much an operation makes a difference of one operand larger, or smaller."""
    if tensor.op not in _MULTIPLIED:
        return 1.0
    others = [tensors[name] for name in tensor.sources if name in tensors and name != source.name]
    if len(others) == 1:
        return _size(others[0])
    return _size(tensor) / _size(source) if _size(source) > 0 else 0.0


def _size(tensor: FileTensor) -> float:
    return float(np.max(np.abs(tensor.value), initial=0.0))
