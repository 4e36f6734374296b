"""Biases that make up for what rounding the weights shifts on average.

A weight stored in 8 bits is off by up to half a step. The sum of these errors times the mean of the inputs is a number
added to each output channel: sum((w' - w) * E[x]). It is known before the conversion, and the bias can take it up
(Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", section 4.2; here with the
mean measured on the calibration data, per use of a layer).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from converters.quantise import flatbuffer

_CHANNELS: Final[Mapping[str, int]] = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The axis of the weights that has the output channels, each with a scale of its own."""

STEPS: Final = 127
"""Of a weight on either side of zero."""


def correct_biases(content: bytes, means: Mapping[str, np.ndarray]) -> bytes:
    """A float file whose biases make up for the rounding of its weights to 8 bits.

    Args:
        means: of each computed tensor on the calibration data, by its last axis.
    """
    model = flatbuffer.read(content)
    graph = model.subgraphs[0]
    names, constants = flatbuffer.tensor_names(graph), flatbuffer.constant_values(model)
    for operation in graph.operators:
        kind = flatbuffer.operation_name(model, operation)
        inputs = [int(index) for index in operation.inputs]
        if kind not in _CHANNELS or names[inputs[1]] not in constants or names[inputs[0]] not in means:
            continue
        weights, mean = constants[names[inputs[1]]], means[names[inputs[0]]]
        shift = mean_shift(weights, mean, _CHANNELS[kind])
        if shift is None:
            continue
        bias = inputs[2] if len(inputs) > 2 and inputs[2] >= 0 else None
        if bias is not None and names[bias] not in constants:
            continue
        value = (constants[names[bias]] if bias is not None else np.zeros(len(shift), np.float32)) - shift
        like = bias if bias is not None else inputs[1]
        added = flatbuffer.add_tensor(model, like, "/corrected", value.astype(np.float32))
        operation.inputs = np.array([*inputs[:2], added, *inputs[3:]], np.int32)
    return flatbuffer.write(model)


def mean_shift(weights: np.ndarray, mean: np.ndarray, channels: int) -> Any:
    """What rounding the weights to 8 bits, one scale a channel, adds to each output channel on average, float64; None
    where `mean` does not fit the weights."""
    others = tuple(axis for axis in range(weights.ndim) if axis != channels)
    scale = np.abs(weights).max(axis=others, keepdims=True) / STEPS
    scale = np.where(scale == 0, 1.0, scale).astype(np.float64)
    error = np.rint(weights / scale) * scale - weights
    if channels == weights.ndim - 1:  # depthwise: an output channel reads one input channel only
        multiplier, rest = divmod(weights.shape[-1], len(mean))
        return None if rest else error.sum(axis=others) * np.repeat(mean, multiplier)
    return None if weights.shape[-1] != len(mean) else (error * mean).sum(axis=others)
