"""Zeros that a Pad puts around a map, put into the convolutions and maxima that take it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from converters.onnx_nodes import attribute, pads_itself

__all__ = ["fold_pads"]


def fold_pads(graph: Any) -> None:
    """Fold each Pad with zeros into the Conv nodes behind it, through a Transpose too, if nothing else takes it.

    Into a MaxPool too, behind a Relu.

    Keras has no other way than ZeroPadding2D to pad a strided convolution alike on both ends. ONNX has, and as a node
    of its own the Pad is one more copy of the map; in ONNX Runtime it also takes the map out of its blocked layout.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    takers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    makers = {name: node for node in graph.node for name in node.output}
    kept = {value.name for value in graph.output}
    for pad in [node for node in graph.node if node.op_type == "Pad"]:
        amounts = _zeros(pad, constants)
        if amounts is None or pad.output[0] in kept:
            continue
        behind = takers.get(pad.output[0], [])
        moved = [node for node in behind if node.op_type == "Transpose"]
        found = [(node, amounts) for node in behind if node not in moved]
        for node in moved:
            order = list(attribute(node, "perm", []))
            turned = amounts[:, order] if order else amounts[:, ::-1]
            found += [(each, turned) for each in takers.get(node.output[0], [])]
        alone = not any(node.output[0] in kept for node in moved)
        if not (found and alone and all(_can_take(node, of, pad, moved) for node, of in found)):
            continue
        pools = [(node, of) for node, of in found if node.op_type == "MaxPool"]
        if pools and not (_is_relu(pad.input[0], makers) and all(_reaches(node, of) for node, of in pools)):
            continue
        for node, of in found:
            own = np.asarray(attribute(node, "pads", [0, 0, 0, 0])).reshape(2, 2)
            left = [each for each in node.attribute if each.name not in ("pads", "auto_pad")]
            del node.attribute[:]
            node.attribute.extend([*left, helper.make_attribute("pads", (own + of[:, 2:]).reshape(-1).tolist())])
        for node in behind:
            node.input[0] = pad.input[0]
        takers[pad.input[0]] = [node for node in takers[pad.input[0]] if node is not pad] + behind
        graph.node.remove(pad)


def _zeros(pad: Any, constants: dict[str, Any]) -> Any:
    """How many zeros a Pad puts before and after each of four axes, (2, 4); None if it does something else."""
    if attribute(pad, "mode", b"constant") != b"constant" or (len(pad.input) > 3 and pad.input[3]):
        return None
    if pad.input[1] not in constants:
        return None
    if len(pad.input) > 2 and pad.input[2]:
        value = constants.get(pad.input[2])
        if value is None or np.any(numpy_helper.to_array(value)):
            return None
    amounts = numpy_helper.to_array(constants[pad.input[1]])
    return amounts.reshape(2, 4) if amounts.size == 8 and amounts.min() >= 0 else None


def _can_take(node: Any, amounts: Any, pad: Any, moved: list[Any]) -> bool:
    """Whether a node is a Conv or a maximum of the padded map, whose own padding can grow by the amounts."""
    data = {pad.output[0], *(each.output[0] for each in moved)}
    return bool(
        node.op_type in ("Conv", "MaxPool")
        and node.input[0] in data
        and not data & set(node.input[1:])
        and not amounts[:, :2].any()
        and not pads_itself(node)
    )


def _is_relu(name: str, makers: dict[str, Any]) -> bool:
    """Whether a map is not negative, so that zeros around it never are the one maximum."""
    maker = makers.get(name)
    while maker is not None and maker.op_type == "Transpose":
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type == "Relu"


def _reaches(pool: Any, amounts: Any) -> bool:
    """Whether every window of a maximum without padding of its own reaches the map itself: ONNX pads it with minus
    infinity."""
    plain = not any(attribute(pool, "pads", [])) and not attribute(pool, "ceil_mode", 0)
    plain = plain and set(attribute(pool, "dilations", [1])) == {1} and len(pool.output) == 1
    return plain and bool((amounts[:, 2:] < np.asarray(attribute(pool, "kernel_shape", [1, 1]))).all())
