"""Is a value the channel gate or the spatial gate of CBAM (Woo et al. 2018, equations 2 and 3)? If not, why."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from converters.deploy.algebra import (
    Act,
    Affine,
    Axis,
    Clip,
    Conv,
    Derived,
    Group,
    Linear,
    Norm,
    Own,
    Pooled,
    Product,
    Stack,
    Sum,
    Value,
    View,
    Weights,
)

__all__ = ["ChannelGate", "Gate", "NoGateError", "SpatialGate", "factors", "free_of", "gate_of", "own_gate", "value_of"]

_POOLS: Final = {"mean": "avg", "max": "max"}
_SLOPES: Final = {"hard_sigmoid": 1 / 6, "hard_sigmoid_keras2": 0.2}
"""clip(slope * x + 0.5, 0, 1): Keras 3's, and that of Keras 1 and 2."""


class NoGateError(Exception):
    """The value is no gate of CBAM; the message says what it is instead."""


@dataclasses.dataclass(frozen=True, eq=False)
class ChannelGate:
    """gate(f(avg) + f(max)), f(v) = activation(W1 relu(W0 v + b0) + b1), over the axis `axis` of the map.

    pools: which of `avg` and `max` there are. squeeze, excite: the layers' weights, one for each of `pools`; the same
    one where the MLP is shared. hidden: units between them. activation: what follows the second: None, `relu` or
    `sigmoid`. gate: `sigmoid`, `hard_sigmoid`, `hard_sigmoid_keras2` (0.2 x + 0.5) or `linear`.
    """

    axis: int
    pools: tuple[str, ...]
    squeeze: tuple[Weights, ...]
    excite: tuple[Weights, ...]
    hidden: int
    activation: str | None
    gate: str

    @property
    def biases(self) -> tuple[bool, bool]:
        return self.squeeze[0].bias is not None, self.excite[0].bias is not None

    @property
    def shared(self) -> bool:
        return len({id(weights.kernel) for weights in self.squeeze}) == 1


@dataclasses.dataclass(frozen=True, eq=False)
class SpatialGate:
    """gate(norm(conv([pool, pool]))), pooled over the axis `axis` of the map.

    pools: `avg` and `max` in the order in which they are stacked. norm: the BatchNormalization layer or None.
    """

    axis: int
    pools: tuple[str, ...]
    conv: Weights
    kernel_size: int
    norm: Any
    gate: str


Gate = ChannelGate | SpatialGate


def factors(view: View) -> list[Value]:
    """The gates that a product is made of."""
    return list(view.value.factors) if isinstance(view.value, Product) else [view.value]


def gate_of(value: Value, shape: tuple[int | None, ...]) -> Gate:
    """The gate that a value is, for a map of `shape`.

    Raises:
        NoGateError: with what differs from CBAM.
    """
    if isinstance(value, Own):
        return own_gate(value.layer, value.axis)
    kind, logits = _open_gate(value)
    pooled = list(_pooled(logits))
    if not pooled:
        raise NoGateError("nothing is pooled in its gate")
    spans = {len(each.over) for each in pooled}
    if spans == {1}:
        return _spatial(kind, logits, shape)
    if spans == {2}:
        return _channel(kind, logits, shape)
    raise NoGateError("its gate pools now over one axis, now over two")


def own_gate(layer: Any, axis: int) -> Gate:
    """The gate of this package's own ChannelAttention or SpatialAttention."""
    dialect = layer.dialect
    if hasattr(layer, "mlps"):
        mlps = [layer.mlps[0], layer.mlps[-1]]
        return ChannelGate(
            axis,
            ("avg", "max"),
            squeeze=tuple(Weights(mlp[0].kernel, mlp[0].bias) for mlp in mlps),
            excite=tuple(Weights(mlp[1].kernel, mlp[1].bias) for mlp in mlps),
            hidden=layer.mlps[0][0].units,
            activation=dialect.mlp_activation,
            gate=dialect.gate,
        )
    conv = Weights(layer.conv.kernel, layer.conv.bias if layer.conv.use_bias else None)
    return SpatialGate(axis, tuple(dialect.pools), conv, layer.conv.kernel_size[0], layer.norm, dialect.gate)


