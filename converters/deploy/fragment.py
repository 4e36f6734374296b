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
from converters.deploy.strips import strips
from converters.deploy.toeplitz import Blocking, blocked_kernel

__all__ = ["Fragment", "cannot"]

_ROW: Final = 512
"""Numbers in a row of the product with the channel gate, where rows of C numbers are too short."""
_WIDE: Final = 256
"""Channels from which rows of C numbers are long enough."""
_FEW: Final = 256
"""Pixels below which short rows cost less than the nodes that would make them longer."""
_MANY: Final = 1024
"""Pixels from which the mean over few channels goes by way of a matrix product."""
_TILED: Final = 65_536
"""Weights up to which the MLP itself gives its gate repeated for a row."""
_SMALL: Final = 2048
"""Weights of the first dense layer up to which it stands twice in one matrix, for both pooled vectors side by side."""
_NARROW: Final = 64
"""Channels below which the product with the spatial gate goes by way of a matrix product."""
_DENSE: Final = 64
"""Pixels up to which the spatial convolution is one matrix product."""
_LOW: Final = 28
"""Rows up to which all rows together are the channels of one convolution along the width."""

_HARD: Final = {"hard_sigmoid": 1 / 6, "hard_sigmoid_keras2": 0.2}


def cannot(block: Block, batch: int | None) -> str:
    """Why a block cannot be a fragment, or ``."""
    if batch != 1:
        return "its form for ONNX Runtime takes one example at a time"
    if block.height is None or block.width is None:
        return "the size of its map is open; fix it with --input-shape"
    if block.order == "spatial_channel" and block.channel is not None and block.spatial is not None:
        return "its channel gate is computed from what its spatial gate gives"
    return ""


@dataclasses.dataclass(frozen=True, eq=False)
class Fragment:
    """The ONNX nodes of one block, for one example and a map of known size."""

    block: Block

    def nodes(
        self, names: tuple[str, str, str], values: Values, how: tuple[str, int], *, mean: bool = False
    ) -> tuple[list[Any], list[Any]]:
        """Nodes and initialisers.

        Args:
            names: of the map it takes as (1, C, H, W), of the same as (1, H, W, C), and of that it gives,
                (1, H, W, C). What is within begins with the last.
            values: gives the weights in float64.
            how: the type to compute in, and the operator set.
            mean: give the mean over the map instead of it, (1, C). The product with the spatial gate and its mean are
                one product of a vector and a matrix.
        """
        emitter = _Emitter(self.block, names, values, how)
        emitter.mean() if mean else emitter.whole()
        return emitter.nodes, emitter.initialisers


