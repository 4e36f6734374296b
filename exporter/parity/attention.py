"""The gates of CBAM blocks, artifact beside model: how far apart, how many saturated, how many dead."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from exporter.parity.layers import Arrays, LayerTensor
from exporter.parity.matching import Match
from exporter.parity.prediction import largest

SATURATED: Final = 0.01
"""A gate this near to 0 or to 1 hardly moves with its input any more."""

DEAD: Final = 1e-6
"""A gate that varies by less, from sample to sample and place to place, tells nothing; float32 rounds near 1e-7."""


@dataclasses.dataclass(frozen=True, slots=True)
class GateLine:
    """One gate of one block.

    Attributes:
        block: the block's name; gate: `channel` or `spatial`.
        tensor: its name in the file; None where the file does not hold it, as after a fusion.
        error: largest difference from the model's gate, which is a number from 0 to 1; None without a tensor.
        saturated: share of the values below 0.01 or above 0.99, in the artifact; in the model without a tensor.
        dead: share of the gates (channels of a channel gate, the one map of a spatial gate) that are the same for all
            samples and places; as `saturated`.
        model_saturated, model_dead: the same two of the model.
    """

    block: str
    gate: str
    tensor: str | None
    error: float | None
    saturated: float
    dead: float
    model_saturated: float
    model_dead: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class SpatialMaps:
    """The spatial gate of one block for all samples of a search, (N, H, W) each: the model's own in float64, and the
    artifact's, or None where the file does not hold it."""

    block: str
    model: np.ndarray
    artifact: np.ndarray | None


def spatial_maps(layers: Sequence[LayerTensor], matches: Mapping[str, Match], truth: Arrays) -> tuple[SpatialMaps, ...]:
    """The maps of each block that has a spatial gate, in the order of computation."""
    found = []
    for tensor in layers:
        own = tensor.upright(truth[tensor.name]) if tensor.gate == "spatial" else np.empty(0)
        sizes = [size for size in own.shape[1:] if size != 1]
        if not 0 < len(sizes) <= 2:
            continue
        shape = (len(own), *([1] * (2 - len(sizes))), *sizes)
        match = matches.get(tensor.name)
        given = None if match is None else tensor.upright(np.asarray(match.value)).reshape(shape)
        found.append(SpatialMaps(tensor.block, own.reshape(shape), given))
    return tuple(found)


def gate_lines(layers: Sequence[LayerTensor], matches: Mapping[str, Match], truth: Arrays) -> tuple[GateLine, ...]:
    """A line for each gate of each block, in the order of computation."""
    lines = []
    for tensor in layers:
        if not tensor.gate:
            continue
        match, own = matches.get(tensor.name), truth[tensor.name]
        value = own if match is None else match.value
        lines.append(
            GateLine(
                tensor.block,
                tensor.gate,
                None if match is None else match.file.name,
                None if match is None else largest(match.value, own),
                saturated(value),
                dead(value, tensor.gate),
                saturated(own),
                dead(own, tensor.gate),
            )
        )
    return tuple(lines)


def saturated(gate: np.ndarray) -> float:
    """Share of the values at one of the ends of 0..1."""
    return float(np.mean((gate < SATURATED) | (gate > 1 - SATURATED)))


def dead(gate: np.ndarray, kind: str) -> float:
    """Share of the gates that never move: (N, ..., C) by channel, or one spatial map as a whole."""
    one_each = gate.reshape(len(gate), -1) if kind == "channel" else gate.reshape(-1, 1)
    return float(np.mean(np.ptp(one_each, axis=0) < DEAD))
