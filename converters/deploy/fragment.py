"""A block as ONNX nodes, in the form that ONNX Runtime computes fastest on a CPU.

ONNX Runtime keeps the maps between convolutions in a blocked layout (NCHWc), which a product with a gate cannot take.
So the map leaves that layout once, channels last: there the two statistics of the spatial gate are reductions of
contiguous numbers, which are five times as fast as across the channels of an NCHW map, and a Transpose from or to it
costs nothing beyond the change of layout that is due anyway. Pooling over the map stays in the blocked layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.forms import Weigh, folded
from converters.deploy.formula import Array, Values
from converters.deploy.gates import ChannelGate, SpatialGate
from converters.deploy.rules import blocking
from converters.deploy.targets import PREFERENCES, Target
from converters.deploy.toeplitz import blocked_kernel

__all__ = ["Fragment", "cannot"]

_ROW: Final = 512
"""Numbers in a row of the product with the channel gate: shorter rows leave ONNX Runtime's broadcast slow."""
_TILED: Final = 65_536
"""Weights up to which the MLP itself gives its gate repeated for a row."""
_NARROW: Final = 64
"""Channels below which the product with the spatial gate goes by way of a matrix product."""
_DENSE: Final = 64
"""Pixels up to which the spatial convolution is one matrix product."""

_HARD: Final = {"hard_sigmoid": 1 / 6, "hard_sigmoid_keras2": 0.2}


def cannot(block: Block, batch: int | None) -> str:
    """Why a block cannot be a fragment, or ``."""
    if batch != 1:
        return "its form for ONNX Runtime takes one example at a time"
    if block.height is None or block.width is None:
        return "the size of its map is open; fix it with --input-shape"
    if block.order == "spatial_channel" and block.channel is not None and block.spatial is not None:
        return "its channel gate is computed from what its spatial gate gives"
    if block.spatial is not None and not _is_dense(block) and blocking(block.width, PREFERENCES[_TARGET]) is None:
        return f"no block of columns divides its width {block.width}"
    return ""


_TARGET: Final = Target.ONNXRUNTIME


def _is_dense(block: Block) -> bool:
    return (block.height or 0) * (block.width or 0) <= _DENSE


@dataclasses.dataclass(frozen=True, eq=False)
class Fragment:
    """The ONNX nodes of one block, for one example and a map of known size."""

    block: Block

    def nodes(self, names: tuple[str, str, str], values: Values, dtype: str, opset: int) -> tuple[list[Any], list[Any]]:
        """Nodes and initialisers.

        Args:
            names: of the map it takes as (1, C, H, W), of the same as (1, H, W, C), and of that it gives,
                (1, H, W, C). What is within begins with the last.
            values: gives the weights in float64; dtype: the type to compute in.
        """
        return _Emitter(self.block, names, values, (dtype, opset)).emit()


