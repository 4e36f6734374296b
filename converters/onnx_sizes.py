"""Sizes that tf2onnx gives as factors or as negative padding, put as ONNX means them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from converters.onnx_nodes import attribute

__all__ = ["state_sizes"]

_RESIZED: Final = slice(2, 4)


def state_sizes(model: Any) -> None:
    """Mend, in place, Resize nodes whose factor does not give the size, and ConvTranspose nodes with negative padding.

    tf2onnx writes 11 -> 7 as a factor of 7/11, rounded to float32; ONNX takes the largest integer that is not more
    than 11 times that, which is 6. Such a Resize is given its sizes instead.

    A transposed convolution with steps wider than its kernel leaves places that no input reaches. TensorFlow has them
    at the end; tf2onnx gives them as negative padding, which ONNX does not know, where `output_padding` is meant.
    """
    for node in model.graph.node:
        if node.op_type == "ConvTranspose":
            _pad_outputs(node)
    while any(_size(node, model) for node in list(model.graph.node) if node.op_type == "Resize"):
        pass  # sizes behind the one mended are known only now


def _pad_outputs(node: Any) -> None:
    pads = attribute(node, "pads")
    if not pads or min(pads) >= 0:
        return
    begin, end = np.reshape(pads, (2, -1))
    total = begin + end
    lacking = np.minimum(total, 0)
    begin, end = np.where(total < 0, 0, begin), np.where(total < 0, 0, end)
    padded = np.asarray(attribute(node, "output_padding") or np.zeros_like(begin)) - lacking
    kept = [each for each in node.attribute if each.name not in ("pads", "output_padding", "output_shape")]
    del node.attribute[:]
    pads = np.concatenate([begin, end]).tolist()
    node.attribute.extend(
        [*kept, helper.make_attribute("pads", pads), helper.make_attribute("output_padding", padded.tolist())]
    )


def _size(node: Any, model: Any) -> bool:
    """Give one Resize its sizes if its factors, which are constants, miss them; say whether that was done."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if len(node.input) != 3 or node.input[2] not in constants:
        return False
    factors = numpy_helper.to_array(constants[node.input[2]])
    shape = _shape(node.input[0], model)
    if factors.shape != (4,) or shape is None or None in shape[_RESIZED]:
        return False
    given = np.asarray(
        shape[_RESIZED], np.float64
    )  # in float32 the product may be rounded up again, but not everywhere
    wanted = np.rint(given * factors[_RESIZED]).astype(np.int64)
    if np.array_equal(np.floor(given * factors[_RESIZED]), wanted):
        return False
    name = f"{node.output[0]}/sizes"
    if None in shape:
        graph.initializer.append(numpy_helper.from_array(wanted, f"{name}/map"))
        for end, value in (("start", 0), ("end", 2)):
            graph.initializer.append(numpy_helper.from_array(np.asarray([value], np.int64), f"{name}/{end}"))
        made = [
            helper.make_node("Shape", [node.input[0]], [f"{name}/given"], name=f"{name}/given"),
            helper.make_node(
                "Slice", [f"{name}/given", f"{name}/start", f"{name}/end"], [f"{name}/batch"], name=f"{name}/batch"
            ),
            helper.make_node("Concat", [f"{name}/batch", f"{name}/map"], [name], name=name, axis=0),
        ]
        place = next(place for place, each in enumerate(graph.node) if each is node)
        for each in reversed(made):
            graph.node.insert(place, each)
    else:
        graph.initializer.append(numpy_helper.from_array(np.asarray([*shape[:2], *wanted], np.int64), name))
    node.input[2] = ""
    node.input.append(name)
    return True


def _shape(name: str, model: Any) -> list[int | None] | None:
    """The shape of a tensor of rank 4, an open size as None, from what stands in front of it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for value in bare.graph.output:  # what is stated there may contradict what is not mended yet
        value.type.tensor_type.ClearField("shape")
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare).graph
    for value in (*inferred.value_info, *inferred.input):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            sizes = [each.dim_value or None for each in value.type.tensor_type.shape.dim]
            return sizes if len(sizes) == 4 else None
    return None
