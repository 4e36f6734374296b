"""The tensors of a lowered model under the names of the model it was made from.

Lowering computes the same numbers by other operations (`converters.deploy`). A tensor of the lowered graph whose value
is that of a tensor of the model is that tensor: its layer, its block, and whether it is a gate. What stands for several
operations at once, as half of a convolution, is named by all layers that its result stands for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.errors import ModelError
from exporter.inner import InnerModel
from exporter.inner_names import Named
from exporter.parity.culprit import segment
from exporter.parity.layers import Arrays, LayerTensor
from exporter.parity.prediction import largest

TOLERANCE: Final = 1e-5
"""Of the largest number of a tensor. Both graphs run in float64, but what is folded into weights was rounded to float32
when they were stored: 6e-8 each, which grows along the net. Tensors that only happen to be this near in every element
of several samples are not met."""

SHARE: Final = 0.25
"""Of what float32 arithmetic does to a tensor of the model, where that is more: nets that make small differences large
do so with rounded weights as well. Measured: 0.13 at most, 0.02 in the median of a MobileNetV2 whose float32 run is
1.4e-3 off."""

SAMPLES: Final = 4
_STACKED: Final = ("ConcatV2", "Pack")
_GLUE: Final = (*_STACKED, "AddV2", "Add")
"""Operations that bring tensors together: where layers with weights become one operation with them, they are meant."""

_ORDERS: Final = ((), (0, 2, 3, 1), (0, 3, 1, 2))
"""How the axes of a map may be turned."""


def lowered_inner(plain: InnerModel, traced: Any, inputs: Arrays) -> InnerModel:
    """The inner tensors of a lowered model.

    Args:
        plain: those of the model itself, of the same batch.
        traced: the lowered model's trace.
        inputs: real samples by name; the first few are run through both.

    Raises:
        ModelError: the two do not compute the same.
    """
    inner = InnerModel(traced, Named({}, {}, {}))
    few = {name: array[: max(SAMPLES, plain.batch) // plain.batch * plain.batch] for name, array in inputs.items()}
    own, other = plain.exact(few), inner.exact(few)
    limits = _limits(own, plain.run(few))
    plain.close()
    for name, end in plain.outputs.items():
        one, two = own.get(end), other.get(inner.outputs[name])
        if one is None or two is None:
            continue  # an output that is an input
        if not _same(two.reshape(-1), one.reshape(-1), limits[end]):
            raise ModelError(f"the lowered model gives another output {name!r} than the model itself")
    inner.tensors = tuple(_Naming(plain.tensors, own, inner.tensors, other, limits).renamed())
    return inner


def _limits(exact: Arrays, single: Arrays) -> dict[str, float]:
    """How far a tensor of the lowered graph may be from each of the model."""
    found = {}
    for name, value in exact.items():
        rounding = largest(single[name], value) if name in single else 0.0
        least = TOLERANCE * float(np.max(np.abs(value), initial=0.0))
        found[name] = max(least, SHARE * rounding) if np.isfinite(rounding) else least
    return found


def _same(one: np.ndarray, other: np.ndarray, limit: float) -> bool:
    return one.shape == other.shape and bool(np.max(np.abs(one - other), initial=0.0) <= limit)


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """How a tensor of the lowered graph is one of the model: `name`, and turned by `axes` in the shape of it; or it is
    two of them behind one another, `other` being the first; or `part`, every other row of it."""

    name: str
    axes: tuple[int, ...] = ()
    other: str = ""
    part: bool = False


class _Naming:
    def __init__(
        self,
        model: Sequence[LayerTensor],
        own: Arrays,
        lowered: Sequence[LayerTensor],
        values: Arrays,
        limits: Mapping[str, float],
    ) -> None:
        self._model = {each.name: each for each in model}
        self._lowered = {each.name: each for each in lowered}
        self._own, self._values, self._limits = own, values, limits
        self._order = {name: place for place, name in enumerate(self._model)}
        self._before = _reached({name: each.sources for name, each in self._model.items()})
        self._above = _reached({name: each.sources for name, each in self._lowered.items()})
        self._readers: dict[str, list[str]] = {name: [] for name in self._lowered}
        for each in lowered:
            for source in each.sources:
                if source in self._readers:
                    self._readers[source].append(each.name)
        self._flat = {name: value.reshape(len(value), -1) for name, value in own.items()}
        self._moments = {name: _moments(value) for name, value in own.items()}

    def renamed(self) -> list[LayerTensor]:
        """The lowered graph's tensors with the model's names, in order."""
        candidates = {name: self._equal(name) for name in self._lowered}
        found = {name: seen[0] for name, seen in candidates.items() if len(seen) == 1}
        for name, seen in candidates.items():
            if len(seen) > 1:
                found[name] = self._nearest(name, seen, found)
        known = {each for seen in candidates.values() for one in seen for each in (one.name, one.other) if each}
        taken = {each.name for each in found.values()}
        for seen in candidates.values():
            others = {each.name for each in seen} - taken
            # A normalisation of 1 gives the numbers of the product in front of it, and one without an offset the same
            # before and behind that: parts of the product come first.
            if any(self._model[name].weighted for each in others for name in (each, *self._new(each, known))):
                known -= others
        gates: set[str] = set()
        renamed = []
        for name, tensor in self._lowered.items():
            if name not in found:
                renamed.append(self._unknown(tensor, found, known))
                continue
            own = self._model[found[name].name]
            whole = not found[name].other and not found[name].part
            gate = own.gate if own.name not in gates and whole else ""
            gates |= {own.name} if gate else set()
            shape = self._own[own.name].shape[1:] if gate == "spatial" else ()
            named = self._spanning(tensor, own.name, known - {own.name})
            alike = [turn.axes for turn in tensor.turns] == [turn.axes for turn in own.turns]
            turns = zip(tensor.turns, own.turns, strict=True) if alike else ()
            named = dataclasses.replace(
                named, turns=tuple(dataclasses.replace(turn, layer=other.layer) for turn, other in turns)
            )
            renamed.append(dataclasses.replace(named, gate=gate, axes=found[name].axes if gate else (), shape=shape))
        return renamed

    def _new(self, name: str, known: set[str]) -> list[str]:
        """What a tensor of the model is computed from that is not known."""
        return [each for each in self._model[name].sources if each in self._model and each not in known]

    def _equal(self, name: str) -> list[_Seen]:
        """The model's tensors that hold the same numbers, once, repeated, as one of two halves, or among others."""
        value = self._values[name]
        whole = self._like(value) or self._rows_like(value)
        if whole or value[0].size % 2:
            return whole
        halves = np.split(value.reshape(len(value), -1), 2, axis=1)
        one, two = (self._like(half) for half in halves)
        pairs = [(a, b) for a in one for b in two if self._model[a.name].layer == self._model[b.name].layer]
        both = (sorted((a.name, b.name), key=lambda each: self._order[each]) for a, b in pairs)
        return [_Seen(last, other=first) for first, last in both]

    def _like(self, value: np.ndarray) -> list[_Seen]:
        mean, deviation, size = _moments(value)
        found = []
        for name, flat in self._flat.items():
            times, left = divmod(value.size, flat.size) if flat.size else (0, 1)
            own_mean, own_deviation, _ = self._moments[name]
            limit = self._limits[name]
            near = 2 * max(limit, TOLERANCE * size)
            if left or not times or abs(mean - own_mean) > near or abs(deviation - own_deviation) > near:
                continue
            if times > 1:
                # Repeated: a gate in rows of the product with it.
                rows = value.reshape(len(value), times, -1)
                if flat.shape[1] > 1 and _same(rows, np.broadcast_to(flat[:, None], rows.shape), limit):
                    found.append(_Seen(name))
                continue
            for axes in _ORDERS if value.ndim == 4 else _ORDERS[:1]:
                turned = value.transpose(axes) if axes else value
                if _same(turned.reshape(len(value), -1), flat, limit):
                    found.append(_Seen(name, axes))
                    break
        return found

    def _rows_like(self, value: np.ndarray) -> list[_Seen]:
        """The maps whose every other row this is; that of one that has no such row last may hold anything."""
        found = []
        for name, own in self._own.items() if value.ndim == 4 and np.ptp(value) > 0 else ():
            if own.ndim != 4 or own.shape[2:] != value.shape[2:] or (own.shape[1] + 1) // 2 != value.shape[1]:
                continue
            for start in range(2):
                rows = own[:, start::2]
                if rows.size and _same(value[:, : rows.shape[1]], rows, self._limits[name]):
                    found.append(_Seen(name, part=True))
        return found

    def _nearest(self, name: str, seen: Sequence[_Seen], found: Mapping[str, _Seen]) -> _Seen:
        """Of several tensors that hold the same numbers, as gates that are constant, the one that stands there."""
        before = {found[each].name for each in self._above[name] if each in found}
        behind = {found[each].name for each in self._lowered if each in found and name in self._above[each]}
        taken = {each.name for each in found.values()}
        op = self._lowered[name].op

        def rank(each: _Seen) -> tuple[int, int, bool, bool, int]:
            own = self._before[each.name] | {each.name}
            above = sum(other in own for other in before)
            below = sum(each.name in self._before[other] | {other} for other in behind)
            return (
                above + below,
                -len(before - own),
                self._model[each.name].op == op,
                each.name not in taken,
                -self._order[each.name],
            )

        return max(seen, key=rank)

    def _unknown(self, tensor: LayerTensor, found: Mapping[str, _Seen], known: set[str]) -> LayerTensor:
        """Named by the layers between what comes before it and the nearest behind it that is a tensor of the model."""
        ends: list[str] = []
        stack, done = [tensor.name], {tensor.name}
        while stack:
            for reader in self._readers[stack.pop()]:
                if reader in done:
                    continue
                done.add(reader)
                if reader in found:
                    ends.append(found[reader].name)
                else:
                    stack.append(reader)
        if not ends:
            return tensor
        return self._spanning(tensor, min(ends, key=lambda each: self._order[each]), known)

    def _spanning(self, tensor: LayerTensor, end: str, known: set[str]) -> LayerTensor:
        """Named by all layers of the model from the known tensors to `end`."""
        chain = segment(self._model, end, known)
        if tensor.op in _STACKED:
            chain = [each for each in chain if each.op in _STACKED] or chain
        elif any(each.weighted for each in chain):
            chain = [each for each in chain if each.op not in _GLUE]
        layers = list(dict.fromkeys(each.layer for each in chain))
        products = list(dict.fromkeys(each.layer for each in chain if each.weighted))
        return dataclasses.replace(
            tensor,
            layer=" + ".join(layers),
            block=self._model[end].block,
            product=products[0] if len(layers) > 1 and len(products) == 1 else "",
        )


def _moments(value: np.ndarray) -> tuple[float, float, float]:
    """Mean, deviation and largest size."""
    return float(np.mean(value)), float(np.std(value)), float(np.max(np.abs(value), initial=0.0))


def _reached(sources: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """All that each name is computed from. The names are in the order of computation."""
    found: dict[str, set[str]] = {}
    for name, direct in sources.items():
        found[name] = set(direct).union(*(found.get(each, ()) for each in direct))
    return found