class _Emitter:
    def __init__(self, block: Block, names: tuple[str, str, str], values: Values, how: tuple[str, int]) -> None:
        self._block = block
        self._first, self._last, self._output = names
        self._values = values
        self._dtype, self._opset = how
        self._nodes: list[Any] = []
        self._initialisers: list[Any] = []
        height, width = block.height, block.width
        assert height is not None
        assert width is not None
        self._size = height, width
        self._pixels = height * width
        # How often the gate is repeated, so that rows of the product are long.
        repeats = [n for n in range(1, self._pixels + 1) if self._pixels % n == 0 and n * block.channels <= _ROW]
        self._repeats = max(repeats, default=1)

    def emit(self) -> tuple[list[Any], list[Any]]:
        block, channels, pixels = self._block, self._block.channels, self._pixels
        flat = self._reshape(self._last, pixels, channels)
        refined, gate = flat, None
        if block.channel is not None:
            gate = self._channel(block.channel)
            rows = self._reshape(self._last, pixels // self._repeats, self._repeats * channels)
            refined = self._reshape(self._node("Mul", rows, gate), pixels, channels)
        result = refined
        if block.spatial is not None:
            seen = flat if block.order == "parallel" else refined
            result = self._product(refined, flat, gate, self._spatial(block.spatial, seen))
        elif block.residual:
            result = self._node("Add", refined, flat)
        self._node("Reshape", result, self._whole(1, *self._size, channels), output=self._output)
        return self._nodes, self._initialisers

    def _product(self, refined: str, flat: str, gate: str | None, spatial: str) -> str:
        """refined * spatial, and the block's input added if it has a residual."""
        channels = self._block.channels
        if channels >= _NARROW:
            made = self._node("Mul", refined, spatial)
            return self._node("Add", made, flat) if self._block.residual else made
        if self._block.residual and gate is not None:  # x (1 + c s)
            once = gate
            if self._repeats > 1:
                once = self._node("Slice", gate, self._whole(0), self._whole(channels), self._whole(1))
            return self._node("Mul", flat, self._node("Gemm", spatial, once, self._constant(np.ones(1))))
        made = self._node("Mul", refined, self._node("MatMul", spatial, self._constant(np.ones((1, channels)))))
        return self._node("Add", made, flat) if self._block.residual else made

    def _channel(self, gate: ChannelGate) -> str:
        """(1, repeats * C)."""
        channels, repeats = self._block.channels, self._repeats
        kinds = {"avg": "GlobalAveragePool", "max": "GlobalMaxPool"}
        pooled = [self._node(kinds[pool], self._first) for pool in gate.pools]
        tiled = repeats if gate.hidden * channels * repeats <= _TILED else 1
        if gate.shared and len(pooled) == 2:
            both = self._reshape(self._node("Concat", *pooled, axis=0), 2, channels)
            hidden = self._dense(both, gate.squeeze[0], "relu")
            if gate.activation is None:
                logits = self._dense(self._sum(hidden), gate.excite[0], None, tiled, times=2)
            else:
                logits = self._sum(self._dense(hidden, gate.excite[0], gate.activation, tiled))
        else:
            branches = [
                self._dense(
                    self._dense(self._reshape(vector, 1, channels), squeeze, "relu"), excite, gate.activation, tiled
                )
                for vector, squeeze, excite in zip(pooled, gate.squeeze, gate.excite, strict=True)
            ]
            logits = branches[0] if len(branches) == 1 else self._node("Add", *branches)
        made = self._gate(gate.gate, logits)
        if tiled == repeats:
            return made
        return self._reshape(self._node("Expand", made, self._whole(repeats, channels)), 1, repeats * channels)

    def _dense(self, vector: str, weights: Any, activation: str | None, tiled: int = 1, times: int = 1) -> str:
        kernel = self._values(weights.kernel)
        kernel = np.tile(kernel.reshape(kernel.shape[-2:]), (1, tiled))
        inputs = [vector, self._constant(kernel)]
        if weights.bias is not None:
            inputs.append(self._constant(np.tile(times * self._values(weights.bias), tiled)))
        made = self._node("Gemm", *inputs)
        return made if activation is None else self._node({"relu": "Relu", "sigmoid": "Sigmoid"}[activation], made)

    def _spatial(self, gate: SpatialGate, flat: str) -> str:
        """(H * W, C) -> (H * W, 1)."""
        kernel, bias = folded(gate, Weigh(self._values, "float64"))
        if _is_dense(self._block):
            maps = [self._pooled(flat, pool, 1) for pool in gate.pools]
            stacked = maps[0] if len(maps) == 1 else self._node("Concat", *maps, axis=0)
            inputs = [self._reshape(stacked, 1, len(maps) * self._pixels), self._constant(_matrix(kernel, self._size))]
            logits = self._node("Gemm", *inputs, *([] if bias is None else [self._constant(bias)]))
            return self._reshape(self._gate(gate.gate, logits), self._pixels, 1)
        height, width = self._size
        blocks = blocking(width, PREFERENCES[_TARGET])
        assert blocks is not None
        groups = self._reshape(flat, 1, height, width // blocks.group, blocks.group, self._block.channels)
        maps = [self._pooled(groups, pool, 4) for pool in gate.pools]
        stacked = maps[0] if len(maps) == 1 else self._node("Concat", *maps, axis=3)
        laid = blocked_kernel(kernel, blocks, width).transpose(3, 2, 0, 1)
        step, size = blocks.block // blocks.group, gate.kernel_size
        side = (laid.shape[3] - step) // 2
        inputs = [self._node("Transpose", stacked, perm=[0, 3, 1, 2]), self._constant(laid)]
        if bias is not None:
            inputs.append(self._constant(np.broadcast_to(bias, (blocks.block,))))
        pads = [(size - 1) // 2, side, size // 2, side]
        logits = self._node("Conv", *inputs, strides=[1, step], pads=pads, kernel_shape=list(laid.shape[2:]))
        made = self._node("Transpose", self._gate(gate.gate, logits), perm=[0, 2, 3, 1])
        return self._reshape(made, self._pixels, 1)

    def _pooled(self, of: str, pool: str, axis: int) -> str:
        kind = {"avg": "ReduceMean", "max": "ReduceMax"}[pool]
        if self._opset >= 18:
            return self._node(kind, of, self._whole(axis), keepdims=0)
        return self._node(kind, of, axes=[axis], keepdims=0)

    def _sum(self, of: str) -> str:
        return self._node("ReduceSum", of, self._whole(0), keepdims=1)

    def _gate(self, kind: str, logits: str) -> str:
        if kind == "linear":
            return logits
        if kind == "sigmoid":
            return self._node("Sigmoid", logits)
        return self._node("HardSigmoid", logits, alpha=_HARD[kind], beta=0.5)

    def _reshape(self, of: str, *shape: int) -> str:
        return self._node("Reshape", of, self._whole(*shape))

    def _node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{self._output}/{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, value: Array) -> str:
        return self._initialiser(np.ascontiguousarray(value, self._dtype))

    def _whole(self, *value: int) -> str:
        return self._initialiser(np.asarray(value, np.int64))

    def _initialiser(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self._output}/constant_{len(self._initialisers)}"
        self._initialisers.append(numpy_helper.from_array(value, name))
        return name


def _matrix(kernel: Array, size: Sequence[int]) -> Array:
    """A kernel (k, k, c, 1) for `same` as the matrix (c * H * W, H * W) that does the same to a whole map."""
    taps, _, pieces, _ = kernel.shape
    height, width = size
    made = np.zeros((pieces, height, width, height, width))
    for row in range(height):
        for column in range(width):
            top, left = row - (taps - 1) // 2, column - (taps - 1) // 2
            rows = slice(max(top, 0), min(top + taps, height))
            columns = slice(max(left, 0), min(left + taps, width))
            part = kernel[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, :, 0]
            made[:, rows, columns, row, column] = part.transpose(2, 0, 1)
    return made.reshape(pieces * height * width, height * width)
