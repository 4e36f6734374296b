"""The values that the gates of every CBAM block take on given inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.flat import Flat, Tensor, flatten
from converters.deploy.formula import Array, channel_gate, spatial_gate
from converters.deploy.recognise import recognise
from converters.deploy.wiring import filled

__all__ = ["GateValues", "gate_values"]

_ALIKE: Final = 1e-9
"""Of the largest value of a block's result: float64 rounding stays far below, another formula does not."""


@dataclasses.dataclass(frozen=True)
class GateValues:
    """The gates of one block in float64: channel (N, C), spatial (N, H, W); None where it has no such gate."""

    block: Block
    channel: Array | None
    spatial: Array | None


def gate_values(model: Any, inputs: Sequence[np.ndarray]) -> tuple[list[GateValues], list[str]]:
    """Run a functional float64 model and evaluate each block's gates by the paper's equations on the map it gets there.

    A block whose equations do not give what the model itself gives for it is left out.

    Args:
        inputs: in the order of the model's inputs, samples first.

    Returns:
        The gates, in graph order, and the names of the blocks that were left out.

    Raises:
        ModelError: the model is not functional.
    """
    blocks = recognise(model, proved=False).blocks
    if not blocks:
        return [], []
    flat = flatten(model)
    ends = [_same(flat, block.input) for block in blocks], [_same(flat, block.output) for block in blocks]
    before, after = _maps(flat, [*ends[0], *ends[1]], inputs, len(blocks))
    found, left = [], []
    for block, x, y in zip(blocks, before, after, strict=True):
        x = x if block.data_format == "channels_last" else x.transpose(0, 2, 3, 1)
        y = y if block.output_format == "channels_last" else y.transpose(0, 2, 3, 1)
        made = block.formula(x, _value)
        if made.shape == y.shape and np.abs(made - y).max() <= _ALIKE * np.abs(y).max():
            found.append(_evaluate(block, x))
        else:
            left.append(block.name)
    return found, left


def _same(flat: Flat, tensor: Tensor) -> Tensor:
    """The tensor of this flattening that the block found in another one."""
    if tensor.call is None:
        return next(each for each in flat.inputs if each.keras is tensor.keras)
    return flat.calls[tensor.call.order].outputs[tensor.call.outputs.index(tensor)]


def _maps(
    flat: Flat, wanted: Sequence[Tensor], inputs: Sequence[np.ndarray], half: int
) -> tuple[list[Array], list[Array]]:
    def run(*tensors: Any) -> list[Any]:
        known: dict[Tensor, Any] = dict(zip(flat.inputs, tensors, strict=True))
        for call in flat.calls:
            made = call.operation(*filled(call.args, known.__getitem__), **filled(dict(call.kwargs), known.__getitem__))
            known.update(zip(call.outputs, keras.tree.flatten(made), strict=True))
        return [known[tensor] for tensor in wanted]

    function = run
    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(run)
    pairs = zip(inputs, flat.inputs, strict=True)
    given = [keras.ops.convert_to_tensor(array, dtype=tensor.keras.dtype) for array, tensor in pairs]
    made = [np.asarray(keras.ops.convert_to_numpy(value), np.float64) for value in function(*given)]
    return made[:half], made[half:]


def _evaluate(block: Block, x: Array) -> GateValues:
    channel = spatial = None
    for kind in ("spatial", "channel") if block.order == "spatial_channel" else ("channel", "spatial"):
        if kind == "channel" and block.channel is not None:
            gate = channel_gate(block.channel, x, _value)
            channel = gate[:, 0, 0, :]
        elif kind == "spatial" and block.spatial is not None:
            gate = spatial_gate(block.spatial, x, _value)
            spatial = gate[..., 0]
        else:
            continue
        x = x if block.order == "parallel" else x * gate
    return GateValues(block, channel, spatial)


def _value(weight: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(weight), np.float64)
