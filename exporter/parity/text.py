"""A verification as plain text, alike on a terminal, in a log and on a device. No library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from exporter.parity.text_layers import divergence, gates_of, profile

Row = Mapping[str, Any]

_LINE: Final = "  "
_LISTED: Final = 3  # flips told of one row


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The whole of it: a table for each artifact and runtime, reasons, flips, causes, and the reference."""
    rows = result["verification"]
    for (artifact, runtime, _), group in groupby(rows, key=_group):
        part = list(group)
        yield ""
        yield f"{artifact} ({part[0]['precision']})  in  {runtime}" + _where(part[0])
        yield from table(part)
        yield from _reasons(part)
    for each in result.get("left_out", ()):
        what = " in ".join(each[key] for key in ("artifact", "runtime") if each.get(key))
        yield f"{_LINE}{what}: not verified: {each['reason']}"
    for remark in result.get("remarks", ()):
        yield f"{_LINE}{remark['artifact']}: {remark['remark']}"
    for each in result.get("divergence", ()):
        block = f", CBAM block {each['block']}" if each["block"] else ""
        why = f": {each['reason']}" if each.get("reason") else ""
        place = f"layer {each['layer']}{block} (tensor {each['tensor']})"
        yield f"{_LINE}{each['artifact']}: leaves the model at {place}{why}"
    if result.get("causes"):
        yield ""
        yield from causes(result["causes"])
    for found in result.get("profiles", ()):
        yield ""
        yield from profile(found)
    if result.get("artifact_gates"):
        yield ""
        yield from gates_of(result["artifact_gates"])
    if result.get("gates"):
        yield ""
        yield from gates(result["gates"])
    reference = result["reference"]
    yield ""
    yield f"against {reference['against']} of {reference['name']} ({reference['source']})"
    for case in reference["cases"]:
        yield f"{_LINE}{case['name']}: {case['described']}"
    for remark in reference.get("remarks", ()):
        yield f"{_LINE}{remark}"
    told = list(divergence(result))
    if told:
        yield ""
        yield from told
    counts = {verdict: sum(each["verdict"] == verdict for each in rows) for verdict in VERDICTS}
    yield ""
    yield ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "nothing was verified"


VERDICTS: Final = ("FAILED", "NOT INFORMATIVE", "PASSED")

_HEADINGS: Final = (
    *("output", "case", "samples", "max / spread", "tolerance", "reference's", "SQNR dB", "top-1"),
    "verdict",
)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """One line an output and case, aligned."""
    cells = [
        (
            each["output"],
            each["case"],
            str(each["samples"]),
            _number(each["relative"]),
            _number(each["tolerance"]),
            _number(each["noise"].get("reference")),
            "-" if each["sqnr_db"] is None else f"{each['sqnr_db']:.1f}",
            "-" if each["agreement"] is None else f"{each['agreement']:.2%}",
            each["verdict"],
        )
        for each in rows
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *cells, strict=True)]
    left = (0, 1, len(_HEADINGS) - 1)
    for line in (_HEADINGS, tuple("-" * width for width in widths), *cells):
        parts = (
            text.ljust(width) if index in left else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield (_LINE + "  ".join(parts)).rstrip()


def causes(rows: Iterable[Row]) -> Iterator[str]:
    """How much of a difference comes from where."""
    yield "where the differences come from (largest, of the output's spread):"
    for artifact, group in groupby(rows, key=lambda each: each["artifact"]):
        yield f"{_LINE}{artifact}"
        for each in group:
            predicted = "" if each["measured"] else "  (predicted)"
            yield f"{_LINE}{_LINE}{each['cause']:<24}{_number(each['relative']):>9}  {each['how']}{predicted}"


def gates(rows: Iterable[Row]) -> Iterator[str]:
    """What the gates of the model's CBAM blocks do on real inputs."""
    yield "gates of the model on real inputs (share of values below 0.01 / above 0.99; dead: channels alike on all):"
    for each in rows:
        yield (
            f"{_LINE}{each['block']} {each['gate']}: {each['least']:.3g}..{each['largest']:.3g}, closed "
            f"{each['closed']:.1%}, open {each['open']:.1%}, dead {each['dead']:.1%}"
        )


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in rows:
        if each["reason"]:
            reasons.setdefault((each["output"], each["reason"]), []).append(each["case"])
    for (output, reason), cases in reasons.items():
        yield f"{_LINE}{output}, {' and '.join(cases)}: {reason}"
    for each in rows:
        if each["flips"]:
            yield f"{_LINE}{each['output']}, {each['case']}: {_flips(each)}"
    told: set[str] = set()
    for each in rows:
        if each["tolerance_source"] and each["output"] not in told:
            told.add(each["output"])
            yield f"{_LINE}tolerance of {each['output']}, {each['case']} = {each['tolerance_source']}"
    asked: dict[str, list[Row]] = {}
    for each in rows:
        if each["overrides"]:
            asked.setdefault(each["overrides"], []).append(each)
    for words, those in asked.items():
        # A bound is in the output's own units, all else in those of its spread.
        sizes = [each["max_abs"] for each in those if each["max_abs"] is not None] if "tol " in words else []
        largest = f" (the largest difference is {max(sizes):.3g})" if sizes else ""
        outputs = " and ".join(dict.fromkeys(each["output"] for each in those))
        yield f"{_LINE}asked for of {outputs}: {words}{largest}"


def _flips(each: Row) -> str:
    told = "; ".join(
        f"sample {flip['sample']} {flip['expected']} -> {flip['given']}, margin {flip['margin']:.2g}"
        + (" (near tie)" if flip["near_tie"] else "")
        for flip in sorted(each["flips"], key=lambda flip: -flip["margin"])[:_LISTED]
    )
    real = each["flip_count"] - each["near_ties"]
    return f"{flips(each['flip_count'], real)}: {told}"


def _group(each: Row) -> tuple[str, str, str]:
    return each["artifact"], each["runtime"], each.get("machine") or ""


def _where(each: Row) -> str:
    return f"  on {each['machine']}" if each.get("machine") else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def flips(count: int, real: int) -> str:
    """How many samples have another top-1, and how many of these at no near tie, in words."""
    return f"{count} {'flip' if count == 1 else 'flips'} of top-1, {real} of them no near tie"
