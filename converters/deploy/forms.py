"""A recognised block -> the same sums in another form, as Keras layers and operations, channels last.

What is built is a function of the block's weights as float64 values, so that one piece of code gives the float32 graph
that is shipped and the float64 graph that proves it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.formula import Array, Values
from converters.deploy.gates import ChannelGate, SpatialGate, value_of
from converters.deploy.toeplitz import Blocking, blocked_kernel

__all__ = ["Form", "Weigh", "build", "folded", "normalised"]

Mlp = Literal["apart", "merged", "hidden"]


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """How a block is computed.

    Attributes:
        mlp: `apart`: the MLP is called on each pooled vector; `merged`: once on both, behind one another in the batch;
            `hidden`: apart to the hidden layer, whose sum goes through the second once (linear MLPs only).
        two_step: the maximum over the map by rows, then by columns, instead of at once.
        apart: the pooled maps are convolved each with its part of the kernel and added, instead of concatenated.
        blocking: of the spatial convolution, or None for the plain one.
        mean_convolved: the mean over the channels is a 1x1 convolution that gives the groups of `blocking`.
    """

    mlp: Mlp = "apart"
    two_step: bool = False
    apart: bool = False
    blocking: Blocking | None = None
    mean_convolved: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Weigh:
    """What the layers of one part are made with: `values` gives a weight in float64, `dtype` is the type to compute in,
    `prefix` begins the names of layers, if they get any. Each layer is made once."""

    values: Values
    dtype: str
    prefix: str | None = None
    _made: dict[str, Any] = dataclasses.field(default_factory=dict)

    def layer(
        self, kind: str, part: str, weights: Sequence[Array], taken: tuple[int | None, ...], **config: Any
    ) -> Any:
        """The Keras layer `kind` of this name with `weights`, which takes arrays of the shape `taken`."""
        import keras

        if part not in self._made:
            name = None if self.prefix is None else f"{self.prefix}_{part}"
            # Zeros, because every weight is set; random ones cost more than all else here.
            initializer = "depthwise_initializer" if kind == "DepthwiseConv2D" else "kernel_initializer"
            config = {initializer: "zeros", "use_bias": len(weights) == 2, **config}
            made = getattr(keras.layers, kind)(dtype=self.dtype, name=name, **config)
            made.build(taken)
            made.set_weights(list(weights))
            self._made[part] = made
        return self._made[part]


def build(block: Block, form: Form, x: Any, weigh: Weigh) -> Any:
    """What the block gives for the map x (N, H, W, C), a KerasTensor or an array; (N, H, W, C)."""
    channel, spatial = block.channel, block.spatial
    if block.order == "parallel":
        assert channel is not None
        assert spatial is not None
        made = x * _channel_gate(channel, form, x, weigh) * _spatial_gate(spatial, form, x, weigh)
    else:
        made = x
        for step in ("channel", "spatial") if block.order == "channel_spatial" else ("spatial", "channel"):
            if step == "channel" and channel is not None:
                made = made * _channel_gate(channel, form, made, weigh)
            elif step == "spatial" and spatial is not None:
                made = made * _spatial_gate(spatial, form, made, weigh)
    return made + x if block.residual else made


def _channel_gate(gate: ChannelGate, form: Form, x: Any, weigh: Weigh) -> Any:
    """(N, H, W, C) -> (N, 1, 1, C)."""
    from keras import ops

    pooled = []
    for pool in gate.pools:
        if pool == "avg":
            pooled.append(ops.mean(x, (1, 2)))
        else:
            pooled.append(ops.max(ops.max(x, 1), 1) if form.two_step else ops.max(x, (1, 2)))
    logits = _mlp(gate, form.mlp, pooled, weigh)
    return ops.reshape(_gate(gate.gate, logits), (-1, 1, 1, logits.shape[-1]))


def _mlp(gate: ChannelGate, how: Mlp, pooled: list[Any], weigh: Weigh) -> Any:
    from keras import ops

    names = gate.pools if len(gate.pools) > 1 and not gate.shared else ("mlp",) * len(gate.pools)
    squeeze = [
        _dense(weights, "relu", weigh, f"{name}_squeeze") for name, weights in zip(names, gate.squeeze, strict=True)
    ]
    if how == "hidden":
        hidden = squeeze[0](pooled[0]) + squeeze[-1](pooled[-1])
        return _dense(gate.excite[0], None, weigh, "mlp_excite", times=2)(hidden)
    excite = [
        _dense(weights, gate.activation, weigh, f"{name}_excite")
        for name, weights in zip(names, gate.excite, strict=True)
    ]
    if gate.shared:
        squeeze, excite = squeeze[:1] * len(pooled), excite[:1] * len(pooled)
    if how == "merged":
        both = excite[0](squeeze[0](ops.concatenate(pooled, 0)))
        return ops.sum(ops.reshape(both, (2, -1, both.shape[-1])), 0)
    branches = [second(first(vector)) for first, second, vector in zip(squeeze, excite, pooled, strict=True)]
    return branches[0] if len(branches) == 1 else branches[0] + branches[1]


def _dense(weights: Any, activation: str | None, weigh: Weigh, part: str, times: int = 1) -> Any:
    """A Dense layer with a recognised layer's weights, its bias `times` times."""
    kernel = weigh.values(weights.kernel)
    taken, units = kernel.shape[-2:]
    bias = [] if weights.bias is None else [times * weigh.values(weights.bias)]
    held = [kernel.reshape(taken, units), *bias]
    return weigh.layer("Dense", part, held, (None, taken), units=units, activation=activation)


