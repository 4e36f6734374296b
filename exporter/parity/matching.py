"""Which tensor of the model each tensor of a file is: by value where values tell, by name and place where they do not.

Names in a file are a hint only: TFLite joins the names of fused operations, tf2onnx gives a transposition the name of
what comes after it, a graph optimiser drops them. A tensor whose values are what the model predicts from the file's own
values before it (`prediction`) is that tensor. The rest, where a fault is, is matched by name, then by place; what
others gainsay is taken back (`repairs`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import numpy as np

from exporter.parity.carried import carried
from exporter.parity.copies import as_clipped_before
from exporter.parity.layers import Arrays, LayerTensor
from exporter.parity.names import Names
from exporter.parity.nearness import as_near, distance, moments, nearest
from exporter.parity.prediction import Prediction, Predictor, largest, may_clip
from exporter.parity.sums import biased_apart, with_its_bias
from exporter.parity.traced import FileTensor, views

_ROUNDS: Final = 6
_CLOSE: Final = 10
"""Times the root mean square error is the least spread of what is known by its value, where more is allowed: that near,
it follows the values. (The largest of many errors is not asked: of 8 bits it is a tenth of the spread.)"""

_ALIKE: Final = 0.5
"""Root mean square error, in units of the spread, below which two tensors are taken to be meant as the same one: two
that have nothing to do with each other are 1.4 apart, or more."""

_MOST: Final = 0.5
"""Share of the elements that are as predicted from which a tensor is what its name may mean, whatever the others are:
an activation that is another one, say."""

How = Literal["value", "name", "place"]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Match:
    """A tensor of the file and the tensor of the model that it is.

    Attributes:
        value: the file's, in the model's shape.
        error: the largest difference from what is predicted; allowed: what of that is arithmetic.
        how: what tells that they are the same.
    """

    file: FileTensor
    layer: LayerTensor
    value: np.ndarray
    error: float
    allowed: float
    how: How

    @property
    def agrees(self) -> bool:
        return bool(self.error <= self.allowed)


class Matcher:
    """Matches the tensors of one file with those of a model.

    Args:
        given: the inputs by the model's names and in its layout, as the file took them in.
    """

    def __init__(self, predictor: Predictor, tensors: Sequence[FileTensor], given: Arrays) -> None:
        self._predictor, self._tensors, self._given = predictor, tensors, given
        self._layers = {tensor.name: tensor for tensor in predictor.reference.tensors}
        self._order = {name: place for place, name in enumerate(self._layers)}
        self._before = _ancestors({name: tensor.sources for name, tensor in self._layers.items()})
        self.above = _ancestors({tensor.name: tensor.sources for tensor in tensors})
        self._by_file = {tensor.name: tensor for tensor in tensors}
        self.named = Names(self._layers)
        read = {source for tensor in tensors for source in tensor.sources}
        self._last = {tensor.name for tensor in tensors if tensor.name not in read}
        self._biased_apart = biased_apart(tensors)
        self._moments = {t.name: moments(t.value) for t in tensors}
        self._known: Mapping[str, Match] = {}
        self.prediction = predictor.predict({}, given)

    def assigned(self) -> list[Match]:
        """What each tensor is, as far as can be told one by one (`repairs.matched` goes on), in the file's order of
        computation."""
        found: dict[str, Match] = {}
        for number in range(_ROUNDS):
            before = {name: match.layer.name for name, match in found.items()}
            found = self._assign(found, by_place=number > 0)
            if number and before == {name: match.layer.name for name, match in found.items()}:
                break
            self.prediction = self.predict(found.values())
        return list(self.judged(found.values()).values())

    def predict(self, matches: Iterable[Match]) -> Prediction:
        # Of several tensors that are the same one, the last is what the rest of the file reads.
        return self._predictor.predict({match.layer.name: match.value for match in matches}, self._given)

    def judged(self, matches: Iterable[Match]) -> dict[str, Match]:
        """The same matches under the newest prediction."""
        matches, judged = list(matches), {}
        self._known = {match.file.name: match for match in matches}
        for match in matches:
            error, allowed = self._error(match.file, match.layer.name, match.value, self.prediction)
            judged[match.file.name] = dataclasses.replace(match, error=error, allowed=allowed)
        return as_clipped_before(self._by_what_they_read(judged))

    def _by_what_they_read(self, judged: dict[str, Match]) -> dict[str, Match]:
        """Judge what disagrees once more by the tensors that it reads itself, where a file holds several copies of one
        (rounded in turn, each to its own range) and the prediction went on with another of them."""
        known = {match.layer.name: match for match in judged.values()}
        alike: dict[tuple[str, ...], tuple[dict[str, Match], list[str]]] = {}
        for name, match in judged.items():
            read = [] if match.agrees else [judged[each] for each in self.read(match, judged)]
            others = {each.layer.name: each for each in read if known[each.layer.name] is not each}
            if others:
                key = tuple(sorted(each.file.name for each in others.values()))
                alike.setdefault(key, (others, []))[1].append(name)
        for others, names in alike.values():  # one prediction at a time: each holds all tensors of the model
            prediction = self.predict((known | others).values())
            for match in (judged[name] for name in names):
                error, allowed = self._error(match.file, match.layer.name, match.value, prediction)
                judged[match.file.name] = dataclasses.replace(match, error=error, allowed=allowed)
        return judged

    def read(self, match: Match, known: Mapping[str, Match]) -> set[str]:
        """The nearest tensors of other layers that a tensor is computed from."""
        found: set[str] = set()
        seen: set[str] = set()
        stack = list(match.file.sources)
        while stack:
            name = stack.pop()
            if name in known and known[name].layer is not match.layer:
                found.add(name)
            elif name in self._by_file and name not in seen:  # else all ways through what is not known, which are many
                seen.add(name)
                stack += self._by_file[name].sources
        return found

    def _is_less(self, named: Match, found: Mapping[str, Match]) -> bool:
        """Whether a tensor reads but a part of what its name says it does, and constants: a step of the same product in
        another order."""
        read = {found[name].layer.name for name in self.read(named, found)}
        others = {*named.layer.sources} - read
        known = {match.layer.name for match in found.values() if match.how == "value" and match.agrees}
        return bool(read and others) and read < {*named.layer.sources} and others <= known

    def _assign(self, known: Mapping[str, Match], by_place: bool) -> dict[str, Match]:
        self._known = found = dict[str, Match]()
        others = {match.layer.name for match in known.values()}
        for tensor in self._tensors:
            if tensor.moved and (tensor.copies in found or tensor.copies not in self.above):
                continue  # the same numbers in another shape; where that shape is not the model's, this one may be
            behind = {found[name].layer.name for name in self.above[tensor.name] if name in found}
            passed = {name for layer in behind for name in self._before[layer]}
            fitting = self.fitting(tensor, passed)
            own = known.get(tensor.name)
            taken = {match.layer.name for match in found.values()} | (others - ({own.layer.name} if own else set()))
            copied = self._copied(tensor, fitting, found)
            if copied is not None and copied.agrees:
                found[tensor.name] = copied
                continue
            # A copy that clips as well may be the activation behind: ONNX Runtime leaves a ReLU out for a range.
            match = self.by_value(tensor, fitting, taken, own, self._claimed(tensor, found))
            # One in a shape that the model's has not is no other tensor either, whatever its name says.
            turned = tensor.copies in found and found[tensor.copies].layer.name not in fitting
            named = None if turned else self._by_name(tensor, fitting)
            named, own = (None if each is None or self._is_less(each, found) else each for each in (named, own))
            behind_it = named is not None and copied is not None and copied.layer.name in named.layer.sources
            match = match or (named if behind_it else copied or named)
            if match is None and by_place and not turned:
                match = own or self._by_place(tensor, fitting, taken, behind)
            if match is not None:
                found[tensor.name] = match
        return found

    def fitting(self, tensor: FileTensor, passed: set[str]) -> dict[str, list[np.ndarray]]:
        """Layers whose shape the tensor can have, that are not computed before what it is computed from."""
        fitting = {}
        known: dict[tuple[int, ...], list[np.ndarray]] = {}
        for name, value in self.prediction.values.items():
            if name not in passed and value.size == tensor.value.size:
                if value.shape not in known:
                    known[value.shape] = views(tensor.value, value.shape)
                if known[value.shape]:
                    fitting[name] = known[value.shape]
        return fitting

    def _copied(
        self, tensor: FileTensor, fitting: Mapping[str, list[np.ndarray]], found: Mapping[str, Match]
    ) -> Match | None:
        """A tensor that is another one rounded is the same layer's."""
        source = found.get(tensor.copies)
        if source is None or source.layer.name in fitting:
            return source and self.made(tensor, source.layer.name, fitting[source.layer.name], source.how)
        shape = self.prediction.values[source.layer.name].shape  # a gate (H, W, 1) that was computed as (H * W)
        if tensor.value.size != np.prod(shape):
            return None
        made = self.made(tensor, source.layer.name, [tensor.value.reshape(shape)], source.how)
        return made if made.agrees else None

    def made(self, tensor: FileTensor, name: str, seen: list[np.ndarray], how: How) -> Match:
        target = self.prediction.values[name]
        value = min(seen, key=lambda each: distance(each, target)) if len(seen) > 1 else seen[0]
        return Match(tensor, self._layers[name], value, *self._error(tensor, name, value, self.prediction), how)

    def _error(self, tensor: FileTensor, name: str, value: np.ndarray, prediction: Prediction) -> tuple[float, float]:
        """The largest difference of a tensor from its prediction, and what is allowed."""
        target = tensor.computed(prediction.values[name])
        allowed = prediction.allowed[name] + tensor.rounding + carried(tensor, self._by_file, self._known)
        truth = self._predictor.truth[name]
        beyond = (
            np.count_nonzero((truth < tensor.low - allowed) | (truth > tensor.high + allowed)) if tensor.step else 0
        )
        # Its range was measured on other values, so a few of the model's own lie beyond it; and what comes before may
        # be off and lead out of any range. Only a range that does not fit the model is a fault of this tensor.
        if tensor.step and beyond <= max(may_clip(truth.size), 2):
            target = np.clip(target, tensor.low, tensor.high)
        return largest(value, target), allowed

    def _claimed(self, tensor: FileTensor, found: Mapping[str, Match]) -> dict[str, float]:
        """The layers that tensors in front of this one are by their values, and how near these are."""
        above = [found[name] for name in self.above[tensor.name] if name in found]
        return {match.layer.name: match.error for match in above if match.how == "value" and match.agrees}

    def by_value(
        self,
        tensor: FileTensor,
        fitting: Mapping[str, list[np.ndarray]],
        taken: set[str],
        known: Match | None,
        claimed: Mapping[str, float],
    ) -> Match | None:
        mean, deviation = self._moments[tensor.name]
        agreeing: list[Match] = []
        all_of_them: dict[str, Match] = {}
        near = self.behind(self.named.hints(tensor.name))
        for name, seen in fitting.items():
            target = self.prediction.values[name]
            allowed = self.prediction.allowed[name] + tensor.rounding
            spread = self.prediction.spread[name]
            # What does not vary, or less than its error, is like anything else that does not.
            loose = not spread > 2 * allowed and name not in near
            # Two tensors that are this near have a mean and a deviation as near; this is quickly said of most.
            apart = max(abs(mean - float(np.mean(target))), abs(deviation - float(np.std(target))))
            if not tensor.step and apart > allowed:
                continue
            match = self.made(tensor, name, seen, "value")
            # What adds little to a tensor is near it, where much is allowed; that tensor is nearer.
            if name in claimed and match.error > as_near(claimed[name], allowed):
                continue
            if match.agrees:
                all_of_them[name] = match
                if not (loose and spread <= _CLOSE * distance(match.value, target)):
                    agreeing.append(match)
        agreeing = [agreeing[place] for place in nearest([(each.error, each.allowed) for each in agreeing])]
        if tensor.name not in self._biased_apart:
            names = (with_its_bias(match.layer.name, [*all_of_them], self._layers) for match in agreeing)
            agreeing = [all_of_them[name] for name in dict.fromkeys(names)]
        by_hint = [match for match in agreeing if match.layer.name in near]
        for wanted in (
            [match for match in by_hint if match.layer.name not in taken],
            by_hint,
            [match for match in agreeing if known is not None and match.layer is known.layer],
            [match for match in agreeing if match.layer.name not in taken],
            agreeing,
        ):
            if wanted:
                return max(wanted, key=lambda match: self._order[match.layer.name])
        return None

    def behind(self, names: Iterable[str]) -> set[str]:
        """Layers, and what may have been fused into them: all that follows up to the next product with weights."""
        found = set(names)
        for name, layer in self._layers.items():  # in the order of computation
            if not layer.weighted and len(layer.sources) == 1 and layer.sources[0] in found:
                found.add(name)
        return found

    def _by_name(self, tensor: FileTensor, fitting: Mapping[str, list[np.ndarray]]) -> Match | None:
        hinted = [name for name in self.named.hints(tensor.name) if name in fitting]
        if tensor.name not in self._biased_apart:
            hinted = [with_its_bias(name, [*fitting], self._layers) for name in hinted]
        if not hinted:
            return None
        # A fused operation bears the names of all it does; its result is that of the last.
        name = max(hinted, key=lambda each: self._order[each])
        named = self.made(tensor, name, fitting[name], "name")
        made = [self.made(tensor, each, fitting[each], "name") for each in hinted]
        met = max(made, key=self._share)
        if self._share(met) > max(_MOST, self._share(named)):
            return met
        if self._score(named) < _ALIKE:
            return named
        # It may be what comes right behind, where that was made one with it: a product that adds another one, in eight
        # bits not all that near.
        behind = [each for each in fitting if set(hinted) & set(self._layers[each].sources)]
        others = [self.made(tensor, each, fitting[each], "name") for each in behind if not self._layers[each].weighted]
        near = min(others, key=self._score, default=named)
        return near if self._score(near) < _ALIKE else named

    def _by_place(
        self, tensor: FileTensor, fitting: Mapping[str, list[np.ndarray]], taken: set[str], behind: set[str]
    ) -> Match | None:
        free = [name for name in fitting if name not in taken]
        made = [
            self.made(tensor, name, fitting[name], "place")
            for name in free
            if behind <= self._before[name] or not behind
        ]
        ends = [match for match in made if match.layer.name in self._predictor.reference.outputs.values()]
        if tensor.name in self._last and len(ends) == 1:
            return ends[0]
        near = min(made, key=self._score, default=None)
        return near if near is not None and self._score(near) < _ALIKE else None

    def _share(self, match: Match) -> float:
        """Of its elements, those that are as predicted."""
        off = np.abs(match.value.astype(np.float64) - self.prediction.values[match.layer.name])
        return float(np.mean(off <= match.allowed))

    def _score(self, match: Match) -> float:
        spread = self.prediction.spread[match.layer.name]
        return distance(match.value, self.prediction.values[match.layer.name]) / spread if spread > 0 else np.inf


def _ancestors(sources: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """All that each name is computed from. The names are in the order of computation."""
    found: dict[str, set[str]] = {}
    for name, direct in sources.items():
        found[name] = set(direct).union(*(found.get(each, ()) for each in direct))
    return found
