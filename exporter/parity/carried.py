"""Rounding of a file's tensors that are none of the model's: what of it those behind them carry."""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from exporter.parity.sums import ADDED
from exporter.parity.traced import MOVED, ROUNDED, FileTensor

_MULTIPLIED = ("Mul", "MUL")


def carried(tensor: FileTensor, tensors: Mapping[str, FileTensor], known: Container[str]) -> float:
    """What rounding in front may move a tensor by, that is in no tensor of the model and so in no prediction.

    Converters multiply in another order: x * gate * gain as x * (gate * gain), of which the product in brackets is then
    rounded to the steps of its own range. Told of sums and products only; of all else nothing is allowed.

    Args:
        tensors: those of the file by name.
        known: names of those that are tensors of the model. What comes after them is predicted from their values.
    """
    total = 0.0
    for name in tensor.sources:
        source = tensors.get(name)
        if source is None or name in known or source.copies in known:
            continue
        before = carried(source, tensors, known)
        # Rounded once more to the same steps it is the same number.
        rounding = max(before, source.rounding) if source.op in MOVED | ROUNDED else before + source.rounding
        total += rounding * _passed_on(tensor, source, tensors) if rounding > 0 else 0.0
    return total


def _passed_on(tensor: FileTensor, source: FileTensor, tensors: Mapping[str, FileTensor]) -> float:
    """By how much an operation makes a difference of one operand larger, or smaller."""
    if tensor.op in MOVED | ROUNDED or tensor.op in ADDED:
        return 1.0
    if tensor.op not in _MULTIPLIED:
        return 0.0
    others = [tensors[name] for name in tensor.sources if name in tensors and name != source.name]
    if len(others) == 1:
        return _size(others[0])
    return _size(tensor) / _size(source) if _size(source) > 0 else 0.0


def _size(tensor: FileTensor) -> float:
    return float(np.max(np.abs(tensor.value), initial=0.0))
