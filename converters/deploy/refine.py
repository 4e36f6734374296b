"""Finds the products `map * gate` of a flat graph whose gate is one of CBAM's, computed from that very map."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final, Literal

from converters.deploy.algebra import Layout, Map, View
from converters.deploy.computing import product
from converters.deploy.cone import Cone, between, strip
from converters.deploy.evidence import channel_axis
from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.gates import ChannelGate, Gate, NoGateError, SpatialGate, factors, fits, gate_of, own_gate
from converters.deploy.shaping import space

__all__ = ["Format", "OWN", "Lookalike", "Refinement", "refinements"]

Format = Literal["channels_last", "channels_first"]

OWN: Final = {name: f"cbam_export>{name}" for name in ("CBAM", "ChannelAttention", "SpatialAttention")}
_PRODUCTS: Final = ("layers.Multiply", "ops.Multiply")


@dataclasses.dataclass(frozen=True)
class Lookalike:
    """A gate that is computed from its map by pooling, and yet is not CBAM's: the name of its product, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Refinement:
    """A map times its gate, or times both of its gates at once. layout: of the product, in axes of `source`."""

    source: Tensor
    output: Tensor
    gates: tuple[Gate, ...]
    layout: Layout
    layer: Any = None

    @property
    def axis(self) -> int:
        """The channel axis of the source."""
        return self.gates[0].axis

    @property
    def formats(self) -> tuple[Format, Format]:
        """Of the source and of the product."""
        last = [group[0].label for group in self.layout][3] == self.axis
        return "channels_last" if self.axis == 3 else "channels_first", "channels_last" if last else "channels_first"


def refinements(flat: Flat) -> tuple[list[Refinement], list[Lookalike]]:
    """All of them in graph order, and what only looks like one."""
    finder = _Finder(flat)
    for call in flat.calls:
        if call.kind in _PRODUCTS:
            finder.product(call)
        elif call.kind in (OWN["ChannelAttention"], OWN["SpatialAttention"]):
            finder.own(call)
    return finder.found, finder.lookalikes


class _Finder:
    def __init__(self, flat: Flat) -> None:
        self._flat = flat
        self._cones: dict[Tensor, Cone] = {}
        self._by_output: dict[Tensor, Refinement] = {}
        self.lookalikes: list[Lookalike] = []

    @property
    def found(self) -> list[Refinement]:
        return list(self._by_output.values())

    def own(self, call: Call) -> None:
        """One of this package's own layers that gives the refined map."""
        if call.operation.output_kind != "refined":
            return
        (source,) = call.inputs
        _, channel = space(call.operation.data_format)
        layout = self._cone(source).view(source)
        assert layout is not None
        gate = own_gate(call.operation, channel)
        self._by_output[call.outputs[0]] = Refinement(source, call.outputs[0], (gate,), layout.layout, call.operation)

    def product(self, call: Call) -> None:
        """A product of tensors: each operand in turn may be the map."""
        output, operands = call.outputs[0], call.inputs
        values = call.args[0] if len(call.args) == 1 else call.args
        if len(output.shape) != 4 or len(operands) < 2 or len(values or operands) != len(operands):
            return
        reasons: list[str] = []
        for index, operand in enumerate(operands):
            others = [*operands[:index], *operands[index + 1 :]]
            if operand.shape != output.shape:
                continue
            for source, given in self._anchors(operand):
                try:
                    made = self._refinement(source, operand, others, output, given)
                except NoGateError as error:
                    reasons.append(str(error))
                    continue
                if made is not None:
                    if given is not None:
                        del self._by_output[given.output]
                    self._by_output[output] = made
                    return
        if reasons:
            self.lookalikes.append(Lookalike(call.path, reasons[0]))

    def _anchors(self, operand: Tensor) -> Iterator[tuple[Tensor, Refinement | None]]:
        """The maps that a gate for `operand` may be computed from, with the refinement that stands between."""
        for source in strip(operand):
            if len(source.shape) == 4:
                yield source, None
        first = self._by_output.get(operand)
        if first is not None and len(first.gates) == 1:
            yield first.source, first

    def _refinement(
        self, source: Tensor, operand: Tensor, others: list[Tensor], output: Tensor, given: Refinement | None
    ) -> Refinement | None:
        cone = self._cone(source)
        place = View(Map(), given.layout) if given is not None else cone.view(operand)
        if place is None or not isinstance(place.value, Map):
            return None
        views = [cone.view(other) for other in others]
        if any(view is None for view in views):
            self._stuck(cone, others)
            return None
        gate = product([view for view in views if view is not None])
        if gate is None:
            return None
        gates = tuple(gate_of(value, source.shape) for value in factors(gate))
        if given is not None:
            gates = (*given.gates, *gates)
        axis = gates[0].axis
        if source.shape[axis] is None:
            raise NoGateError("its number of channels is open")
        if not fits(gate, place.layout, axis) or not _oriented(place.layout, axis):
            raise NoGateError("its gate lies across other axes of the map than those it was computed for")
        _check_kinds(gates)
        made = Refinement(source, output, gates, place.layout)
        known = channel_axis(self._flat, source)
        if known is not None and known != axis:
            raise NoGateError(f"its gate takes axis {axis} for the channels, which lie on axis {known}")
        return made

    def _stuck(self, cone: Cone, others: list[Tensor]) -> None:
        """Say at which operation a gate that begins like CBAM's leaves it.

        Raises:
            NoGateError: there is such an operation.
        """
        for other in others:
            calls = between(cone.anchor, other)
            for call in calls or ():
                if call in cone.stuck:
                    raise NoGateError(f"{cone.stuck[call]} stands in its gate")

    def _cone(self, source: Tensor) -> Cone:
        if source not in self._cones:
            self._cones[source] = Cone(self._flat, source)
        return self._cones[source]


def _check_kinds(gates: tuple[Gate, ...]) -> None:
    channel = [gate for gate in gates if isinstance(gate, ChannelGate)]
    spatial = [gate for gate in gates if isinstance(gate, SpatialGate)]
    if len(channel) > 1 or len(spatial) > 1:
        raise NoGateError(f"the map is multiplied by {len(gates)} gates computed from it, two of one kind")
    if len({gate.axis for gate in gates}) != 1:
        raise NoGateError("its two gates take different axes for the channels")


def _oriented(layout: Layout, axis: int) -> bool:
    """Whether a map lies channels last or first, with its height before its width."""
    labels = [group[0].label if len(group) == 1 else None for group in layout]
    height, width = (label for label in (1, 2, 3) if label != axis)
    return labels in (["n", height, width, axis], ["n", axis, height, width])
