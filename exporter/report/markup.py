"""HTML and SVG from Python, escaped by type: whatever is not `Html` already is text, and is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any, Final

_VOID: Final = frozenset({"img", "br", "meta", "line", "rect", "circle", "path", "polyline"})


class Html(str):
    """Text that is markup, made by `tag`."""

    __slots__ = ()


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """An element. Children that are not `Html` are escaped, and None is left out; so are attributes that are None.

    `class_` is `class`, an underscore within a name a hyphen; True gives an attribute without a value.
    """
    parts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(f" {key}" if value is True else f' {key}="{html.escape(str(value), quote=True)}"')
    content = join(children)
    if name in _VOID and not content:
        return Html(f"<{name}{''.join(parts)}/>")
    return Html(f"<{name}{''.join(parts)}>{content}</{name}>")


def join(children: Iterable[Any], between: str = "") -> Html:
    """Children one behind the other, escaped unless they are `Html`."""
    texts = (each if isinstance(each, Html) else html.escape(str(each)) for each in children if each is not None)
    return Html(html.escape(between).join(texts))


def number(value: Any, digits: int = 2) -> Html:
    """A figure as people write it: 0.25, 3.1 x 10^-5 with a raised exponent; a dash where there is none."""
    if value is None or not isinstance(value, int | float) or not math.isfinite(value):
        return Html("–")
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return Html(f"{value:.{digits + 1}g}" if abs(value) < 1000 else f"{value:.0f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    sign = "−" if exponent.startswith("-") else ""
    return Html(f"{mantissa.replace('-', '−')}&#8239;×&#8239;10<sup>{sign}{int(exponent[1:])}</sup>")


def percent(value: Any) -> Html:
    """A share of 1 in percent."""
    return Html("–") if value is None else Html(f"{value:.4g} %" if value == 0 else f"{100 * value:.4g} %")


def table(headings: Iterable[tuple[str, str]], rows: Iterable[Iterable[Any]], caption: str, **attributes: Any) -> Html:
    """A table that becomes a list of cards on a narrow screen.

    Args:
        headings: text and class (`num` for figures) of each column; the first column is the row's heading.
        rows: cells, as many as headings.
    """
    headings = list(headings)
    head = tag("tr", *(tag("th", text, scope="col", class_=kind or None) for text, kind in headings))
    body = []
    for row in rows:
        cells = []
        for index, (cell, (text, kind)) in enumerate(zip(row, headings, strict=True)):
            name, more = ("th", {"scope": "row"}) if index == 0 else ("td", {})
            cells.append(tag(name, tag("span", cell), data_label=text, class_=kind or None, **more))
        body.append(tag("tr", *cells))
    parts = (tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("table", *parts, class_="cards", **attributes)


_MARKS: Final = {"PASSED": ("pass", "✓"), "FAILED": ("fail", "✗"), "NOT INFORMATIVE": ("unsure", "○")}


def verdict(value: str, **attributes: Any) -> Html:
    """A verdict as a word with a mark, so that it is not told by colour alone."""
    kind, mark = _MARKS.get(value, ("unsure", "?"))
    return tag(
        "span", tag("span", mark, aria_hidden="true"), Html("&#160;"), value, class_=f"verdict {kind}", **attributes
    )


def worst(verdicts: Iterable[str]) -> str:
    """The one that counts: FAILED before NOT INFORMATIVE before PASSED."""
    found = set(verdicts)
    return next(each for each in ("FAILED", "NOT INFORMATIVE", "PASSED") if each in found or each == "PASSED")


def and_list(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def bar(share: float, kind: str = "") -> Html:
    """A horizontal bar as long as a share of 0 to 1 of its cell, hidden to screen readers: a figure stands beside."""
    width = round(100 * min(1.0, max(0.0, share)), 1)
    track = tag("rect", class_="track", width="100", height="8")
    fill = tag("rect", class_=f"fill {kind}".strip(), width=width, height="8") if width else None
    return tag("svg", track, fill, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true")
