"""The fewest operations that must stay in float for a quantised file to decide as the float model does.

Found by real conversions: operations that lose most come first, their number is doubled until the target is reached
and then halved down, and at last each one that is kept is tried without. Every file that was scored is noted in a file
beside the output, so that a search that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from converters.errors import ConversionError
from exporter.quantisation.candidates import Candidate, Task, convert, scored
from exporter.quantisation.sensitivity import Layer, layers
from exporter.quantisation.speed import compare

PROBES: Final = 16
"""Samples on which single operations are compared: their SQNR is a mean over many values each."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """An operation that stays in float, and what that costs: bytes, and time as a factor of the file without it."""

    layer: Layer
    extra_bytes: int
    slower: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json."""
        return {**self.layer.to_json(), "extra_bytes": self.extra_bytes, "slower": self.slower}


@dataclasses.dataclass(frozen=True)
class Search:
    """What was found.

    Attributes:
        candidate: the file that was kept.
        layers: every operation of the graph with its loss in the file that is all integers.
        kept: those in float.
        keys: the same with what follows them, as the converter knows them.
        conversions: how many files were made for it.
        reached: whether the target was.
    """

    candidate: Candidate
    layers: tuple[Layer, ...]
    kept: tuple[Kept, ...]
    keys: tuple[str, ...]
    conversions: int
    reached: bool

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json."""
        return {
            "layers": [each.to_json() for each in self.layers],
            "kept_in_float": [each.to_json() for each in self.kept],
            "conversions": self.conversions,
            "reached": self.reached,
        }


class _Scores:
    """Scores of kept sets, noted on disk as they are found."""

    def __init__(self, task: Task, candidate: Candidate, note: Path, every: Sequence[Layer]) -> None:
        self.task, self.candidate, self.note, self.every = task, candidate, note, every
        assert task.data is not None
        assert candidate.recipe is not None
        given = [candidate.recipe.key(), task.io, task.data.choose.to_json()["sha256"]]
        self.key = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        self.conversions = 0
        self.known: dict[str, list[float]] = {}
        try:
            stored = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(stored, dict) and stored.get("key") == self.key and "scores" in stored:
            self.known = dict(stored["scores"])

    def good(self, keep: Sequence[Layer], target: float) -> bool:
        """Whether the target is reached with these in float, and not by luck: SQNR must be no worse for it."""
        name = json.dumps(sorted(each.key for each in keep))
        if name not in self.known:
            made = self.make(keep)
            self.known[name] = [made.agreement, made.sqnr_db if made.artifact is not None else 0.0]
            self.note.write_text(json.dumps({"key": self.key, "scores": self.known}), encoding="utf-8")
        agreement, decibels = self.known[name]
        return agreement >= target and decibels >= self.candidate.sqnr_db

    def keys(self, keep: Sequence[Layer]) -> tuple[str, ...]:
        """The operations and what only moves or cuts off their results."""
        found = dict.fromkeys(each.key for each in keep)
        for each in self.every:
            if each.follows and any(key in found for key in each.after):
                found[each.key] = None
        return tuple(found)

    def make(self, keep: Sequence[Layer]) -> Candidate:
        """The file with these in float; one that is refused agrees on nothing."""
        self.conversions += 1
        self.task.on_step(f"quantising with {len(keep)} operations in float")
        try:
            made = convert(self.task, self.candidate, self.keys(keep))
        except ConversionError as error:
            return dataclasses.replace(self.candidate, artifact=None, agreement=0.0, fault=str(error))
        return scored(self.task, made)


def search(task: Task, candidate: Candidate, max_drop: float, note: Path) -> Search:
    """Keep as few operations in float as it takes for at most `max_drop` of the decisions to change.

    Args:
        candidate: the best file that is all integers.
        note: where scores are kept until the search is done.
    """
    assert candidate.artifact is not None
    assert candidate.recipe is not None
    assert task.data is not None
    probes = {name: array[:PROBES] for name, array in task.data.choose.arrays.items()}
    task.on_step(f"measuring what each operation of {candidate.name} loses")
    every = layers(candidate.recipe.plain, candidate.artifact, probes)
    target = 1 - max_drop
    if candidate.agreement >= target:
        return Search(candidate, tuple(every), (), (), 0, True)
    scores = _Scores(task, candidate, note, every)
    ranked = sorted((each for each in every if _counts(each)), key=lambda each: each.loss_db, reverse=True)
    count = _enough(ranked, scores, target)
    if count is None:
        return Search(candidate, tuple(every), (), (), scores.conversions, False)
    keep = ranked[:count]
    for each in reversed(ranked[:count]):
        without = [other for other in keep if other is not each]
        if without and scores.good(without, target):
            keep = without
    best = scores.make(keep)
    kept = tuple(_cost(scores, best, keep, each) for each in keep)
    note.unlink(missing_ok=True)
    return Search(best, tuple(every), kept, scores.keys(keep), scores.conversions, True)


def _counts(layer: Layer) -> bool:
    return math.isfinite(layer.sqnr_db) and not layer.follows


def _enough(ranked: Sequence[Layer], scores: _Scores, target: float) -> int | None:
    """How many of the first are enough: doubled until they are, then halved down; None where all are not."""
    low, high = 0, 1
    while not scores.good(ranked[:high], target):
        if high >= len(ranked):
            return None
        low, high = high, min(2 * high, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        if scores.good(ranked[:middle], target):
            high = middle
        else:
            low = middle
    return high


def _cost(scores: _Scores, best: Candidate, keep: Sequence[Layer], each: Layer) -> Kept:
    without = scores.make([other for other in keep if other is not each])
    if without.artifact is None or best.artifact is None:
        return Kept(each, 0, 1.0)
    return Kept(each, best.artifact.size - without.artifact.size, compare(without.artifact, best.artifact).ratio)
