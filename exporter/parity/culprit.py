"""Which of several layers that became one operation is at fault, told by how the values differ; NumPy only."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from exporter.parity.layers import Arrays, LayerTensor
from exporter.parity.matching import Match
from exporter.parity.prediction import largest
from exporter.parity.sums import SUMS

_ENOUGH: Final = 0.02
"""Share of the elements from which a part of a tensor can speak for the whole."""

_UNIFORM: Final = 0.2
"""Deviation over the channels of what a factor lacks to 1, beside its mean: below it, one factor for all of them. A
changed epsilon or variance moves channels unlike, in proportion to 1 / variance. Beside the factor itself as well, or
factors near 0 would be alike however unlike they are."""


_SEEN: Final = 2.0
"""Times what is allowed that a prediction has to vary by between samples, to explain anything by being met."""

_LEAST: Final = float(np.finfo(np.float32).tiny)

_LEFT: Final = 0.5
"""Of what a channel is off by, what scale and offset must explain to be the whole of it. It is more than is allowed,
and arithmetic uses less than half of that (measured: up to 0.3); rounding may use all."""

_ACTIVATIONS: Final[tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...]] = (
    ("leaving it out", lambda x: x),
    ("a ReLU in its place", lambda x: np.maximum(x, 0)),
    ("a ReLU6 in its place", lambda x: np.clip(x, 0, 6)),
    ("a ReLU1 in its place", lambda x: np.clip(x, -1, 1)),
)
"""What a runtime may compute in one operation with a convolution, so that the value in front of it is in no tensor."""

PADS: Final = ("Pad", "PadV2", "MirrorPad")
"""Operations that put a border around a map."""

_POINTS: Final = 8
_FLAT: Final = 1e-4
"""Elements of a channel, and their range beside their size, from which a factor and an offset can be told apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Culprit:
    """The layer at fault, empty where that cannot be told, and what shows it, in words."""

    layer: str
    reason: str


UNKNOWN: Final = Culprit("", "")


def segment(layers: Mapping[str, LayerTensor], end: str, known: set[str]) -> list[LayerTensor]:
    """The tensors from the known ones (without them) to `end`, in the order of computation."""
    found: set[str] = set()
    stack = [end]
    while stack:
        name = stack.pop()
        if name in layers and name not in found and (name == end or name not in known):
            found.add(name)
            stack += layers[name].sources
    return [layers[name] for name in layers if name in found]


def culprit(match: Match, chain: Sequence[LayerTensor], predicted: Arrays, rounded: bool) -> Culprit:
    """The layer of a segment that is at fault.

    Args:
        match: the tensor that disagrees, the end of the segment.
        chain: the segment; its tensors' values, as they must be, are in `predicted`.
        rounded: whether the artifact holds rounded weights, so that all that is allowed may be used up by that.
    """
    names = list(dict.fromkeys(tensor.layer for tensor in chain))
    if len(names) == 1 and " + " in names[0]:
        return _product(match, predicted[match.layer.name], rounded)
    if len(names) == 1:
        return Culprit(names[0], "")
    linear, after = _activation(match, chain, predicted)
    if after and _agrees_where_it_is_linear(match, predicted[match.layer.name], predicted[linear.name]):
        return Culprit(after[-1], "right where the activation leaves a value as it is, wrong where it does not")
    other = _other_activation(match, chain, predicted)
    if other is not None:
        return other
    return _scale(match, chain, linear, predicted, rounded)


def _product(match: Match, target: np.ndarray, rounded: bool) -> Culprit:
    """Of a convolution with what follows folded into it, as one operation gives both."""
    layer = match.layer
    if not layer.product or not (layer.weighted or layer.op in SUMS):
        return UNKNOWN
    others = [name for name in layer.layer.split(" + ") if name != layer.product]
    return _by_channel(match, layer.channels, (target, target), (layer.product, others), rounded)


