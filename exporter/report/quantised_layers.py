"""The drawings of a quantisation's page: SQNR along the operations, histograms of the gates, ranges of the tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from exporter.report.markup import Html, join, number, table, tag

Row = Mapping[str, Any]

_LEFT, _TOP, _WIDTH, _HEIGHT, _BOTTOM = 46, 14, 720, 230, 30
_MOST: Final = 60.0
"""dB at the top of the chart; what is better stands there too."""
_GRID: Final = (0, 10, 20, 30, 40, 50, 60)
_BARS: Final = 180  # width of a histogram
_TALL: Final = 70


def along_layers(result: Mapping[str, Any]) -> Html | None:
    """SQNR of every operation's result, as a drawing and as a table; None where it was not measured."""
    profiles = result.get("profiles", {})
    if not profiles:
        return None
    parts = []
    for index, (kind, each) in enumerate(profiles.items()):
        parts.append(tag("h3", kind, tag("span", f" over {each['samples']} samples", class_="quiet")))
        parts.append(tag("div", _chart(each["layers"], f"sqnr-{index}"), class_="scroll", tabindex="0"))
        headings = [("operation", "long"), ("SQNR, dB", "num"), ("lost here, dB", "num")]
        cells = [[row["label"], _decibels(row["sqnr_db"]), number(row["loss_db"])] for row in each["layers"]]
        made = table(headings, cells, "In the file’s order; lost: less than the worst of what it reads")
        parts.append(tag("details", tag("summary", f"The same as a table, {len(cells)} operations"), made))
    legend = tag(
        "ul",
        tag("li", _dot("agrees"), " a gate of a CBAM block"),
        tag("li", _dot("hands"), " another operation"),
        tag("li", _dot("leaves"), " one that loses 6 dB or more itself"),
        class_="legend",
    )
    explained = tag(
        "p",
        "The result of each operation in the quantised file, in real numbers, against that in the float file: signal "
        "to quantisation noise. Every 6 dB are one bit.",
    )
    head = tag("h2", "SQNR along the operations", id="layers")
    return tag("section", head, explained, legend, *parts, aria_labelledby="layers")


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.1f}"


def _y(decibels: float | None) -> float:
    share = 1.0 if decibels is None else min(1.0, max(0.0, decibels / _MOST))
    return round(_TOP + _HEIGHT * (1 - share), 1)


def _chart(rows: Sequence[Row], ident: str) -> Html:
    step = (_WIDTH - _LEFT - 12) / max(1, len(rows))
    xs = [round(_LEFT + step * (index + 0.5), 1) for index in range(len(rows))]
    finite = [row for row in rows if row["sqnr_db"] is not None]
    worst = min(finite, key=lambda row: row["sqnr_db"], default=None)
    words = f"{len(rows)} operations"
    words += f"; the least SQNR is {worst['sqnr_db']:.1f} dB, at {worst['label']}." if worst else ", all equal."
    axes = []
    for value in _GRID:
        axes.append(tag("line", x1=_LEFT, x2=_WIDTH - 12, y1=_y(value), y2=_y(value), class_="grid"))
        axes.append(tag("text", f"{value}", x=_LEFT - 6, y=_y(value) + 4, class_="label end"))
    axes.append(tag("text", "dB", x=4, y=_TOP + 4, class_="label"))
    line = tag("polyline", points=" ".join(f"{x},{_y(row['sqnr_db'])}" for row, x in zip(rows, xs, strict=True)))
    points = []
    for row, x in zip(rows, xs, strict=True):
        name = tag("title", f"{row['label']}: {_decibels(row['sqnr_db'])} dB")
        points.append(tag("g", name, _shape(_kind(row), x, _y(row["sqnr_db"])), class_=f"point {_kind(row)}"))
    below = _TOP + _HEIGHT + 20
    ends = []
    if rows:
        ends = [
            tag("text", rows[0]["label"][:40], x=_LEFT, y=below, class_="label"),
            tag("text", rows[-1]["label"][:40], x=_WIDTH - 12, y=below, class_="label end"),
        ]
    return tag(
        "svg",
        tag("title", "SQNR along the operations", id=f"{ident}-title"),
        tag("desc", words, id=f"{ident}-desc"),
        *axes,
        tag("g", line, class_="line total"),
        *points,
        *ends,
        viewBox=f"0 0 {_WIDTH} {_TOP + _HEIGHT + _BOTTOM}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        class_="chart",
    )


def _kind(row: Row) -> str:
    if row["loss_db"] is not None and row["loss_db"] >= 6:
        return "leaves"
    return "agrees" if row["label"].endswith(" gate") else "hands"


def _shape(kind: str, x: float, y: float) -> Html:
    if kind == "agrees":
        return tag("circle", cx=x, cy=y, r=3.6)
    if kind == "hands":
        return tag("path", d=f"M{x - 2} {y - 2}h4v4h-4z")
    return tag("path", d=f"M{x - 4} {y - 4}l8 8m0 -8l-8 8")


