"""Matches of tensors looked at once more together: one that was taken for another makes those behind it disagree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from exporter.parity.copies import by_their_source
from exporter.parity.matching import Match, Matcher

_REPAIRS: Final = 6  # doubtful matches looked into, of those that disagree
_OTHERS: Final = 4  # layers that each may be instead


def matched(matcher: Matcher) -> list[Match]:
    """The matches, in the file's order of computation; the matcher's prediction goes on with them."""
    matches = _repaired(matcher, _second_look(matcher, matcher.assigned()))
    matches = list(by_their_source({match.file.name: match for match in matches}).values())
    return [match for match in matches if match.agrees or not _is_part(matcher, match, matches)]


def _is_part(matcher: Matcher, match: Match, matches: Sequence[Match]) -> bool:
    """Whether a tensor is but a step on the way to one of the model's, as a sum is to a mean: its name says no more
    than that, or its value was near by chance, and what is computed from it is that layer, by its value."""
    ends = (each for each in matches if each.layer is match.layer and each.how == "value" and each.agrees)
    return any(match.file.name in matcher.above[end.file.name] for end in ends)


def _second_look(matcher: Matcher, matches: list[Match]) -> list[Match]:
    """Let what disagrees be matched by value once more, with a prediction that goes on without it.

    A prediction goes on with a tensor as what it was taken for. Where it is what comes right behind (a convolution
    with a normalisation of nearly 1 folded in), that is then predicted from the tensor itself, and missed.
    """
    off = {match.file.name: match for match in matches if not match.agrees}
    if not off:
        return matches
    kept, matcher.prediction = matcher.prediction, matcher.predict(match for match in matches if match.agrees)
    changed = []
    for match in matches:
        fitting = matcher.fitting(match.file, set()) if match.file.name in off else {}
        near = matcher.behind(matcher.named.hints(match.file.name))
        again = {name: seen for name, seen in fitting.items() if name in near and name != match.layer.name}
        changed.append(matcher.by_value(match.file, again, set(), None, {}) or match)
    if not any(new is not old for new, old in zip(changed, matches, strict=True)):
        matcher.prediction = kept
        return matches
    matcher.prediction = matcher.predict(changed)
    judged = list(matcher.judged(changed).values())
    if _disagreeing(judged) < _disagreeing(matches):
        return judged
    matcher.prediction = kept
    return matches


def _repaired(matcher: Matcher, matches: list[Match]) -> list[Match]:
    """Mend matches that were made by name or place, disagree, and were none.

    A tensor that is wrong makes one match disagree: its own. One that was taken for another makes those behind it
    disagree as well, so of all that it may be, that is right with which the fewest disagree. Where none of it is left
    to try, it may be nothing of the model's.
    """
    for change in (_as_another, _as_nothing):
        tried: set[str] = set()
        while len(tried) < _REPAIRS and (doubtful := _doubtful(matcher, matches, tried)) is not None:
            tried.add(doubtful.file.name)
            best = matches
            for kept in change(matcher, doubtful, matches):
                matcher.prediction = matcher.predict(kept)
                judged = list(matcher.judged(kept).values())
                if _disagreeing(judged) < _disagreeing(best):
                    best = judged
            matcher.prediction = matcher.predict(best)
            matches = list(matcher.judged(best).values())
    return matches


def _as_another(matcher: Matcher, doubtful: Match, matches: Sequence[Match]) -> Iterator[list[Match]]:
    """The matches with another layer for a doubtful one, as its name allows."""
    fitting = matcher.fitting(doubtful.file, set())
    hints = matcher.named.hints(doubtful.file.name)
    others = [name for name in hints if name in fitting and name != doubtful.layer.name]
    for name in others[:_OTHERS]:
        other = matcher.made(doubtful.file, name, fitting[name], "name")
        yield [other if match is doubtful else match for match in matches]


def _as_nothing(matcher: Matcher, doubtful: Match, matches: Sequence[Match]) -> Iterator[list[Match]]:
    """The same without it and its copies."""
    alike = _copies(doubtful, matches)
    yield [match for match in matches if match.file.name not in alike]


def _copies(match: Match, matches: Sequence[Match]) -> set[str]:
    """The names in the file of a match's tensor and of its copies that were matched with the same layer."""
    alike = {match.file.name}
    for other in matches:  # in the order of computation
        if other.file.copies in alike and other.layer is match.layer:
            alike.add(other.file.name)
    return alike


def _doubtful(matcher: Matcher, matches: Sequence[Match], tried: set[str]) -> Match | None:
    """The first match by name or place that disagrees and so does another that is computed from it. That a copy of it
    disagrees as well says nothing."""
    off = [match for match in matches if not match.agrees]
    for match in off:
        alike = _copies(match, matches)
        others = (other for other in off if other.file.name not in alike)
        behind = (other for other in others if match.file.name in matcher.above[other.file.name])
        if match.how != "value" and match.file.name not in tried and next(behind, None) is not None:
            return match
    return None


def _disagreeing(matches: Iterable[Match]) -> int:
    return sum(not match.agrees for match in matches)