class _Emitter:
    def __init__(self, block: Block, names: tuple[str, str, str], values: Values, how: tuple[str, int]) -> None:
        self._block = block
        self._first, self._last, self._output = names
        self._values = values
        self._dtype, self._opset = how
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []
        height, width = block.height, block.width
        assert height is not None
        assert width is not None
        self._size = height, width
        self._pixels = height * width
        # How often the gate is repeated, so that rows of the product are long.
        repeats = [n for n in range(1, self._pixels + 1) if self._pixels % n == 0 and n * block.channels <= _ROW]
        short = block.channels < _WIDE and self._pixels >= _FEW
        self._repeats = max(repeats, default=1) if short else 1
        # Of what the spatial gate sees: with the batch where it is made here, since ONNX Runtime computes a product in
        # place only where it keeps its rank. The block's own input stays without: a Reshape that changes nothing would
        # be taken out, and with it what stops the Transpose in front of the block from being moved through all of it.
        self._lead = () if block.channel is None or block.order == "parallel" else (1,)

    def whole(self) -> None:
        """The block's result, (1, H, W, C)."""
        x, refined, gate = self._refined()
        block = self._block
        if block.spatial is not None:
            spatial = self._spatial(block.spatial, x if block.order == "parallel" else refined)
            self._product((x, refined), gate, spatial)
        elif block.residual:
            self._node("Add", refined, x)
        self.nodes[-1].output[0] = self._output

    def mean(self) -> None:
        """Its mean over the map, (1, C)."""
        x, refined, _ = self._refined()
        block, matrix = self._block, (self._pixels, self._block.channels)
        equal = self._constant(np.full((1, self._pixels), 1 / self._pixels))
        if block.spatial is None:
            made = self._node("Gemm", equal, self._reshape(refined, *matrix))
        else:
            spatial = self._spatial(block.spatial, x if block.order == "parallel" else refined)
            total = self._node("Gemm", self._reshape(spatial, 1, self._pixels), self._reshape(refined, *matrix))
            # Gemm's own factor is a float32 whatever it computes in.
            made = self._node("Mul", total, self._constant(np.asarray(1 / self._pixels)))
        if block.residual:
            made = self._node("Add", made, self._node("Gemm", equal, self._reshape(x, *matrix)))
        self.nodes[-1].output[0] = self._output
        assert made == self.nodes[-1].name

    def _refined(self) -> tuple[str, str, str | None]:
        """The block's input (H, W, C) where it is needed, the same times the channel gate (1, H, W, C), that gate."""
        block, channels, repeats = self._block, self._block.channels, self._repeats
        needed = block.channel is None or block.residual or block.order == "parallel"
        x = self._reshape(self._last, *self._size, channels) if needed else ""
        if block.channel is None:
            return x, x, None
        rows = self._reshape(self._last, self._pixels // repeats, repeats * channels)
        gate = self._channel(block.channel)
        return x, self._reshape(self._node("Mul", rows, gate), 1, *self._size, channels), gate

    def _product(self, maps: tuple[str, str], gate: str | None, spatial: str) -> str:
        """The second map times the spatial gate (1, H, W, 1), and the first (H, W, C) added to it if that is asked for;
        (1, H, W, C), by broadcasting."""
        (x, refined), channels, residual = maps, self._block.channels, self._block.residual
        if channels < _NARROW and residual and gate is not None:  # x (1 + c s)
            once = gate
            if self._repeats > 1:
                once = self._node("Slice", gate, self._whole(0), self._whole(channels), self._whole(1))
            both = self._node("Gemm", self._reshape(spatial, self._pixels, 1), once, self._constant(np.ones(1)))
            return self._node("Mul", x, self._reshape(both, 1, *self._size, channels))
        if channels < _NARROW:
            spatial = self._node("MatMul", spatial, self._constant(np.ones((1, channels))))
        made = self._node("Mul", refined, spatial)
        return self._node("Add", made, x) if residual else made

    def _channel(self, gate: ChannelGate) -> str:
        """(1, repeats * C)."""
        channels, repeats = self._block.channels, self._repeats
        kinds = {"avg": "GlobalAveragePool", "max": "GlobalMaxPool"}
        pooled = [self._node(kinds[pool], self._first) for pool in gate.pools]
        tiled = repeats if gate.hidden * channels * repeats <= _TILED else 1
        if gate.shared and len(pooled) == 2:
            logits = self._merged(gate, self._node("Concat", *pooled, axis=1), tiled)
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

    def _merged(self, gate: ChannelGate, pooled: str, tiled: int) -> str:
        """The logits (1, tiled * C) of both pooled vectors (1, 2 C, 1, 1), which one MLP takes."""
        channels, squeeze, excite = self._block.channels, gate.squeeze[0], gate.excite[0]
        if gate.activation is None and channels * gate.hidden <= _SMALL:
            first, second = (_matrix_of(self._values(weights.kernel)) for weights in (squeeze, excite))
            biases = [None if weights.bias is None else self._values(weights.bias) for weights in (squeeze, excite)]
            apart = biases[0] if biases[0] is None else np.tile(biases[0], 2)
            hidden = self._gemm(self._reshape(pooled, 1, 2 * channels), _twice(first), apart)
            both = biases[1] if biases[1] is None else np.tile(2 * biases[1], tiled)
            return self._gemm(self._node("Relu", hidden), np.tile(np.concatenate([second, second]), (1, tiled)), both)
        hidden = self._dense(self._reshape(pooled, 2, channels), squeeze, "relu")
        if gate.activation is None:
            return self._dense(self._sum(hidden), excite, None, tiled, times=2)
        return self._sum(self._dense(hidden, excite, gate.activation, tiled))

    def _dense(self, vector: str, weights: Any, activation: str | None, tiled: int = 1, times: int = 1) -> str:
        kernel = np.tile(_matrix_of(self._values(weights.kernel)), (1, tiled))
        bias = None if weights.bias is None else np.tile(times * self._values(weights.bias), tiled)
        made = self._gemm(vector, kernel, bias)
        return made if activation is None else self._node({"relu": "Relu", "sigmoid": "Sigmoid"}[activation], made)

    def _gemm(self, vector: str, kernel: Array, bias: Array | None) -> str:
        return self._node("Gemm", vector, self._constant(kernel), *([] if bias is None else [self._constant(bias)]))

    def _spatial(self, gate: SpatialGate, seen: str) -> str:
        """(..., H, W, C) -> (1, H, W, 1)."""
        height, width = self._size
        kernel, bias = folded(gate, Weigh(self._values, "float64"))
        maps = [self._pooled(seen, pool) for pool in gate.pools]
        if self._pixels <= _DENSE:
            stacked = self._reshape(self._stacked(maps), 1, len(maps) * self._pixels)
            logits = self._gemm(stacked, _matrix(kernel, self._size), bias)
        elif height <= _LOW:
            logits = self._along_width(self._stacked(maps), kernel, bias)
        else:
            return self._in_strips(maps, kernel, bias, gate.gate)
        return self._reshape(self._gate(gate.gate, logits), 1, height, width, 1)

    def _stacked(self, maps: list[str]) -> str:
        return maps[0] if len(maps) == 1 else self._node("Concat", *maps, axis=-2)

    def _along_width(self, stacked: str, kernel: Array, bias: Array | None) -> str:
        """(..., c * H, W) -> (1, H, 1, W): rows are channels."""
        (height, width), (size, _, pieces, _) = self._size, kernel.shape
        laid = blocked_kernel(kernel.transpose(1, 0, 2, 3), Blocking(height, height), height)[:, 0]
        inputs = [self._reshape(stacked, 1, pieces * height, 1, width), self._constant(laid.T[:, :, None])]
        if bias is not None:
            inputs.append(self._constant(np.broadcast_to(bias, (height,))))
        return self._node("Conv", *inputs, kernel_shape=[1, size], pads=[0, (size - 1) // 2, 0, size // 2])

    def _in_strips(self, maps: list[str], kernel: Array, bias: Array | None, kind: str) -> str:
        """Maps (..., H, W) -> the gate (1, H, W, 1): strips of rows are channels of a depthwise convolution."""
        height, width = self._size
        cut = strips(height, len(kernel), len(maps))
        rows = self._node("Concat", *maps, self._constant(np.zeros((*self._lead, 1, width))), axis=-2)
        places = cut.rows() if self._lead else cut.rows()[None]  # (1, lanes, rows, W) in either case
        lanes = self._node("Gather", rows, self._whole_array(places), axis=len(self._lead))
        kernels = np.repeat(kernel[:, :, :, 0].transpose(2, 0, 1), cut.count, 0)[:, None]
        inputs = [lanes, self._constant(kernels)]
        if bias is not None:
            inputs.append(self._constant(np.where(np.arange(len(kernels)) < cut.count, bias, 0.0)))
        pads = [0, (len(kernel) - 1) // 2, 0, len(kernel) // 2]
        made = self._node("Conv", *inputs, group=len(kernels), kernel_shape=kernel.shape[:2], pads=pads)
        if len(maps) == 2:
            made = self._sum(self._reshape(made, 2, cut.count * cut.height * width))
        made = self._reshape(self._gate(kind, made), 1, cut.count * cut.height, width, 1)
        if cut.count * cut.height == height:
            return made
        return self._node("Gather", made, self._whole(*range(height)), axis=1)  # as Slice does, in a third of the time

    def _pooled(self, of: str, pool: str) -> str:
        """(..., H, W, C) -> (..., H, W)."""
        channels = self._block.channels
        if pool == "avg" and channels < _NARROW and self._pixels >= _MANY:
            row = self._constant(np.full((1, channels), 1 / channels))
            made = self._node("Gemm", row, self._reshape(of, self._pixels, channels), transB=1)
            return self._reshape(made, *self._lead, *self._size)
        kind = {"avg": "ReduceMean", "max": "ReduceMax"}[pool]
        if self._opset >= 18:
            return self._node(kind, of, self._whole(-1), keepdims=0)
        return self._node(kind, of, axes=[-1], keepdims=0)

    def _sum(self, of: str) -> str:
        """(2, n) -> (1, n), by a product: a sum over rows takes longer, and no activation is fused into it."""
        return self._node("Gemm", self._constant(np.ones((1, 2))), of)

    def _gate(self, kind: str, logits: str) -> str:
        if kind == "linear":
            return logits
        if kind == "sigmoid":
            return self._node("Sigmoid", logits)
        # HardSigmoid's own slope is a float32 whatever it computes in.
        sloped = self._node("Mul", logits, self._constant(np.asarray(_HARD[kind])))
        return self._node("HardSigmoid", sloped, alpha=1.0, beta=0.5)

    def _reshape(self, of: str, *shape: int) -> str:
        return self._node("Reshape", of, self._whole(*shape))

    def _node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{self._output}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, value: Array) -> str:
        return self._initialiser(np.ascontiguousarray(value, self._dtype))

    def _whole(self, *value: int) -> str:
        return self._whole_array(np.asarray(value))

    def _whole_array(self, value: Any) -> str:
        return self._initialiser(np.ascontiguousarray(value, np.int64))

    def _initialiser(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"{self._output}/constant_{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(value, name))
        return name


def _matrix_of(kernel: Array) -> Array:
    """The kernel of a dense layer or of a 1x1 convolution as a matrix."""
    return kernel.reshape(kernel.shape[-2:])


def _twice(matrix: Array) -> Array:
    """The matrix that takes two vectors side by side to two side by side."""
    return np.asarray(np.kron(np.eye(2), matrix), np.float64)


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
