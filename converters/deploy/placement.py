"""Where a block stands: what makes its map, and what takes its result."""

from __future__ import annotations

from typing import Final

from converters.deploy.blocks import Placement
from converters.deploy.computing import activation_name
from converters.deploy.cone import is_transparent, strip
from converters.deploy.flat import Call, Flat, Tensor

__all__ = ["placement"]

_SHOWN: Final = {"relu": "ReLU", "relu6": "ReLU6", "Relu": "ReLU", "Relu6": "ReLU6"}
_RELU: Final = ("layers.ReLU", "activations.ReLU")
_SUMS: Final = ("layers.Add", "ops.Add")
_PROJECTION: Final = 4
"""Calls on a shortcut at most: pooling, padding, convolution, normalisation."""


def placement(flat: Flat, source: Tensor, output: Tensor) -> Placement:
    """The place of a block that takes `source` and gives `output`."""
    return Placement(_maker(source), tuple(dict.fromkeys(_takers(flat, source, output))))


def _maker(source: Tensor) -> str:
    origin = list(strip(source))[-1]
    if origin.call is None:
        return "input"
    return _name(origin.call)


def _name(call: Call) -> str:
    """`ReLU` for every way to write one, else what the operation is called in Keras."""
    operation = call.operation
    if hasattr(operation, "activation") and call.kind.startswith("layers."):
        kind = activation_name(operation.activation)
        if kind != "linear" or call.kind == "layers.Activation":
            shown = kind or str(getattr(operation.activation, "__name__", "activation"))
            return _SHOWN.get(shown, shown)
    if call.kind in _RELU and operation.max_value == 6:
        return "ReLU6"
    return _SHOWN.get(type(operation).__name__, type(operation).__name__)


def _takers(flat: Flat, source: Tensor, output: Tensor) -> list[str]:
    found = ["output"] if output in flat.outputs else []
    for call in flat.consumers.get(output, ()):
        if is_transparent(call):
            found.extend(_takers(flat, source, call.outputs[0]))
        elif call.kind in _SUMS and len(call.inputs) == 2:
            other = call.inputs[1] if call.inputs[0] is output else call.inputs[0]
            found.append("residual addition" if _is_shortcut(source, other) else "addition")
        else:
            activation = call.kind in ("layers.Activation", *_RELU)
            shown = type(call.operation).__name__
            found.append(_name(call) if activation else _SHOWN.get(shown, shown))
    return found


def _is_shortcut(source: Tensor, other: Tensor) -> bool:
    """Whether a tensor is, or is a projection of, one that the block's input is made from."""
    ancestors: set[Tensor] = set()
    todo = [source]
    while todo:
        tensor = todo.pop()
        if tensor not in ancestors:
            ancestors.add(tensor)
            todo.extend(tensor.call.inputs if tensor.call is not None else ())
    for _ in range(_PROJECTION + 1):
        if other in ancestors:
            return True
        if other.call is None or len(other.call.inputs) != 1:
            return False
        (other,) = other.call.inputs
    return False
