"""Ranges that collapsed, made wide enough for the kernels that compute with them.

A unit that never fires on the calibration data (a ReLU behind the second dense layer of a channel gate makes them
likely) leaves a tensor with a range of 1e-12 or 0. Its scale is then so small that XNNPACK refuses the file when it is
opened: its kernels take only certain ratios of scales. A floor costs nothing as long as one step of a tensor stays
finer than what its operation can tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from converters.quantise.flatbuffer import Graph, Operation
from converters.quantise.ranges import Range

SMALLEST_SCALE: Final = 1e-8
"""What no scale may be below: the issue's limit, and far above what makes runtimes fail (4e-12 was seen)."""

_FINER: Final = 64.0
"""How many times finer than the coarsest step of what an operation sums its result may be stored. XNNPACK takes up to
256 for sums and products of int8; a result stored 64 times finer than it is computed loses nothing."""

_PRODUCTS: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL"})
_SUMS: Final = frozenset({"ADD", "SUB", "MAXIMUM", "MINIMUM"})
_ALIKE: Final = frozenset({"MEAN", "SUM", "AVERAGE_POOL_2D", "RELU", "RELU6", "LEAKY_RELU", "PRELU", "QUANTIZE"})


def floored(
    graph: Graph, ranges: Mapping[str, Range], constants: Mapping[str, np.ndarray], levels: int
) -> tuple[dict[str, Range], tuple[str, ...]]:
    """The ranges with those that are too narrow for their operation widened, and the names of these.

    Args:
        graph: of the float model.
        ranges: low <= 0 <= high, by tensor.
        constants: the model's float weights, by tensor.
        levels: steps between the ends of a range: 255 for int8, 65534 for int16.
    """
    wide = dict(ranges)

    def step(name: str) -> float:
        low, high = wide[name]
        return (high - low) / levels

    def widen(name: str, least: float) -> None:
        least = max(least, 2 * SMALLEST_SCALE)
        if name in wide and step(name) < least:
            low, high = wide[name]
            missing = least * levels - (high - low)
            # Kept symmetric where it was, and on the side it has where it has one.
            wide[name] = (low - missing / 2, high + missing / 2) if low == -high != 0 else (low, high + missing)

    for tensor in graph.inputs:
        widen(tensor.name, 0.0)
    for operation in graph.operations:
        for tensor in operation.outputs:
            widen(tensor.name, _coarsest(operation, step, wide, constants) / _FINER)
    for operation in reversed(graph.operations):
        # An addend stored far finer than the sum adds nothing by it, and the kernels' ratio is limited this way too.
        if operation.name in _SUMS:
            for tensor in operation.inputs:
                widen(tensor.name, step(operation.outputs[0].name) / 8 / _FINER)
    if any(low == -high for low, high in ranges.values()):
        wide = {name: _symmetric(end) if ranges[name][0] == -ranges[name][1] else end for name, end in wide.items()}
    return wide, tuple(name for name in wide if wide[name] != ranges[name])


def _symmetric(end: Range) -> Range:
    side = max(-end[0], end[1])
    return -side, side


def _coarsest(
    operation: Operation, step: object, wide: Mapping[str, Range], constants: Mapping[str, np.ndarray]
) -> float:
    """The coarsest step of what the operation adds up."""
    assert callable(step)
    given = [step(tensor.name) for tensor in operation.inputs if tensor.name in wide]
    if not given:
        return 0.0
    if operation.name in _PRODUCTS and operation.inputs[1].name in constants:
        return float(given[0] * np.abs(constants[operation.inputs[1].name]).max(initial=0.0) / 127)
    if operation.name == "MUL":
        fixed = [constants[tensor.name] for tensor in operation.inputs if tensor.name in constants]
        other = float(np.abs(fixed[0]).max(initial=0.0)) / 127 if fixed else given[-1]
        return float(given[0] * other)
    return float(max(given)) if operation.name in _SUMS | _ALIKE else 0.0
