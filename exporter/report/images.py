"""The third part of the page: attention maps of model and artifacts side by side, and the inputs that flipped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from exporter.report.checks import groups, short_names
from exporter.report.markup import Html, join, number, tag

Row = Mapping[str, Any]

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def attention(result: Mapping[str, Any]) -> Html | None:
    """The spatial attention maps, by artifact and block: input, model, artifact, difference."""
    pictures = result.get("pictures") or {}
    maps = pictures.get("attention", ())
    if not maps:
        return None
    names = short_names(result)
    inputs = {each["sample"]: each for each in pictures.get("inputs", ())}
    parts: list[Html] = []
    for path, members in groupby(maps, key=lambda each: each["artifact"]):
        blocks = [
            tag(
                "div",
                tag("h3", block),
                tag("div", *(_quartet(each, inputs.get(each["sample"])) for each in of_block), class_="quartets"),
            )
            for block, of_block in groupby(members, key=lambda each: each["block"])
        ]
        title = names.get(path, path) if path else "The model alone (no artifact was searched)"
        parts.append(tag("details", tag("summary", tag("b", title)), *blocks, open=not parts))
    explained = tag(
        "p",
        "What each block’s spatial gate lets through, from dark (least) to light (most), in the same colours for the "
        "model in float64 and the artifact. The difference is blue where the artifact’s gate is lower and red where it "
        "is higher; its colours reach as far as the figure under it.",
    )
    return tag(
        "section", tag("h2", "Spatial attention", id="attention"), explained, *parts, aria_labelledby="attention"
    )


def _quartet(each: Row, shown: Row | None) -> Html:
    what = f"{each['block']}, sample {each['sample']}"
    limits = f"model, {each['least']:.3f}…{each['largest']:.3f}"
    parts = (
        [_picture(shown["png"], f"Input, sample {each['sample']}", f"sample {each['sample']}", "photo")]
        if shown
        else []
    )
    parts.append(_picture(each["model"], f"Spatial gate of the model, {what}", limits))
    if each["given"] is not None:
        parts.append(_picture(each["given"], f"Spatial gate of the artifact, {what}", "artifact"))
        error = "not finite" if each["error"] is None else join(["difference, ±", number(each["error"])])
        parts.append(_picture(each["difference"], f"Difference of the two, {what}", error))
    elif each["artifact"]:
        parts.append(tag("p", "not recognised in the file", class_="quiet missing"))
    return tag("div", *parts, class_="quartet")


def flips(result: Mapping[str, Any]) -> Html | None:
    """The samples whose class is another, with their pictures where there are any."""
    names = short_names(result)
    inputs = {each["sample"]: each for each in (result.get("pictures") or {}).get("inputs", ())}
    parts = []
    for (path, runtime, machine), rows in groups(result["verification"]):
        figures = [each for row in rows for each in _flipped(row, inputs)]
        if figures:
            where = f" in {runtime}" + (f", on {machine}" if machine else "")
            parts += [tag("h3", names[path], tag("span", where, class_="quiet")), tag("div", *figures, class_="flips")]
            more = sum(row["flip_count"] for row in rows) - len(figures)
            parts += [tag("p", f"and {more} more", class_="quiet")] if more > 0 else []
    if not parts:
        return None
    explained = tag(
        "p",
        "Inputs for which the artifact’s first class is not the model’s. The margin is by how much the model prefers "
        "its own; a near tie can be turned by the noise that is expected.",
    )
    return tag("section", tag("h2", "Inputs that flipped", id="flips"), explained, *parts, aria_labelledby="flips")


def _flipped(row: Row, inputs: Mapping[int, Row]) -> Iterator[Html]:
    for flip in sorted(row["flips"], key=lambda flip: -flip["margin"])[:24]:
        tie = " (near tie)" if flip["near_tie"] else ""
        caption = join(
            [
                tag("b", f"{flip['expected']} → {flip['given']}"),
                tag("br"),
                join(["margin ", number(flip["margin"]), tie]),
                tag("br"),
                tag("span", f"{row['output']}, {row['case']}, sample {flip['sample']}", class_="quiet"),
            ]
        )
        words = f"Input, sample {flip['sample']}: class {flip['expected']} became {flip['given']}"
        shown = inputs.get(flip["sample"])
        yield _picture(shown["png"], words, caption, "photo") if shown else tag("figure", tag("figcaption", caption))


def _picture(data: str, words: str, caption: Any, kind: str = "map") -> Html:
    """A figure. Only base64 gets into the page, whatever the JSON holds.

    Raises:
        ValueError: it holds something else.
    """
    if not isinstance(data, str) or not _BASE64.fullmatch(data):
        raise ValueError("a picture of the result is not base64")
    image = tag("img", src=f"data:image/png;base64,{data}", alt=words, class_=kind)
    return tag("figure", image, tag("figcaption", caption))
