"""The last part of the page: where differences come from, what was measured against, and where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from exporter.report.checks import short_names
from exporter.report.markup import Html, bar, join, number, table, tag

Row = Mapping[str, Any]

_LEAST: Final = -8  # powers of ten: the length of a bar is from 1e-8 to 1


def causes(result: Mapping[str, Any]) -> Html | None:
    """Each part of the difference, told from two runs that differ in that alone."""
    rows = result.get("causes", ())
    if not rows:
        return None
    names = short_names(result)
    headings = [("part", ""), ("of the spread", "num"), ("10⁻⁸ to 1", "bars"), ("between", "long")]
    parts = []
    for path, members in groupby(rows, key=lambda row: row["artifact"]):
        cells = []
        for row in members:
            predicted = tag("span", " predicted", class_="tagged") if not row["measured"] else None
            length = 0.0 if not row["relative"] else 1 - math.log10(max(row["relative"], 10.0**_LEAST)) / _LEAST
            kind = "" if row["measured"] else "predicted"
            cells.append([join([row["cause"], predicted]), number(row["relative"]), bar(length, kind), row["how"]])
        parts.append(table(headings, cells, f"{names.get(path, path)}: largest difference, in units of the spread"))
    return tag(
        "section",
        tag("h2", "Where the differences come from", id="causes"),
        tag("p", "Each part is the difference of two runs that differ in that alone. Bars are logarithmic."),
        *parts,
        aria_labelledby="causes",
    )


def background(result: Mapping[str, Any]) -> Html:
    """The reference and its cases, the machine, versions, remarks, and what was left out."""
    reference = result["reference"]
    cases = table(
        [("case", ""), ("samples", "num"), ("what they are", "long")],
        [[case["name"], case["count"], case["described"]] for case in reference["cases"]],
        f"Inputs of {reference['name']}",
    )
    facts = [
        ("model", reference["name"]),
        ("measured against", reference["against"]),
        ("recorded by", reference["source"]),
        ("reference, SHA-256", reference["sha256"]),
        ("weights, SHA-256", reference["weights_sha256"]),
        *(
            (f"recorded with: {key}", _plain(value))
            for key, value in reference["environment"].items()
            if key != "summary"
        ),
        *((f"verified on: {key}", _plain(value)) for key, value in result.get("machine", {}).items()),
    ]
    remarks = [*_remarks(result)]
    return tag(
        "section",
        tag("h2", "Reference and machine", id="background"),
        cases,
        tag("details", tag("summary", "Versions and settings"), _list(facts)),
        tag("h3", "Remarks") if remarks else None,
        tag("ul", *(tag("li", each) for each in remarks), class_="reasons") if remarks else None,
        aria_labelledby="background",
    )


def _list(facts: list[tuple[str, str]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    names = short_names(result)
    yield from result["reference"].get("remarks", ())
    for each in result.get("remarks", ()):
        yield f"{names.get(each['artifact'], each['artifact'])}: {each['remark']}"
    for each in result.get("left_out", ()):
        yield f"{each.get('runtime') or each.get('artifact')} was left out: {each['reason']}"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return {None: "not known", True: "yes", False: "no"}.get(value, str(value)) if not isinstance(value, str) else value