def _activation(match: Match, chain: Sequence[LayerTensor], predicted: Arrays) -> tuple[LayerTensor, list[str]]:
    """The tensor in front of the activation that ends a segment, and the layers of that activation."""
    by_name = {tensor.name: tensor for tensor in chain}
    end = match.layer
    after: list[str] = []
    while len(end.sources) == 1 and end.sources[0] in by_name and not end.weighted:
        source = by_name[end.sources[0]]
        before, behind = predicted[source.name], predicted[end.name]
        # An activation is elementwise and leaves part of the values as they are. What scales leaves none.
        if before.shape != behind.shape or np.mean(before == behind) < _ENOUGH or end.layer == source.layer:
            break
        after.insert(0, end.layer)
        end = source
    return end, after


def _other_activation(match: Match, chain: Sequence[LayerTensor], predicted: Arrays) -> Culprit | None:
    """The activation that ends a segment, where the file holds what another one gives of the value in front of it."""
    layer = match.layer.layer
    own = [tensor for tensor in chain if tensor.layer == layer]
    fed = {source for tensor in own for source in tensor.sources} - {tensor.name for tensor in own}
    before = predicted.get(fed.pop()) if len(fed) == 1 else None
    if before is None or before.shape != match.value.shape or any(tensor.weighted for tensor in own):
        return None
    for words, give in _ACTIVATIONS:
        # The same roundings through a function that is nowhere steeper than twice the usual activations.
        if largest(match.value, give(before)) <= 2 * match.allowed:
            return Culprit(layer, f"the values are those that come of {words}")
    return None


def _agrees_where_it_is_linear(match: Match, behind: np.ndarray, before: np.ndarray) -> bool:
    same = behind == before
    there = np.abs(match.value - behind)[same]
    return bool(np.mean(same) >= _ENOUGH and np.max(there, initial=0.0) <= match.allowed)


def _scale(
    match: Match, chain: Sequence[LayerTensor], linear: LayerTensor, predicted: Arrays, rounded: bool
) -> Culprit:
    """Tell a factor and an offset of each channel, which a normalisation gives, from other weights."""
    weighted = [tensor for tensor in chain if tensor.weighted]
    if any(" + " in tensor.layer and not tensor.product for tensor in chain):
        return UNKNOWN
    if not weighted:
        first = list(dict.fromkeys(tensor.layer for tensor in chain[: chain.index(linear) + 1]))
        return Culprit(first[0], "") if len(first) == 1 else UNKNOWN
    if len(weighted) != 1:
        return UNKNOWN
    heavy = weighted[0].product or weighted[0].layer
    norms = [name for t in chain[chain.index(weighted[0]) : chain.index(linear) + 1] for name in t.layer.split(" + ")]
    others = [name for name in dict.fromkeys(norms) if name != heavy and name != weighted[0].layer]
    target, behind = predicted[linear.name], predicted[match.layer.name]
    if _hidden(chain, weighted[0]) and not _in_few_channels(match, linear.channels, behind):
        return UNKNOWN
    if not others or target.shape != match.value.shape:
        return Culprit(heavy, "") if not others else UNKNOWN
    return _by_channel(match, linear.channels, (target, behind), (heavy, others), rounded)


def _hidden(chain: Sequence[LayerTensor], product: LayerTensor) -> bool:
    """Whether layers in front of a product are in no tensor of the file, and may be at fault as well. Converters take
    padding into the product; of others that is unusual."""
    front = chain[: chain.index(product)]
    return any(each.op not in PADS and each.layer != product.layer for each in front)


def _in_few_channels(match: Match, axis: int, due: np.ndarray) -> bool:
    """Whether most channels of a product are right, which they are not if what it reads is wrong."""
    if match.value.shape != due.shape:
        return False
    off = np.moveaxis(np.abs(match.value - due), axis, 0) > match.allowed
    return bool(np.mean(off.reshape(len(off), -1).any(1)) <= 0.5)


