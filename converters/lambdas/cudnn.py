"""Weights of CuDNNLSTM and CuDNNGRU as those of LSTM and GRU, which compute the same with them.

cuDNN keeps each gate's matrix the other way round, and two biases a gate, one for the input and one for the state. An
LSTM adds both; a GRU whose `reset_after` is true has both. The gates stand in the same order. Which of the two a file
holds is seen by the shape of the bias, as Keras 2 itself saw it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["from_cudnn"]

_TRIPLE: Final = ("kernel", "recurrent_kernel", "bias")


def from_cudnn(variables: Sequence[Any], stored: Sequence[Any]) -> list[Any]:
    """The arrays that a file holds for the variables of one layer, those of cuDNN converted.

    variables: of Keras's layer, in the file's order: for an LSTM of u units on c channels kernel (c, 4u),
    recurrent_kernel (u, 4u) and bias (4u,); for a GRU (c, 3u), (u, 3u) and (2, 3u). stored: arrays or datasets, where a
    bias of cuDNN is (8u,) or (6u,).
    """
    made = list(stored)
    if len(variables) != len(made):
        return made
    for at in range(len(made) - 2):
        kernel, recurrent, bias = variables[at : at + 3]
        if tuple(str(each.name) for each in (kernel, recurrent, bias)) != _TRIPLE or len(recurrent.shape) != 2:
            continue
        units, width = recurrent.shape
        gates = {(4 * units, (4 * units,)): 4, (3 * units, (2, 3 * units)): 3}.get((width, tuple(bias.shape)))
        if gates is None or tuple(made[at + 2].shape) != (2 * width,):
            continue
        shapes = [tuple(each.shape) for each in made[at : at + 2]]
        if shapes != [tuple(kernel.shape), tuple(recurrent.shape)]:
            continue
        both = np.asarray(made[at + 2]).reshape(2, width)
        made[at] = _by_gate(np.asarray(made[at]), gates, lambda gate: gate.T.reshape(gate.shape, order="F"))
        made[at + 1] = _by_gate(np.asarray(made[at + 1]), gates, lambda gate: gate.T)
        made[at + 2] = both.sum(axis=0) if gates == 4 else both
    return made


def _by_gate(array: np.ndarray, gates: int, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.concatenate([change(gate) for gate in np.split(array, gates, axis=1)], axis=1)
