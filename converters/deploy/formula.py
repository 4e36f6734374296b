"""CBAM in NumPy float64, after the paper and apart from every layer: what a recognised block is held against.

Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, equations 1 to 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.deploy.gates import ChannelGate, SpatialGate, value_of

__all__ = ["Array", "Values", "channel_gate", "spatial_gate"]

Array = NDArray[np.float64]
Values = Callable[[Any], Array]
"""A weight as a layer holds it -> its value."""

_GATES: Final[Mapping[str, Callable[[Array], Array]]] = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "hard_sigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
    "hard_sigmoid_keras2": lambda v: np.clip(0.2 * v + 0.5, 0, 1),
    "linear": lambda v: v,
}
_ACTIVATIONS: Final[Mapping[str | None, Callable[[Array], Array]]] = {
    None: lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "sigmoid": _GATES["sigmoid"],
}


def channel_gate(gate: ChannelGate, x: Array, values: Values) -> Array:
    """Equation 2: x (N, H, W, C) -> (N, 1, 1, C)."""
    logits = np.zeros(1)
    for pool, squeeze, excite in zip(gate.pools, gate.squeeze, gate.excite, strict=True):
        vector = x.max((1, 2)) if pool == "max" else x.mean((1, 2))
        hidden = np.maximum(_dense(vector, squeeze, values), 0)
        logits = logits + _ACTIVATIONS[gate.activation](_dense(hidden, excite, values))
    return _GATES[gate.gate](logits)[:, None, None, :]


def spatial_gate(gate: SpatialGate, x: Array, values: Values) -> Array:
    """Equation 3: x (N, H, W, C) -> (N, H, W, 1)."""
    maps = np.stack([x.max(3) if pool == "max" else x.mean(3) for pool in gate.pools], -1)
    size, (_, height, width, _) = gate.kernel_size, x.shape
    kernel = value_of(gate.conv.kernel, values).reshape(size, size, len(gate.pools))
    pad = ((size - 1) // 2, size // 2)
    maps = np.pad(maps, ((0, 0), pad, pad, (0, 0)))
    out = np.zeros(x.shape[:3])
    for row in range(size):
        for column in range(size):
            out += maps[:, row : row + height, column : column + width] @ kernel[row, column]
    if gate.conv.bias is not None:
        out = out + value_of(gate.conv.bias, values)[0]
    if gate.norm is not None:
        norm = gate.norm
        out = (out - values(norm.moving_mean)[0]) / np.sqrt(values(norm.moving_variance)[0] + norm.epsilon)
        out = out * (values(norm.gamma)[0] if norm.scale else 1.0) + (values(norm.beta)[0] if norm.center else 0.0)
    return _GATES[gate.gate](out)[..., None]


def _dense(vector: Array, weights: Any, values: Values) -> Array:
    kernel = values(weights.kernel)
    made = vector @ kernel.reshape(kernel.shape[-2:])
    return made if weights.bias is None else made + values(weights.bias)