def _by_channel(
    match: Match, axis: int, due: tuple[np.ndarray, np.ndarray], layers: tuple[str, Sequence[str]], rounded: bool
) -> Culprit:
    """Tell a convolution from a normalisation by how the channels differ.

    Args:
        due: what the tensor must be in front of an activation, and behind it.
        layers: the convolution, and the others that became one operation with it.
    """
    heavy, others = layers
    ends = _as_they_are(*due)
    by_channel = [np.moveaxis(each, axis, 0) for each in (*due, match.value)]
    fits = [_fit(target, behind, value, ends) for target, behind, value in zip(*by_channel, strict=True)]
    seen = [fit for fit in fits if fit is not None]
    off = [fit for fit in seen if fit.before > match.allowed]
    if not off:
        return UNKNOWN
    if any(fit.left > 2 * match.allowed or (not rounded and fit.left > _LEFT * fit.before) for fit in off):
        return Culprit(heavy, f"{len(off)} of {len(fits)} channels differ by more than scale and offset")
    if any(fit.left > _LEFT * fit.before for fit in off):
        return UNKNOWN
    factors = np.array([fit.factor for fit in off])
    if len(off) == 1 and len(fits) > 1:
        return UNKNOWN  # one weight of a small kernel or of the normalisation: it looks the same
    mean = float(np.mean(factors))
    if len(off) == len(seen) > 2 and float(np.std(factors)) < _UNIFORM * min(abs(mean - 1), abs(mean)):
        # The weights as a whole, or a normalisation that is alike in all channels, as before training.
        return Culprit("", f"all channels are {mean:.5g} times what they should be")
    if len(others) > 1:
        return UNKNOWN
    return Culprit(others[0], f"{len(off)} of {len(fits)} channels differ in scale and offset only")


@dataclasses.dataclass(frozen=True, slots=True)
class _Fit:
    factor: float
    before: float
    left: float


def _as_they_are(target: np.ndarray, behind: np.ndarray) -> tuple[float, float]:
    """The ends of what an activation leaves as it is: of a value between them, also of a wrong one, it is known what it
    was in front. A LeakyReLU gives values on its other side as well, by another factor.

    Args:
        target: in front of the activation.
        behind: what it gives.
    """
    same = behind == target
    changed = behind[~same]
    if not same.any() or not changed.size:
        return -np.inf, np.inf
    kept = behind[same]
    middle = np.median(kept)  # of a hard swish also 0 stays, far from what else does
    low = np.max(changed[target[~same] < middle], initial=-np.inf)
    high = np.min(changed[target[~same] > middle], initial=np.inf)
    # The nearest that stayed, not the nearest that did not: what is between them may be from either side.
    return (
        float(np.min(kept[kept > low], initial=np.inf)) if low > -np.inf else -np.inf,
        float(np.max(kept[kept < high], initial=-np.inf)) if high < np.inf else np.inf,
    )


def _fit(target: np.ndarray, behind: np.ndarray, value: np.ndarray, ends: tuple[float, float]) -> _Fit | None:
    """value = factor * target + offset of one channel, by least squares over what the activation leaves as it is."""
    if ends == (-np.inf, np.inf):
        open_ = behind == target
    else:
        # At an end of its own range a value may have been clipped.
        low, high = max(ends[0], float(value.min())), min(ends[1], float(value.max()))
        open_ = (behind == target) & (value > low) & (value < high)
    x, y = target[open_].astype(np.float64), value[open_].astype(np.float64)
    if len(x) < _POINTS or float(np.ptp(x)) <= _FLAT * float(np.max(np.abs(x))):
        return None
    factor = float(np.mean((x - x.mean()) * (y - y.mean())) / np.var(x))
    offset = float(y.mean() - factor * x.mean())
    return _Fit(factor, float(np.max(np.abs(y - x))), float(np.max(np.abs(y - (factor * x + offset)))))


def input_variants(inputs: Arrays) -> list[tuple[str, str, Arrays]]:
    """Usual ways to take an image wrongly: the input's name, what was done, the inputs as they then are."""
    found: list[tuple[str, str, Arrays]] = []
    for name, value in inputs.items():
        for words, change in _CHANGES:
            changed = change(value)
            if changed is not None and changed.shape == value.shape and not np.array_equal(changed, value):
                found.append((name, words, {**inputs, name: changed}))
    return found


def _as_other_layout(value: np.ndarray) -> np.ndarray | None:
    return value.transpose(0, 3, 1, 2).reshape(value.shape) if value.ndim == 4 else None


def _from_other_layout(value: np.ndarray) -> np.ndarray | None:
    if value.ndim != 4:
        return None
    count, height, width, channels = value.shape
    return value.reshape(count, channels, height, width).transpose(0, 2, 3, 1)


