"""Some nodes of a QDQ model hand 16 bits to each other instead of 8: an island of int16 among int8.

Where both the node that computes a tensor and a node that reads it are of the island, the pair of QuantizeLinear and
DequantizeLinear between them gets a scale 257 times finer: 65,535 steps over the range of 255. What enters and leaves
the island stays in 8 bits, as kernels of integers have it. Weights stay in 8 bits.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

FINER: Final = 65535 // 255
"""By how much the steps of 16 bits are finer than those of 8 over the same range."""

_DOMAIN: Final = "com.microsoft"
"""ONNX has 16-bit QuantizeLinear from operator set 21 on only; ONNX Runtime has its own for any set, which it also
writes itself (UseQDQContribOps)."""

_WIDE: Final = {np.dtype("uint8"): np.dtype("uint16"), np.dtype("int8"): np.dtype("int16")}
_PASSED_ON: Final = frozenset({"Relu", "Clip"})


def widen(path: str, names: Sequence[str]) -> None:
    """Rewrite the QDQ file so that the nodes of these names hand 16 bits to each other."""
    if not names:
        return
    model = onnx.load(path)
    graph, island = model.graph, set(names)
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    added: list[tuple[Any, Any]] = []
    for node in list(graph.node):
        if node.name not in island:
            continue
        for place, name in enumerate(node.input):
            dequantise = makers.get(name)
            quantise = makers.get(dequantise.input[0]) if dequantise and _is(dequantise, "DequantizeLinear") else None
            if (
                quantise is None
                or not _is(quantise, "QuantizeLinear")
                or not _made_by(quantise.input[0], makers, island)
            ):
                continue
            node.input[place] = f"{name}__16"
            if node.input[place] not in makers:
                pair = _pair(quantise, dequantise, constants, graph)
                makers[node.input[place]] = pair[1]
                added.append((dequantise, pair))
    if not added:
        return
    for after, pair in added:
        at = next(place for place, node in enumerate(graph.node) if node is after or node == after)
        for node in reversed(pair):
            graph.node.insert(at + 1, node)
    _drop_unread(graph)
    if all(each.domain != _DOMAIN for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    onnx.save(model, path)


def _is(node: Any, kind: str) -> bool:
    return node is not None and node.op_type == kind


def _made_by(name: str, makers: Any, island: set[str]) -> bool:
    """Whether a node of the island computes the tensor, or one whose result is only cut off after it."""
    maker = makers.get(name)
    while maker is not None and maker.name not in island and maker.op_type in _PASSED_ON:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.name in island


def _pair(quantise: Any, dequantise: Any, constants: Any, graph: Any) -> tuple[Any, Any]:
    """Copies of the two nodes with 16 bits between them."""
    scale = numpy_helper.to_array(constants[quantise.input[1]])
    zero = numpy_helper.to_array(constants[quantise.input[2]])
    wide = _WIDE[zero.dtype]
    # -128 stands for the low end in 8 bits and -32768 in 16: the distance from there is what is 257 times as long.
    moved = (zero.astype(np.int64) - np.iinfo(zero.dtype).min) * FINER + np.iinfo(wide).min
    stored = f"{dequantise.output[0]}__q16"
    values = {f"{stored}_scale": (scale / FINER).astype(scale.dtype), f"{stored}_zero": moved.astype(wide)}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())
    made = []
    for node, source, target in (
        (quantise, quantise.input[0], stored),
        (dequantise, stored, f"{dequantise.output[0]}__16"),
    ):
        new = copy.deepcopy(node)
        new.name, new.domain = f"{node.name}__16", _DOMAIN
        new.input[:] = [source, *values]
        new.output[:] = [target]
        made.append(new)
    return made[0], made[1]


def _drop_unread(graph: Any) -> None:
    """Take out pairs and constants that nothing reads any more."""
    outputs = {value.name for value in graph.output}
    while True:
        read = outputs | {name for node in graph.node for name in node.input}
        kept = [node for node in graph.node if read.intersection(node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    constants = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(constants)
