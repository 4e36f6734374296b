"""The fewest operations that must not be in int8 for a quantised file to do what the float model does.

Found by real conversions: operations that lose most come first, their number is doubled until the target is reached
and then halved down, and at last it is tried without halves, quarters and single ones of what is kept. Every file that
was scored is noted in a file beside the output, so that a search that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
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
class Wish:
    """What is to be reached, and how.

    Attributes:
        target: the least value (`Candidate.value`) on the samples for the choice.
        told: the same in words.
        kept_as: what operations that are kept compute in: float or int16.
        measured: of the metric that values are of, its name and what the float model has; None: agreement.
    """

    target: float
    told: str
    kept_as: str = "float"
    measured: tuple[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Kept:
    """An operation that is kept, and what that costs: bytes, and time as a factor of the file without it."""

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
        wish: what was asked for.
        candidate: the file that was kept.
        layers: every operation of the graph with its loss in the file that is all integers.
        kept: those that are not in int8.
        keys: the same with what follows them, as the converter knows them.
        conversions: how many files were made for it.
        known: how many more were known from a search that was stopped.
        reached: whether the target was.
    """

    wish: Wish
    candidate: Candidate
    layers: tuple[Layer, ...]
    kept: tuple[Kept, ...] = ()
    keys: tuple[str, ...] = ()
    conversions: int = 0
    known: int = 0
    reached: bool = True

    @property
    def rank(self) -> tuple[bool, int, float]:
        """The less the better: reached, with fewer operations, at less cost in time."""
        return not self.reached, len(self.kept), math.prod(each.slower for each in self.kept)

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json."""
        name, of_float = self.wish.measured or ("agreement", 1.0)
        return {
            "metric": {"name": name, "float": of_float, "quantised": self.candidate.value, "least": self.wish.target},
            "layers": [each.to_json() for each in self.layers],
            "kept_as": self.wish.kept_as,
            "kept": [each.to_json() for each in self.kept],
            "conversions": self.conversions,
            "known_before": self.known,
            "reached": self.reached,
        }


class _Scores:
    """Scores of kept sets, noted on disk as they are found."""

    def __init__(self, task: Task, candidate: Candidate, wish: Wish, note: Path, every: Sequence[Layer]) -> None:
        self.task, self.candidate, self.wish, self.note, self.every = task, candidate, wish, note, every
        assert task.data is not None
        assert candidate.recipe is not None
        judged = None if task.measure is None else task.measure.key()
        given = [candidate.recipe.key(), task.io, task.data.choose.to_json()["sha256"], wish.kept_as, judged]
        self.key = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        self.conversions = self.used = 0
        self.found: dict[str, list[float]] = {}
        self.before: dict[str, list[float]] = {}
        try:
            stored = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(stored, dict) and stored.get("key") == self.key and "scores" in stored:
            self.before = dict(stored["scores"])

    def good(self, keep: Sequence[Layer]) -> bool:
        """Whether the target is reached with these kept, and not by luck: SQNR must be no worse for it."""
        name = json.dumps(sorted(each.key for each in keep))
        if name not in self.found and name in self.before:
            self.found[name] = self.before[name]
            self.used += 1
        if name not in self.found:
            made = self.make(keep)
            self.found[name] = [made.value, made.sqnr_db] if made.artifact is not None else [-math.inf, -math.inf]
            partial = self.note.with_name(f"{self.note.name}.partial")
            text = json.dumps({"key": self.key, "scores": self.before | self.found})
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, self.note)
        value, decibels = self.found[name]
        return value >= self.wish.target and decibels >= self.candidate.sqnr_db

    def keys(self, keep: Sequence[Layer]) -> tuple[str, ...]:
        """The operations and what only moves or cuts off their results."""
        found = dict.fromkeys(each.key for each in keep)
        for each in self.every:
            if each.follows and any(key in found for key in each.after):
                found[each.key] = None
        return tuple(found)

    def make(self, keep: Sequence[Layer]) -> Candidate:
        """The file with these kept; one that is refused reaches nothing."""
        self.conversions += 1
        self.task.on_step(f"quantising with {len(keep)} operations in {self.wish.kept_as}")
        try:
            made = convert(self.task, self.candidate, self.keys(keep), self.wish.kept_as)
        except ConversionError as error:
            return dataclasses.replace(self.candidate, artifact=None, agreement=0.0, fault=str(error))
        return scored(self.task, made)


def search(task: Task, candidate: Candidate, wish: Wish, note: Path) -> Search:
    """Keep as few operations out of int8 as the target takes.

    Args:
        candidate: the best file that is all integers.
        note: where scores are kept until the search is done.
    """
    assert candidate.artifact is not None
    assert candidate.recipe is not None
    assert task.data is not None
    probes = {name: array[:PROBES] for name, array in task.data.choose.arrays.items()}
    task.on_step(f"measuring what each operation of {candidate.name} loses")
    every = tuple(layers(candidate.recipe.plain, candidate.artifact, probes))
    if candidate.value >= wish.target:
        return Search(wish, candidate, every)
    scores = _Scores(task, candidate, wish, note, every)
    # Those whose loss is not known come last: only all together must reach what the float file reaches.
    ranked = [each for each in every if not each.follows]
    ranked.sort(key=lambda each: each.loss_db if math.isfinite(each.sqnr_db) else -math.inf, reverse=True)
    count = _enough(ranked, scores)
    if count is None:
        return Search(wish, candidate, every, conversions=scores.conversions, known=scores.used, reached=False)
    keep = _pruned(ranked[:count], scores)
    best = scores.make(keep)
    kept = tuple(_cost(scores, best, keep, each) for each in keep)
    note.unlink(missing_ok=True)
    return Search(wish, best, every, kept, scores.keys(keep), scores.conversions, scores.used)


def _enough(ranked: Sequence[Layer], scores: _Scores) -> int | None:
    """How many of the first are enough: doubled until they are, then halved down; None where all are not."""
    low, high = 0, 1
    while not scores.good(ranked[:high]):
        if high >= len(ranked):
            return None
        low, high = high, min(2 * high, len(ranked))
    while high - low > 1:
        middle = (low + high) // 2
        if scores.good(ranked[:middle]):
            high = middle
        else:
            low = middle
    return high


def _pruned(keep: Sequence[Layer], scores: _Scores) -> Sequence[Layer]:
    """The same without those that it goes without: halves are tried first, then quarters, at last each one."""
    size = len(keep) // 2
    while size:
        for start in reversed(range(0, len(keep), size)):
            without = [*keep[:start], *keep[start + size :]]
            if without and scores.good(without):
                keep = without
        size //= 2
    return keep


def _cost(scores: _Scores, best: Candidate, keep: Sequence[Layer], each: Layer) -> Kept:
    without = scores.make([other for other in keep if other is not each])
    if without.artifact is None or best.artifact is None:
        return Kept(each, 0, 1.0)
    return Kept(each, best.artifact.size - without.artifact.size, compare(without.artifact, best.artifact).ratio)