def _dot(kind: str) -> Html:
    return tag("svg", tag("g", _shape(kind, 8, 8), class_=f"point {kind}"), viewBox="0 0 16 16", class_="symbol")


def gates(result: Mapping[str, Any]) -> Html | None:
    """For each gate the values that it takes, in float as a line and quantised as bars."""
    parts = []
    for kind, each in result.get("profiles", {}).items():
        if each["gates"]:
            parts.append(tag("h3", kind, tag("span", f" over {each['samples']} samples", class_="quiet")))
            parts.append(tag("div", *(_histogram(row) for row in each["gates"]), class_="quartet"))
    if not parts:
        return None
    explained = tag(
        "p",
        "How often a gate takes which value, from shut to open: in the float file as a line, in the quantised file as "
        "bars. Apart: the share of values that would have to move for one to become the other.",
    )
    return tag("section", tag("h2", "Gates", id="gates"), explained, *parts, aria_labelledby="gates")


def _histogram(row: Row) -> Html:
    first, second = row["float"], row["quantised"]
    top = max(*first, *second, 1e-9)
    width = _BARS / len(first)
    bars = [
        tag(
            *("rect",),
            class_="fill predicted",
            x=round(place * width, 2),
            y=round(_TALL * (1 - math.sqrt(share / top)), 2),
            width=round(width * 0.9, 2),
            height=round(_TALL * math.sqrt(share / top), 2),
        )
        for place, share in enumerate(second)
        if share
    ]
    steps = []
    for place, share in enumerate(first):
        y = round(_TALL * (1 - math.sqrt(share / top)), 2)
        steps += [f"{round(place * width, 2)},{y}", f"{round((place + 1) * width, 2)},{y}"]
    apart = sum(abs(one - two) for one, two in zip(first, second, strict=True)) / 2
    drawing = tag(
        "svg",
        tag("title", f"{row['label']}: values from {row['low']:g} to {row['high']:g}; {apart:.1%} apart"),
        *bars,
        tag("polyline", points=" ".join(steps), class_="line total"),
        tag("line", x1=0, x2=_BARS, y1=_TALL, y2=_TALL, class_="grid"),
        viewBox=f"0 -2 {_BARS} {_TALL + 4}",
        role="img",
        style="display:block;width:100%",
    )
    under = tag("figcaption", row["label"], tag("br"), tag("span", f"{apart:.1%} apart", class_="quiet"))
    return tag("figure", drawing, under)


def ranges(result: Mapping[str, Any]) -> Html | None:
    """What each tensor took on the calibration data, and what it is stored to hold."""
    parts = []
    for kind, each in result.get("profiles", {}).items():
        if not each["ranges"]:
            continue
        headings = [
            *(("tensor", "long"), ("taken", "num"), ("stored", "num"), ("cut off", "num")),
            ("the stored part of what was taken", "bars"),
        ]
        cells = [
            [
                row["label"],
                _span(row["seen"]),
                _span(row["stored"]) if row["stored"] else "–",
                _cut(row),
                _range_bar(row),
            ]
            for row in each["ranges"]
        ]
        made = table(headings, cells, f"{kind}: on the calibration data")
        parts.append(tag("details", tag("summary", f"{kind}: {len(cells)} tensors"), made))
    if not parts:
        return None
    explained = tag(
        "p",
        "The range of each tensor on the calibration data, and the range that its integers span. Narrower: rare values "
        "are cut off so that all others are finer. Widened: a range that had collapsed.",
    )
    return tag("section", tag("h2", "Ranges", id="ranges"), explained, *parts, aria_labelledby="ranges")


def _span(ends: Sequence[float]) -> Html:
    return join([number(ends[0], 3), " … ", number(ends[1], 3)])


def _cut(row: Row) -> str:
    if row["widened"]:
        return "widened"
    if not row["stored"]:
        return "–"
    low, high = row["seen"]
    lost = max(0.0, row["stored"][0] - low) + max(0.0, high - row["stored"][1])
    return f"{100 * lost / (high - low):.0f} %" if high > low and lost > 1e-6 * (high - low) else "–"


def _range_bar(row: Row) -> Html:
    both = [row["seen"], row["stored"] or row["seen"]]
    low, high = min(ends[0] for ends in both), max(ends[1] for ends in both)
    span = high - low or 1.0

    def rect(ends: Sequence[float], kind: str, y: int, height: int) -> Html:
        x = round(100 * (ends[0] - low) / span, 1)
        return tag(
            "rect", class_=kind, x=x, y=y, width=max(0.5, round(100 * (ends[1] - ends[0]) / span, 1)), height=height
        )

    parts = [rect(both[0], "track", 0, 8), rect(row["stored"], "fill", 2, 4) if row["stored"] else None]
    return tag("svg", *parts, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")
