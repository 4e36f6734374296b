"""Convolutions over an image of few channels, made to read it as it lies in memory.

(N, H, W, C) is, number by number, an image (N, 1, H, W C) of one channel. A k x l kernel over C channels under a stride
of (s, t) is a k x l C kernel over that one, under a stride of (s, t C): the same products and sums, and no
transposition in front. Of one channel there is none to save, and of many the channels are better kept apart.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import helper, numpy_helper

from converters.onnx_nodes import attribute, pads_itself

__all__ = ["flatten_images"]

_FEW: Final = 4
_PIXELS: Final = 128 * 128
"""Larger images gain nothing, or lose: ONNX Runtime then plans its memory in another way (docs/lowering-notes.md)."""


def flatten_images(graph: Any) -> None:
    """Rewrite the convolutions that take an input of the graph, (N, H, W, C), behind a Transpose to (N, C, H, W).

    Where something else takes the transposed image as well, nothing is done.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    kept = {value.name for value in graph.output}
    shapes = {value.name: _shape(value) for value in graph.input}
    for turn in [node for node in graph.node if node.op_type == "Transpose"]:
        shape = shapes.get(turn.input[0], ())
        convolutions = takers.get(turn.output[0], [])
        if list(attribute(turn, "perm", [])) != [0, 3, 1, 2] or len(shape) != 4 or turn.output[0] in kept:
            continue
        _, height, width, channels = shape
        if height is None or width is None or height * width > _PIXELS or channels not in range(2, _FEW + 1):
            continue
        if convolutions and all(_is_plain(node, turn.output[0], constants) for node in convolutions):
            _flatten(graph, turn, shape, convolutions, constants)


def _flatten(graph: Any, turn: Any, shape: Any, convolutions: list[Any], constants: dict[str, Any]) -> None:
    _, height, width, channels = shape
    flat, size = f"{turn.output[0]}__flat", f"{turn.output[0]}__flat_size"
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 1, height, width * channels], np.int64), size))
    reshape = helper.make_node("Reshape", [turn.input[0], size], [flat], name=flat)
    graph.node.insert(list(graph.node).index(turn), reshape)
    graph.node.remove(turn)
    for node in convolutions:
        weight = numpy_helper.to_array(constants[node.input[1]])
        filters, _, high, wide = weight.shape
        laid = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(filters, 1, high, wide * channels)
        name = f"{node.output[0]}__flat_weight"
        graph.initializer.append(numpy_helper.from_array(laid, name))
        node.input[0], node.input[1] = flat, name
        strides, pads = list(attribute(node, "strides", [1, 1])), list(attribute(node, "pads", [0, 0, 0, 0]))
        changed = {
            "kernel_shape": [high, wide * channels],
            "strides": [strides[0], strides[1] * channels],
            "pads": [pads[0], pads[1] * channels, pads[2], pads[3] * channels],
        }
        left = [each for each in node.attribute if each.name not in (*changed, "auto_pad")]
        del node.attribute[:]
        node.attribute.extend([*left, *(helper.make_attribute(*each) for each in changed.items())])


def _shape(value: Any) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _is_plain(node: Any, data: str, constants: dict[str, Any]) -> bool:
    """Whether a node is a convolution of these data with constant weights, dense and without holes."""
    return bool(
        node.op_type == "Conv"
        and node.input[0] == data
        and node.input[1] in constants
        and data not in node.input[1:]
        and attribute(node, "group", 1) == 1
        and set(attribute(node, "dilations", [1])) == {1}
        and not pads_itself(node)
    )
