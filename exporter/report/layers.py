"""The second part of the page: the error along the layers, as a drawing and as a table, and the gates."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from exporter.parity.text_layers import where
from exporter.report.checks import divergences, short_names
from exporter.report.markup import Html, join, number, percent, table, tag

Row = Mapping[str, Any]

_LEFT, _TOP, _WIDTH, _HEIGHT, _BOTTOM = 58, 30, 720, 250, 34
_SHOWN: Final = 30  # letters of a layer's name under the axis of a chart
_FLOOR: Final = -8  # powers of ten
_CEILING: Final = 1
_KINDS: Final = {"agrees": "agrees", "LEAVES": "leaves", "hands on": "hands"}


def along_layers(result: Mapping[str, Any]) -> Html | None:
    """A chart and its table for each artifact that was searched; where those that failed leave the model."""
    names = short_names(result)
    profiles = result.get("profiles", ())
    failed = {row["artifact"] for row in result["verification"] if row["verdict"] == "FAILED"}
    told = divergences(result)
    if not profiles and told is None:
        return None
    parts = []
    for index, each in enumerate(profiles):
        name = names.get(each["artifact"], each["artifact"])
        parts.append(
            tag(
                "article",
                tag("h3", name, tag("span", f" in {each['runtime']}", class_="quiet")),
                _said(each, failed),
                _chart(each, name, f"chart-{index}"),
                tag("details", tag("summary", f"The same as a table, {len(each['rows'])} tensors"), _table(each, name)),
            )
        )
    legend = tag(
        "ul",
        tag("li", _symbol("agrees"), " agrees with what the tensors before it give"),
        tag("li", _symbol("hands"), " hands on an error from before it"),
        tag("li", _symbol("leaves"), " leaves the model: inputs right, result not"),
        tag("li", _line("allowed"), " allowed: what arithmetic does in that step"),
        tag("li", _line("total"), " difference from the model in all"),
        class_="legend",
    )
    explained = tag(
        "p",
        "Each tensor of the file is held against what the model gives in float64 from the file’s own values of the "
        "tensors before it: an error shows where it arises, and nowhere else. In units of each tensor’s own deviation; "
        "what is exact stands on the lowest line.",
    )
    return tag(
        "section",
        tag("h2", "Along the layers", id="layers"),
        told,
        explained if parts else None,
        legend if parts else None,
        *parts,
        aria_labelledby="layers",
    )


def _said(profile: Row, failed: Collection[str]) -> Html | None:
    """What follows where no layer is named; of an artifact that passed, the layer that leaves it all the same."""
    if profile["divergence"] is None:
        note = profile["note"] if profile["artifact"] in failed else profile["note"].partition(";")[0]
        return tag("p", f"{note[:1].upper()}{note[1:]}.", class_="quiet") if note else None
    if profile["artifact"] in failed:
        return None
    return tag("p", "Its outputs pass. All the same it ", where(profile["divergence"]), ".")


def _y(value: float | None) -> float:
    power = _FLOOR if not value or value <= 0 else min(_CEILING, max(_FLOOR, math.log10(value)))
    return round(_TOP + _HEIGHT * (_CEILING - power) / (_CEILING - _FLOOR), 1)


def _chart(profile: Row, name: str, ident: str) -> Html | None:
    rows = profile["rows"]
    if not rows:
        return None
    step = (_WIDTH - _LEFT - 12) / len(rows)
    xs = [round(_LEFT + step * (index + 0.5), 1) for index in range(len(rows))]
    worst = max(
        rows, key=lambda row: math.inf if row["finding"] == "LEAVES" and row["error"] is None else row["error"] or 0.0
    )
    leaving = _first_leaving(profile)
    words = f"{len(rows)} tensors; the largest error of their own is {worst['error'] or 0.0:.1e}, at {worst['layer']}. "
    words += f"The first to leave the model is {leaving[1]}." if leaving else "None leaves the model."
    height = _TOP + _HEIGHT + _BOTTOM
    drawing = tag(
        "svg",
        tag("title", f"Error along the layers of {name}", id=f"{ident}-title"),
        tag("desc", words, id=f"{ident}-desc"),
        *_blocks(rows, xs, step),
        *_axes(),
        _polyline(rows, xs, "allowed"),
        _polyline(rows, xs, "total"),
        *(_point(row, x) for row, x in zip(rows, xs, strict=True)),
        *_names(rows, xs, leaving),
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        class_="chart",
    )
    return tag(
        "div", drawing, class_="scroll", tabindex="0", role="region", aria_label=f"Chart of {name}, scrolls sideways"
    )


def _blocks(rows: Sequence[Row], xs: Sequence[float], step: float) -> Iterator[Html]:
    start = 0
    for block, members in groupby(rows, key=lambda row: row["block"]):
        count = len(list(members))
        if block:
            left, width = xs[start] - step / 2, step * count
            yield tag("rect", x=round(left, 1), y=_TOP, width=round(width, 1), height=_HEIGHT, class_="block")
            shown = block if len(block) * 6.2 < width else ""
            if shown:
                yield tag("text", shown, x=round(left + width / 2, 1), y=_TOP - 8, class_="label middle")
        start += count


def _axes() -> Iterator[Html]:
    for power in range(_FLOOR, _CEILING + 1):
        y = _y(10.0**power)
        yield tag("line", x1=_LEFT, x2=_WIDTH - 12, y1=y, y2=y, class_="grid")
        if power % 2 == 0:
            sign = "−" if power < 0 else ""
            mark = tag("tspan", f"{sign}{abs(power)}", dy="-5", class_="power") if power else None
            yield tag("text", "10" if power else "1", mark, x=_LEFT - 8, y=y + 4, class_="label end")


def _polyline(rows: Sequence[Row], xs: Sequence[float], key: str) -> Html:
    points = " ".join(f"{x},{_y(row[key])}" for row, x in zip(rows, xs, strict=True) if row[key] is not None)
    return tag("polyline", points=points, class_=f"line {key}")


def _point(row: Row, x: float) -> Html:
    kind = _KINDS[row["finding"]]
    infinite = row["error"] is None and kind == "leaves"
    y = _TOP if infinite else _y(row["error"])
    error = "not finite" if infinite else "-" if row["error"] is None else f"{row['error']:.1e}"
    words = tag("title", f"{' + '.join(row['layers'])}: {error}, {row['finding']}")
    return tag("g", words, _shape(kind, x, y), class_=f"point {kind}")


def _shape(kind: str, x: float, y: float) -> Html:
    if kind == "leaves":
        return tag("path", d=f"M{x - 5},{y - 5}L{x + 5},{y + 5}M{x - 5},{y + 5}L{x + 5},{y - 5}")
    if kind == "hands":
        return tag("path", d=f"M{x},{y - 4.5}L{x + 4},{y + 3}L{x - 4},{y + 3}Z")
    return tag("circle", cx=x, cy=y, r="3")


def _first_leaving(profile: Row) -> tuple[int, str] | None:
    """Place and name of the first layer that leaves the model: of those in that operation, the one that was told."""
    rows = profile["rows"]
    first = next((index for index, row in enumerate(rows) if row["finding"] == "LEAVES"), None)
    if first is None:
        return None
    told = profile["divergence"]
    return first, told["layer"] if told and told["tensor"] == rows[first]["tensor"] else rows[first]["layer"]


def _names(rows: Sequence[Row], xs: Sequence[float], leaving: tuple[int, str] | None) -> Iterator[Html]:
    """The first layer, the last, and the first that leaves the model, under the axis."""
    y = _TOP + _HEIGHT + 20
    yield tag("text", _short(rows[0]["layers"][0]), x=_LEFT, y=y, class_="label")
    if len(rows) > 1:
        yield tag("text", _short(rows[-1]["layer"]), x=_WIDTH - 12, y=y, class_="label end")
    if leaving is not None:
        first, name = leaving
        yield tag("line", x1=xs[first], x2=xs[first], y1=_TOP, y2=_TOP + _HEIGHT, class_="leaving")
        if 0.15 < xs[first] / _WIDTH < 0.85:
            yield tag("text", _short(name), x=xs[first], y=y, class_="label middle strong")


def _short(name: str) -> str:
    """A name, or several with ` + ` between, as it fits under the axis. The table and the text have them whole."""
    first, *more = name.split(" + ")
    told = first if len(first) <= _SHOWN else f"…{first[-_SHOWN:]}"
    return f"{told} + {len(more)} more" if more else told


def _symbol(kind: str) -> Html:
    shape = tag("g", _shape(kind, 8, 8), class_=f"point {kind}")
    return tag("svg", shape, viewBox="0 0 16 16", class_="symbol", aria_hidden="true")


def _line(kind: str) -> Html:
    line = tag("polyline", points="0,8 24,8", class_=f"line {kind}")
    return tag("svg", line, viewBox="0 0 24 16", class_="symbol wide", aria_hidden="true")


def _table(profile: Row, name: str) -> Html:
    headings = [
        *(
            ("layer", "long"),
            ("block", "long"),
            ("own error", "num"),
            ("allowed", "num"),
            ("in all", "num"),
            ("finding", ""),
        ),
        *(("recognised by", ""), ("at its range’s ends", "num")),
    ]
    cells = [
        [
            *(" + ".join(row["layers"]), row["block"] or "–"),
            *(number(row["error"]), number(row["allowed"]), number(row["total"])),
            tag("span", row["finding"], class_=f"finding {_KINDS[row['finding']]}"),
            *(row["matched"], percent(row["clipped"])),
        ]
        for row in profile["rows"]
    ]
    made = table(headings, cells, f"Tensors of {name} in the file’s order")
    if not profile["unmatched"]:
        return made
    count = len(profile["unmatched"])
    names = tag("p", f"Not recognised, {count}: ", ", ".join(profile["unmatched"]), class_="quiet names")
    return join([made, names])


def gates(result: Mapping[str, Any]) -> Html | None:
    """Each gate of each CBAM block: what it does in the model, and how far each artifact's is from that."""
    own, theirs = result.get("gates", ()), result.get("artifact_gates", ())
    if not own and not theirs:
        return None
    names = short_names(result)
    parts = []
    if own:
        headings = [
            *(("gate", ""), ("least", "num"), ("largest", "num"), ("below 0.01", "num")),
            *(("above 0.99", "num"), ("dead", "num")),
        ]
        cells = [
            [
                *(f"{row['block']} {row['gate']}", number(row["least"]), number(row["largest"])),
                *(percent(row["closed"]), percent(row["open"]), percent(row["dead"])),
            ]
            for row in own
        ]
        caption = "The model’s gates on real inputs. Dead: channels, or places, whose gate is the same for all samples."
        parts.append(table(headings, cells, caption))
    for path, members in groupby(theirs, key=lambda row: row["artifact"]):
        headings = [("gate", ""), ("largest error", "num"), ("saturated (model)", "num"), ("dead (model)", "num")]
        cells = [
            [
                f"{row['block']} {row['gate']}",
                number(row["error"]) if row["tensor"] is not None else "not recognised in the file",
                _beside(row, "saturated"),
                _beside(row, "dead"),
            ]
            for row in members
        ]
        parts.append(
            table(headings, cells, f"Gates of {names.get(path, path)} beside the model’s, on the samples searched")
        )
    return tag("section", tag("h2", "Gates", id="gates"), *parts, aria_labelledby="gates")


def _beside(row: Row, key: str) -> Html:
    model = join(["(", percent(row[f"model_{key}"]), ")"])
    return model if row["tensor"] is None else join([percent(row[key]), " ", model])
