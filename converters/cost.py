"""What one call of a TensorFlow function costs: the multiply-adds of its convolutions and matrix products.

A property of the traced graph, so it holds for any model however it was built. Nothing is run.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from converters.errors import ModelError


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """The contractions (convolutions and matrix products) of one call.

    Attributes:
        multiply_adds: products that are summed; twice that in floating-point operations. Padding counts as products,
            as it does in the tables of papers; biases, normalisation, activations and pooling do not count.
        contractions: how many convolution and matrix product operations run.
        largest_fan_in: the most products that are summed into one output element: kh * kw * C_in / groups for a
            convolution, the inner size for a matrix product; 0 without contractions.
    """

    multiply_adds: int = 0
    contractions: int = 0
    largest_fan_in: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.multiply_adds + other.multiply_adds,
            self.contractions + other.contractions,
            max(self.largest_fan_in, other.largest_fan_in),
        )


def cost(function: Any) -> Cost:
    """The cost of one call of a `tf.types.experimental.ConcreteFunction`, of the functions it calls included.

    Raises:
        ModelError: the shape of a contraction is not static, one sits in a loop or a branch, so that how often it runs
            is not known, or it is of a kind whose products are not known here.
    """
    return _Counter().graph(function.graph)


def arithmetic(function: Any) -> tuple[int, int, int]:
    """How many contractions any ConcreteFunction holds, the largest fan-in among them, and the largest side, in pixels,
    that an interpolating resize reads (0 without one).

    Unlike `cost` it needs no static map: sizes that are open count as 1, a loop's body counts once, and a contraction
    of a kind that is not known here counts with the largest size it sees.
    """
    contractions = largest = side = 0
    for op in graph_operations(function):
        if op.type in _COUNTS or op.type in _UNCOUNTED:
            contractions += 1
            largest = max(largest, _fan_in(op))
        elif op.type in _RESIZES:
            side = max(side, *(int(size or 0) for size in op.inputs[0].shape[1:3]))
    return contractions, largest, side


def graph_operations(function: Any) -> Iterator[Any]:
    """Every operation of a ConcreteFunction's graph, and of the functions it calls, each once."""
    seen: set[str] = set()
    todo = [function.graph]
    while todo:
        graph = todo.pop()
        for op in graph.get_operations():
            yield op
            for value in op.node_def.attr.values():
                for called in [value.func] if value.HasField("func") else value.list.func:
                    found = graph._get_function(called.name)
                    if called.name not in seen and found is not None:
                        seen.add(called.name)
                        todo.append(found.graph)


def _fan_in(op: Any) -> int:
    shapes = [[1 if size is None else int(size) for size in tensor.shape] for tensor in op.inputs if tensor.shape.rank]
    if op.type in ("Conv", "Conv2D", "Conv3D"):
        return math.prod(shapes[1][:-1])
    if op.type == "DepthwiseConv2dNative":
        return math.prod(shapes[1][:2])
    if op.type == "MatMul":
        return shapes[0][0 if op.get_attr("transpose_a") else 1]
    if op.type.startswith("BatchMatMul"):
        return shapes[0][-2 if op.get_attr("adj_x") else -1]
    if "Backprop" in op.type:
        return math.prod(shapes[1])  # at most: all taps and channels of the kernel
    return max((size for shape in shapes for size in shape), default=1)


class _Counter:
    """One walk; a function that is called repeatedly is counted once and added at each call."""

    def __init__(self) -> None:
        self._functions: dict[str, Cost] = {}

    def graph(self, graph: Any) -> Cost:
        total = Cost()
        for op in graph.get_operations():
            if op.type in _UNCOUNTED:
                raise ModelError(f"the multiply-adds of {op.type} {op.name!r} cannot be counted")
            count = _COUNTS.get(op.type)
            if count is not None:
                total += count(op)
            else:
                total += self._calls(op)
        return total

    def _calls(self, op: Any) -> Cost:
        total = Cost()
        for value in op.node_def.attr.values():
            called = [value.func] if value.HasField("func") else value.list.func
            for function in called:
                total += self._function(op.graph, function.name)
        if total.contractions and op.type not in ("PartitionedCall", "StatefulPartitionedCall"):
            raise ModelError(
                f"{op.type} {op.name!r} has {total.contractions} convolutions or matrix products, which run a number "
                f"of times that is not known beforehand"
            )
        return total

    def _function(self, graph: Any, name: str) -> Cost:
        if name not in self._functions:
            # A graph has no public way to the graphs of the functions in its library.
            found = graph._get_function(name)
            if found is None:
                raise ModelError(f"the graph calls a function {name!r} that its library does not have")
            self._functions[name] = self.graph(found.graph)
        return self._functions[name]