def _spatial_gate(gate: SpatialGate, form: Form, x: Any, weigh: Weigh) -> Any:
    """(N, H, W, C) -> (N, H, W, 1)."""
    from keras import ops

    kernel, bias = folded(gate, weigh)
    maps = [_pooled(pool, form, x, weigh) for pool in gate.pools]
    height, width = x.shape[1:3]
    if form.apart:
        parts = [
            _conv(kernel[:, :, at : at + 1], bias if at == 0 else None, form, width, weigh, f"spatial_{pool}")(each)
            for at, (pool, each) in enumerate(zip(gate.pools, maps, strict=True))
        ]
        logits = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    else:
        stacked = maps[0] if len(maps) == 1 else ops.concatenate(maps, -1)
        logits = _conv(kernel, bias, form, width, weigh, "spatial")(stacked)
    made = _gate(gate.gate, logits)
    if form.blocking is None:
        return made
    made = ops.reshape(made, (-1, height, form.blocking.whole(width), 1))
    return made if made.shape[2] == width else made[:, :, :width]


def _pooled(pool: str, form: Form, x: Any, weigh: Weigh) -> Any:
    """The maximum or mean over the channels, (N, H, W, 1), or in groups of the blocking, (N, H, W / group, group), with
    columns of zeros behind where W is no multiple of its block."""
    from keras import ops

    height, width, channels = x.shape[1:]
    group = 1 if form.blocking is None else form.blocking.group
    if pool == "avg" and form.mean_convolved:
        kernel: Array = np.kron(np.eye(group), np.full((channels, 1), 1 / channels)).astype(np.float64)[None, None]
        options = {"filters": group, "kernel_size": 1, "data_format": "channels_last"}
        mean = weigh.layer("Conv2D", "spatial_mean", [kernel], (None, None, None, group * channels), **options)
        return mean(ops.reshape(x, (-1, height, width // group, group * channels)))
    made = ops.max(x, 3, keepdims=True) if pool == "max" else ops.mean(x, 3, keepdims=True)
    if form.blocking is None:
        return made
    whole = form.blocking.whole(width)
    if whole > width:  # by the zeros that `same` would put there
        made = ops.pad(made, ((0, 0), (0, 0), (0, whole - width), (0, 0)))
    return ops.reshape(made, (-1, height, whole // group, group))


def folded(gate: SpatialGate, weigh: Weigh) -> tuple[Array, Array | None]:
    """Kernel (k, k, pools, 1) and bias of the convolution with its BatchNormalization, as at inference, folded in."""
    values, size = weigh.values, gate.kernel_size
    kernel = value_of(gate.conv.kernel, values).reshape(size, size, len(gate.pools), 1)
    bias = None if gate.conv.bias is None else value_of(gate.conv.bias, values)
    return (kernel, bias) if gate.norm is None else normalised(kernel, bias, gate.norm, values)


def normalised(kernel: Array, bias: Array | None, norm: Any, values: Values) -> tuple[Array, Array]:
    """Kernel (..., filters) and bias (filters,) of a convolution with the BatchNormalization layer behind it folded in,
    as at inference."""
    factor = 1 / np.sqrt(values(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        factor = factor * values(norm.gamma)
    shift = ((0.0 if bias is None else bias) - values(norm.moving_mean)) * factor
    return kernel * factor, shift + values(norm.beta) if norm.center else shift


def _conv(kernel: Array, bias: Array | None, form: Form, width: int, weigh: Weigh, part: str) -> Any:
    strides = 1, 1
    if form.blocking is not None:
        strides = 1, form.blocking.block // form.blocking.group
        kernel = blocked_kernel(kernel, form.blocking, form.blocking.whole(width))
        bias = None if bias is None else np.broadcast_to(bias, (form.blocking.block,))
    *size, taken, filters = kernel.shape
    options = {"filters": filters, "kernel_size": size, "strides": strides, "padding": "same"}
    options["data_format"] = "channels_last"
    return weigh.layer(
        "Conv2D", part, [kernel] if bias is None else [kernel, bias], (None, None, None, taken), **options
    )


def _gate(kind: str, logits: Any) -> Any:
    from keras import ops

    if kind == "sigmoid":
        return ops.sigmoid(logits)
    if kind == "hard_sigmoid":
        return ops.hard_sigmoid(logits)
    if kind == "hard_sigmoid_keras2":
        return ops.clip(0.2 * logits + 0.5, 0.0, 1.0)
    return logits
