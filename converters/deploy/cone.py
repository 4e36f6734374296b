"""What the tensors behind a feature map compute from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from converters.deploy import computing, shaping
from converters.deploy.algebra import Axis, Map, View
from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.shaping import Rule, keeps_fractions

__all__ = ["Cone", "between", "is_transparent", "strip"]

_RULES: Final[Mapping[str, Rule]] = {**shaping.RULES, **computing.RULES}

_TRANSPARENT: Final = frozenset(
    {
        *("layers.Permute", "ops.Transpose", "ops.Moveaxis", "ops.Swapaxes", "ops.Cast", "ops.StopGradient"),
        *("layers.Identity", "layers.Dropout", "layers.SpatialDropout2D", "layers.ActivityRegularization"),
        *("layers.GaussianNoise", "layers.GaussianDropout", "layers.AlphaDropout", "ops.Identity", "ops.Copy"),
    }
)
"""Calls that give their map back, its axes in another order at most; a Cast between floating types only."""


class Cone:
    """Views of tensors relative to one map of rank 4, the anchor."""

    def __init__(self, flat: Flat, anchor: Tensor) -> None:
        shape = anchor.shape
        layout = ((Axis("n", shape[0]),), *((Axis(axis, shape[axis]),) for axis in (1, 2, 3)))
        self.anchor, self.stuck = anchor, dict[Call, str]()
        self._ended: dict[Tensor, str] = {}
        self._flat = flat
        self._known: dict[Tensor, View] = {anchor: View(Map(), layout)}
        self._done = anchor.order

    def view(self, tensor: Tensor) -> View | None:
        """What a tensor is of the anchor; None if it is not made of it alone, or by something not known here.

        `stuck` then has the calls at which the way from the anchor ended, and what ended it.
        """
        for call in self._flat.calls[self._done + 1 : tensor.order + 1]:
            self._visit(call)
        self._done = max(self._done, tensor.order)
        return self._known.get(tensor)

    def _visit(self, call: Call) -> None:
        inputs = call.inputs
        known = [self._known.get(tensor) for tensor in inputs]
        ended = next((self._ended[tensor] for tensor in inputs if tensor in self._ended), None)
        if not any(known) and ended is None:
            return
        made = None
        rule = _RULES.get(call.kind)
        if rule is not None and all(known) and len(call.outputs) == 1 and not call.kwargs.get("training"):
            args = call.args or tuple(value for value in call.kwargs.values() if _holds_tensor(value))
            made = rule(call, [_viewed(value, self._known) for value in args])
        if made is not None and len(made.layout) == len(call.outputs[0].shape):
            self._known[call.outputs[0]] = made
            return
        # Of a sum of what is known and what is not, the cause is where the other way ended.
        ended = ended or f"{call.operation.__class__.__name__} {call.path!r}"
        self._ended.update(dict.fromkeys(call.outputs, ended))
        if any(view is not None and not isinstance(view.value, Map) for view in known):
            self.stuck[call] = ended


def is_transparent(call: Call) -> bool:
    """Whether a call gives its map back as it is at inference, but for the order of its axes and roundoff."""
    if call.kwargs.get("training"):  # noise and dropout that the model asks for at inference too
        return False
    return call.kind in _TRANSPARENT and (call.kind != "ops.Cast" or keeps_fractions(call))


def strip(tensor: Tensor) -> Iterator[Tensor]:
    """The tensor, and those before it that are the same map but for the order of its axes."""
    yield tensor
    while tensor.call is not None and is_transparent(tensor.call):
        (tensor,) = tensor.call.inputs
        yield tensor


def between(start: Tensor, end: Tensor) -> tuple[Call, ...] | None:
    """The calls that make `end` from `start`, in order; None if something else goes into it."""
    found: dict[Call, None] = {}
    todo = [end]
    while todo:
        tensor = todo.pop()
        if tensor is start:
            continue
        if tensor.call is None or tensor.order <= start.order:
            return None
        if tensor.call not in found:
            found[tensor.call] = None
            todo.extend(tensor.call.inputs)
    return tuple(sorted(found, key=lambda call: call.order))


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_holds_tensor, value)))


def _viewed(value: Any, known: Mapping[Tensor, View]) -> Any:
    if isinstance(value, Tensor):
        return known[value]
    if isinstance(value, list | tuple):
        return type(value)(_viewed(each, known) for each in value)
    return value
