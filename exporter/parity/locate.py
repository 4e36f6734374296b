"""The first tensor of an artifact that leaves the model, in the names of the model's layers, and all of them in a row.

The source of a divergence is the operation whose inputs are right and whose result is not. Every tensor of the file is
therefore held against what the model computes from the file's own values of the tensors in front of it, in float64: an
error shows where it arises and nowhere else, however far it spreads.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from exporter.parity.attention import GateLine, SpatialMaps, gate_lines, spatial_maps
from exporter.parity.culprit import UNKNOWN, Culprit, culprit, explains, input_variants, other_ways, segment
from exporter.parity.layers import Arrays, InnerReference
from exporter.parity.matching import Match, Matcher
from exporter.parity.prediction import CLIPPED, ROUNDINGS, Prediction, Predictor, largest
from exporter.parity.repairs import matched
from exporter.parity.stored import to_real, to_stored
from exporter.parity.traced import FileTensor, Traced, read_tensors, views


class Finding(enum.StrEnum):
    """Of one tensor. LEAVES: it is not what follows from the tensors before it. HANDS ON: it is, and these were off."""

    AGREES = "agrees"
    LEAVES = "LEAVES"
    HANDS_ON = "hands on"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One tensor of the file that is a tensor of the model. Errors are in units of that tensor's own deviation.

    Attributes:
        layer: path of the Keras layer that gives it; layers: all from the tensors before it to this one, where
            several became one operation.
        block: the CBAM block that the layer belongs to, or empty.
        tensor: its name in the file.
        error: largest difference from what follows from the tensors before it; None where the model's tensor does not
            vary at all.
        allowed: what of that is due to arithmetic: ten times what float32 does to the model itself here, and what the
            precision's rounding does to the weights and to this tensor.
        total: largest difference from the model, that of earlier layers included.
        matched: what tells that it is that tensor: `value`, `name` or `place`.
        clipped: share of a quantised tensor's values at the ends of its range.
    """

    layer: str
    layers: tuple[str, ...]
    block: str
    tensor: str
    error: float | None
    allowed: float | None
    total: float | None
    finding: Finding
    matched: str
    clipped: float

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "layers": list(self.layers), "finding": str(self.finding)}


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """Where an artifact leaves its model.

    Attributes:
        layer: the layer at fault; several with ` + ` between where they became one operation and it cannot be told.
        layers: all that became that operation, or the one.
        block: the CBAM block it is in, or empty.
        tensor: the file's tensor that is wrong, all before it being right.
        error: in units of the tensor's own deviation; infinite where one of the two is not finite.
        reason: what shows which layer it is, in words, or empty.
    """

    artifact: str
    layer: str
    layers: tuple[str, ...]
    block: str
    tensor: str
    error: float
    reason: str

    def to_json(self) -> dict[str, Any]:
        error = self.error if np.isfinite(self.error) else None
        return {**dataclasses.asdict(self), "layers": list(self.layers), "error": error}


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """The tensors of one artifact along the layers, in the file's order, and its attention gates.

    Attributes:
        unmatched: tensors of the file that are none of the model's, or not known to be.
        divergence: the first that leaves the model, or None.
        note: what follows from there being none; empty where there is one.
        maps: of the spatial gates, as arrays; not in the JSON.
    """

    artifact: str
    runtime: str
    rows: tuple[Row, ...]
    gates: tuple[GateLine, ...]
    unmatched: tuple[str, ...]
    divergence: Divergence | None
    note: str = ""
    maps: tuple[SpatialMaps, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        return {
            "artifact": self.artifact,
            "runtime": self.runtime,
            "divergence": self.divergence.to_json() if self.divergence else None,
            "note": self.note,
            "rows": [_finite(row.to_json()) for row in self.rows],
            "gates": [_finite(line.to_json()) for line in self.gates],
            "unmatched": list(self.unmatched),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """An opened artifact as it is searched.

    Attributes:
        session: open, and `Traceable`.
        path, runtime: for the report.
        precision: of the artifact, as in `Precision`.
        inputs: specs of its inputs, in the order of the model's (`TensorSpec`).
    """

    session: Traced
    path: str
    runtime: str
    precision: str
    inputs: Sequence[Any]

    def take(self, inputs: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs by the model's names: as the file stores them, by its names; and what it takes them for, by the
        model's, in the model's layout."""
        stored, taken = {}, {}
        for (name, value), spec in zip(inputs.items(), self.inputs, strict=True):
            turned = spec.layout == "NCHW" and value.ndim == 4 and value.shape[1:] != tuple(spec.shape[1:])
            given = np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if turned else value
            stored[spec.name] = to_stored(given, spec)
            real = to_real(stored[spec.name], spec)
            taken[name] = real.transpose(0, 2, 3, 1) if turned else real
        return stored, taken


def locate(candidate: Candidate, reference: InnerReference, inputs: Arrays) -> Divergence | None:
    """Where the artifact first leaves the model; None where it does not. Arguments as `profile`."""
    return profile(candidate, reference, inputs).divergence


def profile(candidate: Candidate, reference: InnerReference, inputs: Arrays) -> Profile:
    """Hold every tensor of an artifact against the model.

    Args:
        inputs: by the model's names in the model's order, samples first. A few samples are enough; those that do not
            fill the artifact's fixed batch are left out.
    """
    batch = int(candidate.inputs[0].shape[0] or 1)
    whole = len(next(iter(inputs.values()))) // batch * batch
    inputs = {name: array[:whole] for name, array in inputs.items()}
    stored, taken = candidate.take(inputs)
    tensors = read_tensors(candidate.session, stored, batch)
    for name, spec in zip(inputs, candidate.inputs, strict=True):
        # ONNX takes a float input and rounds it first: what the rest of the file reads is the input as well.
        own = taken[name]
        for copy in (each for each in tensors if each.copies == spec.name and each.step):
            near = [seen for seen in views(copy.value, own.shape) if largest(seen, own) <= copy.step]
            taken[name] = near[0] if near else taken[name]
    narrow = _too_narrow(candidate, taken, tensors)
    tensors = tuple(each for each in tensors if each.copies not in stored)
    predictor = Predictor(reference, inputs, candidate.precision)
    matcher = Matcher(predictor, tensors, taken)
    overall = matcher.prediction.allowed
    matches = matched(matcher)
    rows = [_row(match, matches, predictor, overall) for match in matches]
    leaving = [match for match, row in zip(matches, rows, strict=True) if row.finding is Finding.LEAVES]
    loose = _loose(matcher, matches, rows)
    first = next((match for match in leaving if match.file.name not in loose), None)
    divergence = None
    if narrow is not None:
        divergence = narrow
    elif first is not None:
        found = _culprit(first, matches, predictor, matcher.prediction, tensors, taken)
        divergence = _divergence(candidate.path, first, rows[matches.index(first)], found, reference)
    else:
        divergence = _lost(candidate.path, matches, predictor)
    by_layer = {match.layer.name: match for match in matches}
    return Profile(
        candidate.path,
        candidate.runtime,
        tuple(rows),
        gate_lines(reference.tensors, by_layer, predictor.truth),
        _unmatched(tensors, matches),
        divergence,
        "" if divergence is not None else _BEHIND.format(loose[leaving[0].file.name]) if leaving else _NOTE,
        spatial_maps(reference.tensors, by_layer, predictor.truth),
    )


def _loose(matcher: Matcher, matches: Sequence[Match], rows: Sequence[Row]) -> dict[str, str]:
    """The tensors that are computed from one of which rounding may take away all that it is known by, and that one: a
    prediction from it says nothing."""
    known = {match.file.name: match for match in matches}
    lost = {row.tensor for row in rows if row.allowed is not None and row.allowed > 1}
    behind = {name: sorted(matcher.read(match, known) & lost) for name, match in known.items()}
    return {name: those[0] for name, those in behind.items() if those}


def _too_narrow(candidate: Candidate, taken: Arrays, tensors: Sequence[FileTensor]) -> Divergence | None:
    """An input that the file quantises first, to a range that does not hold what most samples have."""
    for (name, given), spec in zip(taken.items(), candidate.inputs, strict=True):
        for copy in tensors:
            if copy.copies != spec.name or not copy.step or given.dtype.kind != "f":
                continue
            beyond = (given < copy.low - copy.step) | (given > copy.high + copy.step)
            clipped = beyond.reshape(len(given), -1).mean(1) > CLIPPED
            if np.mean(clipped) <= _MOST:
                continue
            off = float(np.max(np.abs(given - np.clip(given, copy.low, copy.high))))
            reason = f"it is quantised to {copy.low:.3g}..{copy.high:.3g}; the samples go from {given.min():.3g} to "
            reason += f"{given.max():.3g}, so that {np.mean(beyond):.0%} of their values are clipped"
            deviation = float(np.std(given))
            error = off / deviation if deviation > 0 else np.inf
            return Divergence(candidate.path, name, (name,), "", copy.name, error, reason)
    return None


_MOST: Final = 0.5  # share of the samples; single ones may be meant to lie beyond

_NOTE: Final = (
    "every tensor that was found agrees with what the tensors before it give; if outputs differ all the same, it is "
    "the runtime's optimised kernels, which are off while tensors are read, a tensor that was not found, as those that "
    "mix samples, or many small errors of quantisation together"
)


_BEHIND: Final = "nothing is said of what is computed from {}: in eight bits it may be off by more than it varies by"


def _lost(path: str, matches: Sequence[Match], predictor: Predictor) -> Divergence | None:
    """Where an output of the model was not recognised: somewhere behind the last tensors that were."""
    known = {match.layer.name for match in matches}
    for name, tensor in predictor.reference.outputs.items():
        if tensor in known or tensor not in predictor.truth:
            continue
        layers = {each.name: each for each in predictor.reference.tensors}
        names = _single(each.layer for each in segment(layers, tensor, known))
        reason = f"output {name!r} is like nothing in the file, nor is any tensor of these layers"
        return Divergence(path, " + ".join(names), names, layers[tensor].block, "", np.inf, reason)
    return None


def _row(match: Match, matches: Sequence[Match], predictor: Predictor, overall: Mapping[str, float]) -> Row:
    name = match.layer.name
    spread = predictor.spread[name]
    total = largest(match.value, predictor.truth[name])
    finding = Finding.AGREES
    if not match.agrees:
        finding = Finding.LEAVES
    elif not total <= overall[name] + match.allowed:
        finding = Finding.HANDS_ON
    relative = (lambda value: float(value / spread)) if spread > 0 else (lambda value: None)
    layers = _single(tensor.layer for tensor in _chain(match, matches, predictor))
    return Row(
        match.layer.layer,
        layers,
        match.layer.block,
        match.file.name,
        relative(match.error),
        relative(match.allowed),
        relative(total),
        finding,
        match.how,
        match.file.clipped,
    )


def _single(layers: Iterable[str]) -> tuple[str, ...]:
    """The layers one by one, each once; a tensor that stands for several names them with ` + ` between."""
    return tuple(dict.fromkeys(name for layer in layers for name in layer.split(" + ")))


def _chain(match: Match, matches: Sequence[Match], predictor: Predictor) -> list[Any]:
    layers = {tensor.name: tensor for tensor in predictor.reference.tensors}
    return segment(layers, match.layer.name, {each.layer.name for each in matches})


def _culprit(
    match: Match,
    matches: Sequence[Match],
    predictor: Predictor,
    prediction: Prediction,
    tensors: Sequence[FileTensor],
    taken: Arrays,
) -> Culprit:
    chain, due = _chain(match, matches, predictor), prediction.values[match.layer.name]
    low, high = match.file.low, match.file.high
    if match.file.step and largest(match.value, np.clip(due, low, high)) <= match.allowed:
        beyond = float(np.mean((due < low) | (due > high)))
        reason = f"it is stored as {low:.3g}..{high:.3g}, which clips {beyond:.0%} of the values it should hold"
        return Culprit(match.layer.layer, f"{reason}, {due.min():.3g}..{due.max():.3g}")
    known = {each.layer.name: each.value for each in matches if each is not match}
    light = _without_weights(predictor.reference, taken)
    if any(source in light for tensor in chain for source in tensor.sources):
        behind = {name: value for name, value in known.items() if name not in light}
        for name, words, changed in input_variants(taken):
            if explains(match, predictor.reference.exact(changed, behind)[match.layer.name], due):
                return Culprit(name, words)
            if match.how != "value" and _shows(tensors, predictor, prediction, changed):
                return Culprit(name, words)
    for layer, words, instead in other_ways(match, chain, {**prediction.values, **known, **taken}):
        if explains(match, predictor.reference.exact(taken, {**known, **instead})[match.layer.name], due):
            return Culprit(layer, words)
    return culprit(match, chain, prediction.values, bool(ROUNDINGS[predictor.precision]))


def _without_weights(reference: InnerReference, inputs: Arrays) -> set[str]:
    """The inputs, and what is computed from them alone without weights, as a rescaling of an image."""
    found = set(inputs)
    for tensor in reference.tensors:
        if not tensor.weighted and found.issuperset(tensor.sources):
            found.add(tensor.name)
    return found


def _shows(tensors: Sequence[FileTensor], predictor: Predictor, prediction: Prediction, changed: Arrays) -> bool:
    """Whether a product with weights near the input is in the file as it is for changed inputs: where nothing in front
    of a match was recognised, neither by value nor by name, that may be no tensor of that layer at all."""
    values = predictor.reference.exact(changed)
    layers = predictor.reference.tensors
    first = next((place for place, tensor in enumerate(layers) if tensor.weighted), 0)
    front = [tensor.name for tensor in layers[first : first + _FRONT]]
    for name in front:
        allowed, target = prediction.allowed[name], values[name]
        if largest(target, prediction.values[name]) <= _CLEAR * allowed:
            continue  # of another input: it is there either way
        for tensor in tensors if float(np.std(target)) > _CLEAR * allowed else ():
            seen = views(tensor.value, target.shape) if tensor.value.size == target.size else []
            if any(largest(each, target) <= allowed + tensor.rounding for each in seen):
                return True
    return False


_FRONT: Final = 4
"""A convolution, its bias, a normalisation and an activation, of which a file has the last."""

_CLEAR: Final = 10
"""Times what is allowed that a tensor has to vary by, to be told by its value."""


def _divergence(path: str, match: Match, row: Row, found: Culprit, reference: InnerReference) -> Divergence:
    blocks = {tensor.layer: tensor.block for tensor in reference.tensors}
    layer = " + ".join(row.layers) if found.layer == UNKNOWN.layer else found.layer
    block = blocks.get(found.layer, row.block)
    error = np.inf if row.error is None else row.error
    return Divergence(path, layer, row.layers, block, match.file.name, error, found.reason)


def _unmatched(tensors: Sequence[FileTensor], matches: Sequence[Match]) -> tuple[str, ...]:
    known = {match.file.name for match in matches}
    return tuple(tensor.name for tensor in tensors if not tensor.moved and tensor.name not in known)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
