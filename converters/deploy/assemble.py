"""Refinements -> blocks: both gates in a row are one CBAM, and an addition of its input belongs to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from converters.deploy.blocks import Block, Kind, Order
from converters.deploy.cone import Cone, between, strip
from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.gates import ChannelGate, SpatialGate, own_gate
from converters.deploy.placement import placement
from converters.deploy.refine import OWN, Format, Refinement
from converters.deploy.shaping import space

__all__ = ["assemble"]

_SUMS = ("layers.Add", "ops.Add")


def assemble(flat: Flat, refinements: Sequence[Refinement]) -> list[Block]:
    """The blocks of a flat graph, not yet proved, in the order of their results."""
    blocks = [_own(flat, call) for call in flat.calls if call.kind == OWN["CBAM"]]
    left = list(refinements)
    while left:
        first = left.pop(0)
        second = next((other for other in left if _follows(first, other)), None)
        if second is not None:
            left.remove(second)
        block = _block(flat, first, second)
        if block is not None:
            blocks.append(block)
    return sorted(blocks, key=lambda block: block.output.order)


def _own(flat: Flat, call: Call) -> Block:
    """This package's own layer for the whole block."""
    layer = call.operation
    (source,), output = call.inputs, call.outputs[0]
    _, axis = space(layer.data_format)
    channel, spatial = own_gate(layer.channel, axis), own_gate(layer.spatial, axis)
    assert isinstance(channel, ChannelGate)
    assert isinstance(spatial, SpatialGate)
    dialect = layer.dialect
    gates = _Gates("cbam", channel, spatial, dialect.order, dialect.residual)
    ends = _Ends(source, output, layer.data_format, layer.data_format)
    return _made(flat, gates, ends, (call,), layer)


def _follows(first: Refinement, second: Refinement) -> bool:
    """Whether the second refines what the first gives, with the other gate."""
    if len(first.gates) != 1 or len(second.gates) != 1 or type(first.gates[0]) is type(second.gates[0]):
        return False
    return first.output in strip(second.source)


@dataclasses.dataclass(frozen=True)
class _Gates:
    kind: Kind
    channel: ChannelGate | None
    spatial: SpatialGate | None
    order: Order
    residual: bool


@dataclasses.dataclass(frozen=True)
class _Ends:
    source: Tensor
    output: Tensor
    data_format: Format
    output_format: Format


def _block(flat: Flat, first: Refinement, second: Refinement | None) -> Block | None:
    last = second or first
    gates = [*first.gates, *(second.gates if second is not None else ())]
    channel = next((gate for gate in gates if isinstance(gate, ChannelGate)), None)
    spatial = next((gate for gate in gates if isinstance(gate, SpatialGate)), None)
    kind: Kind = "cbam" if channel and spatial else "channel" if channel else "spatial"
    order: Order = "channel_spatial"
    if len(first.gates) == 2:
        order = "parallel"
    elif kind == "cbam" and isinstance(gates[0], SpatialGate):
        order = "spatial_channel"
    output, added = _residual(flat, first.source, last.output)
    made_as = last.formats[1]
    if added is not None:
        view = Cone(flat, first.source).view(added)
        if view is None:
            return None
        made_as = dataclasses.replace(first, layout=view.layout).formats[1]
    calls = between(first.source, output)
    if calls is None:
        return None
    layer = first.layer if second is None and output is last.output else None
    ends = _Ends(first.source, output, first.formats[0], made_as)
    return _made(flat, _Gates(kind, channel, spatial, order, output is not last.output), ends, calls, layer)


def _residual(flat: Flat, source: Tensor, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """The sum of a block's result and its own input, and that input as it is added, if nothing else takes the result;
    otherwise the result itself."""
    tensor = output
    while True:
        takers = flat.consumers.get(tensor, ())
        if len(takers) != 1 or tensor in flat.outputs:
            return output, None
        (call,) = takers
        inputs = call.inputs
        if call.kind in _SUMS and len(inputs) == 2 and not _numbers(call):
            other = inputs[1] if inputs[0] is tensor else inputs[0]
            return (call.outputs[0], other) if other is not tensor and source in strip(other) else (output, None)
        if len(inputs) != 1 or tensor not in list(strip(call.outputs[0])):
            return output, None
        tensor = call.outputs[0]


def _numbers(call: Call) -> bool:
    values = call.args[0] if len(call.args) == 1 else call.args
    return any(not isinstance(value, Tensor) for value in values)


def _made(flat: Flat, gates: _Gates, ends: _Ends, calls: tuple[Call, ...], layer: Any) -> Block:
    shape = ends.source.shape
    axes, channel = space(ends.data_format)
    channels = shape[channel]
    assert channels is not None
    last = ends.output.call
    assert last is not None
    return Block(
        name=last.path,
        kind=gates.kind,
        channel=gates.channel,
        spatial=gates.spatial,
        order=gates.order,
        residual=gates.residual,
        data_format=ends.data_format,
        output_format=ends.output_format,
        channels=channels,
        height=shape[axes[0]],
        width=shape[axes[1]],
        placement=placement(flat, ends.source, ends.output),
        input=ends.source,
        output=ends.output,
        calls=calls,
        layer=layer,
    )