_CHANGES: Final[tuple[tuple[str, Callable[[np.ndarray], np.ndarray | None]], ...]] = (
    ("the numbers of an NCHW image are read as NHWC", _as_other_layout),
    ("the numbers of an NHWC image are read as NCHW", _from_other_layout),
    ("height and width are exchanged", lambda v: v.swapaxes(1, 2) if v.ndim == 4 else None),
    ("the channels are in reverse order (RGB and BGR)", lambda v: v[..., ::-1] if v.ndim == 4 else None),
    ("it is upside down", lambda v: v[:, ::-1] if v.ndim == 4 else None),
    ("it is divided by 255", lambda v: v / np.float32(255)),
    ("it is multiplied by 255", lambda v: v * np.float32(255)),
    ("it is brought from 0..1 to -1..1", lambda v: v * np.float32(2) - np.float32(1)),
    ("it is brought from 0..255 to -1..1", lambda v: v / np.float32(127.5) - np.float32(1)),
)


def other_ways(match: Match, chain: Sequence[LayerTensor], values: Arrays) -> Iterator[tuple[str, str, Arrays]]:
    """Usual faults of a layer inside a segment, of which the file holds no tensor: the layer's name, what is wrong with
    it, and what its result then is, by tensor."""
    for layer in dict.fromkeys(tensor.layer for tensor in chain):
        own = [tensor for tensor in chain if tensor.layer == layer]
        end = own[-1]
        if " + " in layer or end.name == match.layer.name:
            continue
        before = _before_activation(own, values)
        if before is not None and before.shape == values[end.name].shape:
            for words, give in _ACTIVATIONS:
                yield layer, f"the values are those that come of {words}", {end.name: give(before)}
        if any(tensor.weighted for tensor in own):
            continue
        if end.op in PADS and values[end.name].ndim == 4:
            for way in _SHIFTS:
                yield layer, "the border is at other sides", {end.name: np.roll(values[end.name], way, (1, 2))}
    yield from _turned_otherwise(chain, values)


def _before_activation(own: Sequence[LayerTensor], values: Arrays) -> np.ndarray | None:
    """What the activation reads that a layer is, or that one with weights ends in; None where it is no such layer."""
    names = {tensor.name for tensor in own}
    products = [tensor for tensor in own if tensor.weighted]
    if not products:
        fed = {source for tensor in own for source in tensor.sources} - names
        return values.get(fed.pop()) if len(fed) == 1 else None
    linear = products[-1]
    for tensor in own:
        if tensor.op in SUMS and names.intersection(tensor.sources) == {linear.name}:
            linear = tensor  # with its bias
    return values[linear.name] if len(products) == 1 and linear is not own[-1] else None


def _turned_otherwise(chain: Sequence[LayerTensor], values: Arrays) -> Iterator[tuple[str, str, Arrays]]:
    """The same of layers that turn axes: what the tensor in front would have to be for the numbers to come in the order
    that another such layer gives them."""
    for turn in dict.fromkeys(turn for tensor in chain for turn in tensor.turns):
        value = values.get(turn.source)
        if value is None or value.ndim != len(turn.axes):
            continue
        shape, back = value.transpose(turn.axes).shape, np.argsort(turn.axes)
        for axes in itertools.permutations(range(1, value.ndim)):
            if (0, *axes) != turn.axes:
                other = value.transpose(0, *axes).reshape(shape).transpose(back)
                words = f"the values are those that come of the axes in the order {', '.join(map(str, axes))}"
                yield turn.layer, words, {turn.source: other}


_SHIFTS: Final = ((1, 1), (-1, -1), (1, 0), (0, 1), (-1, 0), (0, -1))


def explains(match: Match, predicted: np.ndarray, due: np.ndarray) -> bool:
    """Whether another prediction is what the tensor holds, and varies enough that it could have been seen not to be.

    Args:
        due: what the tensor must be. What is allowed of that is rounding, which grows with the values.
    """
    larger = float(np.max(np.abs(predicted), initial=0.0)) / max(float(np.max(np.abs(due), initial=0.0)), _LEAST)
    allowed = match.allowed * max(1.0, larger)
    deviation = float(np.sqrt(np.mean(np.var(predicted.astype(np.float64), axis=0))))
    return deviation > _SEEN * allowed and largest(match.value, predicted) <= allowed