def _static(op: Any, tensor: Any) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ModelError(
            f"the multiply-adds of {op.type} {op.name!r} need static shapes; {tensor.name} has {tensor.shape}: "
            f"trace the function with a fixed batch and image size"
        )
    return [int(size) for size in tensor.shape]


def _conv(op: Any) -> Cost:
    # A kernel is (*sides, C_in / groups, C_out) whatever the layout of the map, so groups need no care.
    fan_in = math.prod(_static(op, op.inputs[1])[:-1])
    return Cost(math.prod(_static(op, op.outputs[0])) * fan_in, 1, fan_in)


def _depthwise(op: Any) -> Cost:
    fan_in = math.prod(_static(op, op.inputs[1])[:2])
    return Cost(math.prod(_static(op, op.outputs[0])) * fan_in, 1, fan_in)


def _transposed_conv(op: Any) -> Cost:
    # Each input element meets the whole kernel (*sides, C_out, C_in) of its channel; what falls on the border that is
    # cropped away counts like padding does.
    _static(op, op.outputs[0])
    *sides, filters, channels = _static(op, op.inputs[1])
    first = 1 if op.get_attr("data_format").decode().endswith("C") else 2
    spatial = slice(first, first + len(sides))
    strides, dilations = op.get_attr("strides")[spatial], op.get_attr("dilations")[spatial]
    # Taps that land on one output element are those whose offsets, tap * dilation, agree modulo the stride.
    taps = (
        math.ceil(side / (stride // math.gcd(stride, dilation)))
        for side, stride, dilation in zip(sides, strides, dilations, strict=True)
    )
    products = math.prod(_static(op, op.inputs[2])) * math.prod(sides) * filters
    return Cost(products, 1, math.prod(taps) * channels)


def _matmul(op: Any, transposed: str, inner_axes: tuple[int, int]) -> Cost:
    kept, swapped = inner_axes
    fan_in = _static(op, op.inputs[0])[swapped if op.get_attr(transposed) else kept]
    return Cost(math.prod(_static(op, op.outputs[0])) * fan_in, 1, fan_in)


def _einsum(op: Any) -> Cost:
    if len(op.inputs) < 2:
        return Cost()  # a transposition, a trace or a sum: nothing is multiplied
    equation = op.get_attr("equation").decode().replace(" ", "")
    terms, result = equation.split("->")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms.split(","), op.inputs, strict=True):
        shape = _static(op, tensor)
        for label, size in zip(_labels(term, len(shape)), shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))  # only broadcast sizes differ, and then one of them is 1
    shape = _static(op, op.outputs[0])
    summed = sizes.keys() - set(_labels(result, len(shape)))
    return Cost(math.prod(sizes.values()), 1, math.prod(sizes[label] for label in summed))


def _labels(term: str, rank: int) -> list[str]:
    """One label for each dimension; those of an ellipsis are numbered from its end, where broadcasting aligns them."""
    labels = re.findall(r"\.\.\.|[A-Za-z]", term)
    if "..." not in labels:
        return labels
    at = labels.index("...")
    hidden = rank - (len(labels) - 1)
    return [*labels[:at], *(f".{hidden - index}" for index in range(hidden)), *labels[at + 1 :]]


_COUNTS: Final[Mapping[str, Callable[[Any], Cost]]] = {
    "Conv": _conv,
    "Conv2D": _conv,  # Keras's Conv1D is one of these too
    "Conv3D": _conv,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed_conv,
    "Conv3DBackpropInputV2": _transposed_conv,
    "MatMul": lambda op: _matmul(op, "transpose_a", (1, 0)),
    "BatchMatMul": lambda op: _matmul(op, "adj_x", (-1, -2)),
    "BatchMatMulV2": lambda op: _matmul(op, "adj_x", (-1, -2)),
    "BatchMatMulV3": lambda op: _matmul(op, "adj_x", (-1, -2)),
    "Einsum": _einsum,
}

_RESIZES: Final = frozenset({"ResizeBilinear", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate"})

_UNCOUNTED: Final = frozenset(
    {
        "Conv2DBackpropInputV2",
        "Conv3DBackpropInput",
        "CudnnRNN",
        "CudnnRNNV2",
        "CudnnRNNV3",
        "SparseMatMul",
        "SparseTensorDenseMatMul",
        "UniformQuantizedConvolution",
        "UniformQuantizedDot",
        "XlaConv",
        "XlaConvV2",
        "XlaDot",
        "XlaDotV2",
    }
)
"""Operations that multiply and add, but whose products are not counted here: refused rather than left out."""