def _open_gate(value: Value) -> tuple[str, Value]:
    if isinstance(value, Act) and value.kind == "sigmoid":
        return "sigmoid", value.arg
    if isinstance(value, Clip) and isinstance(value.arg, Affine) and (value.low, value.high) == (0.0, 1.0):
        for name, slope in _SLOPES.items():
            if math.isclose(value.arg.scale, slope, rel_tol=1e-6) and math.isclose(value.arg.shift, 0.5, rel_tol=1e-6):
                return name, value.arg.arg
    if isinstance(value, Affine | Sum):
        raise NoGateError("it is scaled or added to after its gate function, or has none")
    raise NoGateError("its gate ends in no sigmoid or hard sigmoid")


def _pooled(value: Value) -> list[Pooled]:
    if isinstance(value, Pooled):
        return [value]
    if isinstance(value, Sum | Stack | Product):
        parts = value.terms if isinstance(value, Sum) else value.parts if isinstance(value, Stack) else value.factors
        return [each for part in parts for each in _pooled(part)]
    inner = getattr(value, "arg", None)
    return [] if inner is None else _pooled(inner)


def _spatial(kind: str, logits: Value, shape: tuple[int | None, ...]) -> SpatialGate:
    norm = None
    if isinstance(logits, Norm):
        norm, logits = logits.layer, logits.arg
    if isinstance(logits, Sum) and all(isinstance(term, Conv) for term in logits.terms):
        logits = _joined(logits.terms) or logits
    if isinstance(logits, Sum) and all(isinstance(term, Pooled) for term in logits.terms):
        raise NoGateError("its pooled maps are added, not convolved")
    if not isinstance(logits, Conv):
        raise NoGateError("its spatial gate is not one convolution of the pooled maps and a BatchNormalization at most")
    pieces = logits.arg.parts if isinstance(logits.arg, Stack) else (logits.arg,)
    names = []
    for piece in pieces:
        if not isinstance(piece, Pooled):
            raise NoGateError("its convolution reads more than pooled maps")
        names.append(_pool(piece, shape))
    if len(set(names)) != len(names):
        raise NoGateError(f"its spatial gate pools {' and '.join(names)}, not max and avg")
    axes = {label for piece in pieces if isinstance(piece, Pooled) for label in piece.over}
    if len(axes) != 1:
        raise NoGateError("its two maps are pooled over different axes")
    axis = axes.pop()
    if axis not in (1, 3):
        raise NoGateError(f"its spatial gate pools over axis {axis}, which never holds channels")
    assert isinstance(axis, int)
    return SpatialGate(axis, tuple(names), logits.weights, logits.size, norm, kind)


def _joined(terms: tuple[Value, ...]) -> Conv | None:
    """Convolutions of one pooled map each, added, as one of all of them."""
    convs = [term for term in terms if isinstance(term, Conv) and isinstance(term.arg, Pooled)]
    first = convs[0] if convs else None
    if first is None or len(convs) != len(terms) or any(each.axes != first.axes for each in convs):
        return None
    if any(each.size != first.size for each in convs):
        return None
    kernels = tuple(each.weights.kernel for each in convs)
    biases = tuple(each.weights.bias for each in convs if each.weights.bias is not None)
    size = first.size

    def kernel(values: Any) -> Any:
        return np.concatenate([value_of(each, values).reshape(size, size, 1, 1) for each in kernels], 2)

    def bias(values: Any) -> Any:
        return sum(value_of(each, values) for each in biases)

    weights = Weights(Derived(kernel, free_of(kernels)), Derived(bias, free_of(biases)) if biases else None)
    return Conv(Stack(tuple(each.arg for each in convs)), weights, size, first.axes)


def value_of(weight: Any, values: Callable[[Any], Any]) -> Any:
    """The value of a weight of a gate."""
    return weight.make(values) if isinstance(weight, Derived) else values(weight)


def free_of(weights: Iterable[Any]) -> tuple[Any, ...]:
    """The variables among weights of a gate that may have any value."""
    return tuple(each for weight in weights for each in (weight.free if isinstance(weight, Derived) else (weight,)))


