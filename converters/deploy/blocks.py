"""What is known of one attention block of a model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from converters.deploy.flat import Call, Tensor
from converters.deploy.formula import Array, Values, channel_gate, spatial_gate
from converters.deploy.gates import ChannelGate, SpatialGate, free_of
from converters.deploy.refine import Format

__all__ = ["Block", "Kind", "Order", "Placement"]

Kind = Literal["cbam", "channel", "spatial"]
Order = Literal["channel_spatial", "spatial_channel", "parallel"]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a block stands.

    after: what makes the map it takes: `ReLU`, `BatchNormalization`, `Conv2D`, `input` ... before: what takes the map
    it gives, each once: `residual addition`, `Conv2D`, `output` ...
    """

    after: str
    before: tuple[str, ...]

    def __str__(self) -> str:
        return f"after {self.after}, before {' and '.join(self.before) or 'nothing'}"


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One call of a CBAM block, of channel attention alone or of spatial attention alone.

    Attributes:
        name: path of the call that gives its result, or of the layer that is the whole block.
        kind: cbam, channel or spatial.
        channel, spatial: its gates, with their weights; None where it has none of that kind.
        order: of a whole block; `parallel` computes both gates from its input.
        residual: its input is added to its result.
        data_format, output_format: of the map it takes, and of that it gives.
        channels, height, width: of that map; an open size is None.
        placement: where it stands.
        input, output: tensors of the flat graph; `keras` of each is the KerasTensor.
        calls: the layers and operations that belong to it, in order.
        layer: this package's own layer that is the block, or None.
    """

    name: str
    kind: Kind
    channel: ChannelGate | None
    spatial: SpatialGate | None
    order: Order
    residual: bool
    data_format: Format
    output_format: Format
    channels: int
    height: int | None
    width: int | None
    placement: Placement
    input: Tensor
    output: Tensor
    calls: tuple[Call, ...]
    layer: Any = None

    @property
    def weights(self) -> tuple[Any, ...]:
        """Its variables, each once."""
        found = [weight for call in self.calls for weight in getattr(call.operation, "weights", ())]
        return tuple({id(weight): weight for weight in found}.values())

    @property
    def free(self) -> tuple[Any, ...]:
        """Those of its weights with which it is such a block whatever their values are."""
        found: list[Any] = []
        if self.channel is not None:
            for weights in (*self.channel.squeeze, *self.channel.excite):
                found += free_of((weights.kernel, weights.bias))
        if self.spatial is not None:
            found += free_of((self.spatial.conv.kernel, self.spatial.conv.bias))
            found += self.spatial.norm.weights if self.spatial.norm is not None else ()
        return tuple({id(weight): weight for weight in found if weight is not None}.values())

    @property
    def parameters(self) -> int:
        """All its weights, in numbers, statistics included; of a block that is called twice, at each call."""
        return sum(math.prod(weight.shape) for weight in self.weights)

    @property
    def trainable(self) -> int:
        """Those that training would change."""
        return sum(math.prod(weight.shape) for weight in self.weights if weight.trainable)

    @property
    def multiply_adds(self) -> int | None:
        """Of its dense layers and its convolution for one example; None where the map's size is open."""
        count = 0
        if self.channel is not None:
            count += len(self.channel.pools) * 2 * self.channels * self.channel.hidden
        if self.spatial is not None:
            if self.height is None or self.width is None:
                return None
            count += self.height * self.width * len(self.spatial.pools) * self.spatial.kernel_size**2
        return count

    def formula(self, x: Array, values: Values) -> Array:
        """What the block must give for x, both (N, H, W, C), by the paper's equations."""
        channel, spatial = self.channel, self.spatial
        result = x
        if self.order == "parallel":
            assert channel is not None
            assert spatial is not None
            result = x * channel_gate(channel, x, values) * spatial_gate(spatial, x, values)
        else:
            steps = ("channel", "spatial") if self.order == "channel_spatial" else ("spatial", "channel")
            for step in steps:
                if step == "channel" and channel is not None:
                    result = result * channel_gate(channel, result, values)
                if step == "spatial" and spatial is not None:
                    result = result * spatial_gate(spatial, result, values)
        return result + x if self.residual else result
