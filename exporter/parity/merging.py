"""Whether the result of a verification that comes back from a device may be taken in: its parts must be there, of the
kinds that are written, and must not contradict each other. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, Final

from converters.errors import ModelError
from exporter.parity.gates import MIN_AGREEMENT, MIN_SQNR_DB
from exporter.parity.judgement import WHOLE
from exporter.parity.text import lines
from exporter.parity.verdict import INFORMATIVE_LIMIT, Verdict

Row = Mapping[str, Any]
Kinds = Mapping[str, tuple[type, ...]]

_LISTS: Final = ("causes", "remarks", "divergence", "not_located", "artifact_gates", "profiles")
"""Keys of a result whose rows are of one artifact each."""

_TEXT, _COUNT, _NUMBER = (str,), (int,), (int, float, NoneType)

_ROW: Final[Kinds] = {
    **dict.fromkeys(("artifact", "format", "precision", "sha256", "runtime", "runtime_name"), _TEXT),
    **dict.fromkeys(("output", "case", "verdict", "reason"), _TEXT),
    **dict.fromkeys(("samples", "flip_count", "near_ties"), _COUNT),
    **dict.fromkeys(("max_abs", "mean_abs", "relative", "cosine", "sqnr_db", "agreement"), _NUMBER),
    **dict.fromkeys(("spread", "vs_reference", "tolerance"), _NUMBER),
    **dict.fromkeys(("machine", "tolerance_source", "overrides"), (str, NoneType)),
    "noise": (dict,),
    "flips": (list,),
}
_FLIP: Final[Kinds] = {
    **dict.fromkeys(("sample", "expected", "given"), _COUNT),
    "margin": (int, float),
    "near_tie": (bool,),
}
_REFERENCE: Final[Kinds] = {
    **dict.fromkeys(("name", "source", "against", "sha256"), _TEXT),
    "cases": (list,),
    "environment": (dict,),
    "remarks": (list,),
}
_WHOLE: Final[Kinds] = {
    "passed": (bool,),
    "reference": (dict,),
    "verification": (list,),
    "machine": (dict,),
    **dict.fromkeys(("causes", "gates", "remarks", "left_out"), (list,)),
}
_NOT_NEGATIVE: Final = ("max_abs", "mean_abs", "relative", "agreement", "spread", "vs_reference", "tolerance")


def passed(rows: Iterable[Row]) -> bool:
    """Whether there is a row and none failed."""
    verdicts = [each["verdict"] for each in rows]
    return bool(verdicts) and Verdict.FAILED not in verdicts


def merged_results(own: Sequence[Row], results: Sequence[Row]) -> dict[str, Any]:
    """One result of several that were made against the same reference.

    Args:
        own: the one that was made here, or none.
        results: those from elsewhere; their rows tell their machine.

    Raises:
        ModelError: they were made against different references, or of different files of one name.
    """
    first = [*own, *results][0]
    whole = {**first, "verification": [*first["verification"]] if own else []}
    for other in results:
        if other["reference"]["sha256"] != first["reference"]["sha256"]:
            raise ModelError("the results to merge were made against different references")
        told = other["machine"]
        name = " ".join(str(told[key]) for key in ("system", "processor") if key in told) or "another machine"
        rows = [{**each, "machine": each["machine"] or name} for each in other["verification"]]
        whole["verification"] = [*whole["verification"], *rows]
        for key in _LISTS if other is not first else ():
            if key in whole or key in other:
                known = whole.get(key, [])
                whole[key] = [*known, *(each for each in other.get(key, ()) if each not in known)]
    _check_same_files(whole["verification"])
    whole["passed"] = passed(whole["verification"])
    return whole


def _check_same_files(rows: Iterable[Row]) -> None:
    """Refuse results of two files under one name: an old one that passed would speak for the new one."""
    known: dict[str, Row] = {}
    for row in rows:
        other = known.setdefault(row["artifact"], row)
        if other["sha256"] != row["sha256"]:
            wheres = [
                f"{each['sha256'][:12]} {'on ' + each['machine'] if each['machine'] else 'here'}"
                for each in (other, row)
            ]
            raise ModelError(
                f"{row['artifact']}: the results are of two files of that name (sha256 {' and '.join(wheres)}); "
                "verify the same one in both places"
            )


def check_result(data: Any) -> None:
    """Refuse what is no whole result, or says two things.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, IndexError: saying what.
    """
    _has(data, _WHOLE, "it")
    reference = data["reference"]
    _has(reference, _REFERENCE, "its reference")
    for row in data["verification"]:
        _check_row(row)
    _check_complete(data["verification"], reference)
    if data["passed"] is not passed(data["verification"]):
        raise ValueError(f"it says passed: {data['passed']}, and its rows say otherwise")
    for _ in lines(data):  # what is left is only told, so that being told is all it must be able to
        pass


def _has(part: Any, kinds: Kinds, what: str) -> None:
    if not isinstance(part, dict):
        raise TypeError(f"{what} is no object")
    for key, kind in kinds.items():
        if key not in part:
            raise KeyError(f"{what} has no {key!r}")
        value = part[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
            raise TypeError(f"{key!r} of {what} is {str(value)[:40]!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key!r} of {what} is no number")


def _check_row(row: Any) -> None:
    _has(row, _ROW, "a row")
    Verdict(row["verdict"])
    for flip in row["flips"]:
        _has(flip, _FLIP, "a flip")
    for value in row["noise"].values():
        if not isinstance(value, int | float | NoneType):
            raise TypeError(f"a row's noise is {str(value)[:40]!r}")
    below = next((key for key in _NOT_NEGATIVE if row[key] is not None and row[key] < 0), None)
    if below is not None:
        raise ValueError(f"a row's {below} is {row[below]}")
    if row["flip_count"] < len(row["flips"]) or row["near_ties"] > row["flip_count"]:
        raise ValueError("a row tells more flips than it counts")
    if row["verdict"] == Verdict.PASSED:
        _check_passed(row)


def _check_passed(row: Row) -> None:
    if row["max_abs"] is None:
        raise ValueError("a row that passed measured nothing")
    if row["reason"]:
        raise ValueError(f"a row that passed says why it did not: {row['reason'][:80]}")
    if row["tolerance"] is not None and not row["relative"] <= row["tolerance"]:
        raise ValueError("a row that passed is beyond its tolerance")
    if row["overrides"] is not None:
        return
    if row["tolerance"] is not None:
        if row["tolerance"] > INFORMATIVE_LIMIT:
            raise ValueError(f"a row passed with a tolerance above {INFORMATIVE_LIMIT} of the spread")
    elif row["max_abs"] > 0 and (row["sqnr_db"] is None or row["sqnr_db"] < MIN_SQNR_DB):
        raise ValueError(f"a row that passed is below {MIN_SQNR_DB:g} dB")
    elif row["agreement"] is not None and row["agreement"] < MIN_AGREEMENT:
        raise ValueError(f"a row that passed agrees on less than {MIN_AGREEMENT:.0%}")


def _check_complete(rows: list[Row], reference: Row) -> None:
    """Each artifact in each runtime has a row for each case of each output."""
    cases = {case["name"] for case in reference["cases"]}
    told: dict[tuple[Any, ...], dict[str, set[str]]] = {}
    for row in rows:
        key = tuple(row[each] for each in ("artifact", "sha256", "runtime_name", "runtime", "machine"))
        told.setdefault(key, {}).setdefault(row["output"], set()).add(row["case"])
    outputs = set(reference.get("outputs", ()))
    for (artifact, *_), found in told.items():
        if outputs and set(found) != outputs:
            missing = ", ".join(sorted(map(repr, outputs ^ set(found))))
            raise ValueError(f"its rows of {artifact} do not tell of the outputs of the reference: {missing}")
        for output, given in found.items():
            if given not in (cases, {WHOLE}):  # the latter also of what did not run
                missing = ", ".join(sorted(cases ^ given))
                raise ValueError(f"its rows of {artifact}, output {output!r}, are not of all cases: {missing}")