def _channel(kind: str, logits: Value, shape: tuple[int | None, ...]) -> ChannelGate:
    branches = logits.terms if isinstance(logits, Sum) else (logits,)
    if [each.kind for each in _pooled(logits)] == ["mean"]:
        raise NoGateError("its channel gate pools avg alone: squeeze-and-excitation")
    found = sorted((_branch(branch, shape) for branch in branches), key=lambda branch: branch[0])
    names = tuple(name for name, *_ in found)
    if names not in (("avg", "max"), ("max",)):
        raise NoGateError(f"its channel gate pools {' and '.join(names)}, not max and avg")
    _, axis, squeeze, excite, activation = found[0]
    for _, other_axis, other_squeeze, other_excite, other_activation in found[1:]:
        if other_axis != axis:
            raise NoGateError("its two vectors are pooled over different axes")
        if other_squeeze.weights.kernel is not squeeze.weights.kernel or (
            other_excite.weights.kernel is not excite.weights.kernel
        ):
            raise NoGateError("its two vectors go through MLPs of their own, not through one")
        if other_activation != activation:
            raise NoGateError("its two vectors go through different activations")
    if axis not in (1, 3):
        raise NoGateError(f"its channel gate keeps axis {axis}, which never holds channels")
    if excite.units != shape[axis]:
        raise NoGateError(f"its MLP gives {excite.units} numbers for {shape[axis]} channels")
    weights = tuple(branch[2].weights for branch in found), tuple(branch[3].weights for branch in found)
    return ChannelGate(axis, names, *weights, hidden=squeeze.units, activation=activation, gate=kind)


def _branch(value: Value, shape: tuple[int | None, ...]) -> tuple[str, int, Linear, Linear, str | None]:
    """The pool, channel axis, two dense layers and last activation of one pass through the MLP."""
    activation = None
    if isinstance(value, Act) and value.kind in ("relu", "sigmoid"):
        activation, value = value.kind, value.arg
    if isinstance(value, Sum | Product | Stack):
        raise NoGateError("its pooled vectors are merged inside the MLP")
    if not isinstance(value, Linear):
        raise NoGateError("its channel gate does not end in a dense layer")
    excite, hidden = value, value.arg
    if not (isinstance(hidden, Act) and hidden.kind == "relu"):
        raise NoGateError("there is no ReLU between two dense layers in its channel gate")
    squeeze = hidden.arg
    if not isinstance(squeeze, Linear) or not isinstance(squeeze.arg, Pooled):
        raise NoGateError("its channel gate is not an MLP of two dense layers on a pooled vector")
    kept = {1, 2, 3} - set(squeeze.arg.over)
    (axis,) = (axis for axis in kept if isinstance(axis, int))
    if squeeze.axis != axis or excite.axis != "f":
        raise NoGateError("its dense layers do not work along the channels")
    return _pool(squeeze.arg, shape), axis, squeeze, excite, activation


def _pool(pooled: Pooled, shape: tuple[int | None, ...]) -> str:
    """`avg` or `max`; a sum divided by the count is an avg."""
    if pooled.kind in _POOLS and pooled.scale == 1.0:
        return _POOLS[pooled.kind]
    if pooled.kind == "sum":
        sizes = [shape[label] for label in pooled.over if isinstance(label, int)]
        if None not in sizes and math.isclose(pooled.scale * math.prod(size or 0 for size in sizes), 1.0, rel_tol=1e-6):
            return "avg"
    raise NoGateError(f"it pools by {pooled.kind}" + ("" if pooled.scale == 1.0 else f" times {pooled.scale:g}"))


def fits(view: View, map_layout: tuple[Group, ...], channel: int | None) -> bool:
    """Whether a gate lies over the map as it is multiplied: each axis over its own, or over all of it."""
    if len(view.layout) != len(map_layout):
        return False
    for group, own in zip(view.layout, map_layout, strict=True):
        if not group or group[0].label == "*" or group == own:
            continue
        if not (len(own) == 1 and own[0].label == channel and group == (Axis("f", own[0].size),)):
            return False
    return True
