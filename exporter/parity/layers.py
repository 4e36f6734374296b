"""What a search along the layers compares with: every tensor of the model itself, and how each follows from others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]

Gate = Literal["", "channel", "spatial"]

Rounding = Literal["", "half", "8 bits, scale a channel", "8 bits, one scale", "8 bits, apart"]
"""How an artifact may store the weights; empty: as they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """A layer that gives a tensor's axes in another order, which is no tensor of its own.

    Attributes:
        layer: path of that layer.
        source: the tensor whose axes it turns.
        axes: the order, samples first, as of a transposition.
    """

    layer: str
    source: str
    axes: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LayerTensor:
    """One tensor that the model computes from its inputs.

    Attributes:
        name: of the operation that computes it, unique.
        op: that operation's type, as TensorFlow calls it (`Conv2D`, `Relu`).
        layer: path of the Keras layer or operation it belongs to, through nested models and into CBAM's own parts;
            several with ` + ` between where one operation stands for all of them.
        block: name of the CBAM block it belongs to, or empty.
        gate: whether it is that block's channel or spatial gate.
        sources: names of the tensors, inputs of the model included, that it is computed from.
        weighted: whether it is a product with weights, a convolution or a matrix product.
        channels: the axis of its channels.
        product: where `layer` names several, the one among them that multiplies with weights, if it is one.
        turns: layers between its sources and it that turn axes.
        axes, shape: of a gate that is computed in another form: turned by `axes`, which may be empty, and with
            the sizes `shape` behind the samples it is as the model has it. Empty: it is so.
    """

    name: str
    op: str
    layer: str
    block: str = ""
    gate: Gate = ""
    sources: tuple[str, ...] = ()
    weighted: bool = False
    channels: int = -1
    product: str = ""
    turns: tuple[Turn, ...] = ()
    axes: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    def upright(self, value: np.ndarray) -> np.ndarray:
        """A value of this tensor, samples first, in the form that the model has it in."""
        turned = value.transpose(self.axes) if self.axes else value
        return turned.reshape(len(value), *self.shape) if self.shape else turned


class InnerReference(Protocol):
    """A model whose every tensor can be read, and replaced.

    Attributes:
        tensors: in the order of computation. The inputs of the model are not among them.
        outputs: names of the model's outputs -> the tensors that they are.
    """

    tensors: Sequence[LayerTensor]
    outputs: Mapping[str, str]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The value of each tensor for inputs by the model's names, samples first, in float32 as the model computes."""

    def exact(self, inputs: Arrays, given: Arrays | None = None, weights: Rounding = "") -> dict[str, np.ndarray]:
        """The same in float64.

        Args:
            given: values to go on with in place of those of some tensors. Each of these tensors itself is still what
                follows from what comes before it.
            weights: how the weights are rounded first.
        """
