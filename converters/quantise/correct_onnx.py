"""`converters.quantise.correct` for ONNX: biases that make up for what rounding the weights shifts on average."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from converters.quantise.correct import STEPS


def correct_biases(source: Path, target: Path, means: Mapping[str, np.ndarray]) -> None:
    """Write the float file `source` again with biases that make up for the rounding of its weights to 8 bits.

    Args:
        means: on the calibration data, by channel (axis 1), of what convolutions and Gemm read.
    """
    model = onnx.load(source)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or node.input[0] not in means or node.input[1] not in constants:
            continue
        has_bias = len(node.input) > 2 and bool(node.input[2])
        if has_bias and node.input[2] not in constants:
            continue
        shift = _shift(node, numpy_helper.to_array(constants[node.input[1]]), means[node.input[0]])
        if shift is None:
            continue
        bias = numpy_helper.to_array(constants[node.input[2]]) if has_bias else np.zeros(len(shift), np.float32)
        if bias.size not in (1, len(shift)):  # Gemm adds any shape that broadcasts; one a row is none of a channel
            continue
        added = numpy_helper.from_array((bias.reshape(-1) - shift).astype(np.float32), f"{node.output[0]}__corrected")
        model.graph.initializer.append(added)
        node.input[:] = [*node.input[:2], added.name]
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, str(target))


def _shift(node: Any, weights: np.ndarray, mean: np.ndarray) -> Any:
    """The mean shift of each output channel; None for attributes or sizes that are not the plain ones."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    groups = 1
    if node.op_type == "Gemm":
        if attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            return None
        weights = weights if attributes.get("transB", 0) else weights.T
    else:
        groups = attributes.get("group", 1)
    if len(mean) != groups * weights.shape[1] or weights.shape[0] % groups:
        return None
    flat = weights.reshape(*weights.shape[:2], -1).astype(np.float64)
    scale = np.abs(flat).max(axis=(1, 2), keepdims=True) / STEPS
    scale = np.where(scale == 0, 1.0, scale)
    error = (np.rint(flat / scale) * scale - flat).sum(axis=2)
    of_group = mean.reshape(groups, -1).repeat(weights.shape[0] // groups, axis=0)
    return (error * of_group).sum(axis=1)
