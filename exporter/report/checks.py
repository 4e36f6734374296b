"""The first part of the page: the verdict in words, the matrix, and every figure with its tolerance and reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from exporter.parity.text import flips
from exporter.parity.text_layers import where
from exporter.report.markup import Html, and_list, bar, join, number, percent, table, tag, verdict, worst

Row = Mapping[str, Any]
Key = tuple[str, str, str]


def groups(rows: Iterable[Row]) -> list[tuple[Key, list[Row]]]:
    """Rows by artifact, runtime and machine, in their order."""
    return [(key, list(part)) for key, part in groupby(rows, key=_key)]


def _key(row: Row) -> Key:
    return row["artifact"], row["runtime"], row.get("machine") or ""


def short_names(result: Mapping[str, Any]) -> dict[str, str]:
    """By artifact, as much of its path as tells it from the others."""
    paths = list(dict.fromkeys(row["artifact"] for row in result["verification"]))
    names: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            names[path] = "/".join(parts[-count:])
            if sum(other == path or other.endswith(f"/{names[path]}") for other in paths) == 1:
                break
    return names


def overall(rows: Sequence[Row]) -> str:
    """The verdict on all: NOT INFORMATIVE where no check could have failed."""
    found = {row["verdict"] for row in rows}
    return next(each for each in ("FAILED", "PASSED", "NOT INFORMATIVE") if each in found or each == "NOT INFORMATIVE")


def _that_counts(rows: Iterable[Row]) -> str:
    """Of one artifact's cases in one runtime: FAILED in any of them; else what the real samples, which are the first
    case of each output, show. Of a quantised artifact the figures of the other cases are shown only."""
    rows = list(rows)
    real = {row["output"]: row["verdict"] for row in reversed(rows)}
    return "FAILED" if overall(rows) == "FAILED" else worst(real.values())


def summary(result: Mapping[str, Any]) -> Html:
    """The verdict in words."""
    rows = result["verification"]
    names = short_names(result)
    failed = [row for row in rows if row["verdict"] == "FAILED"]
    silent = [row for row in rows if row["verdict"] == "NOT INFORMATIVE"]
    model = result["reference"]["name"]
    bad = list(dict.fromkeys(names[row["artifact"]] for row in failed))
    if failed:
        does = "does" if len(bad) == 1 else "do"
        words = f"{and_list(bad)} {does} not compute what the model {model} computes."
    elif len(silent) == len(rows):
        words = "Nothing is claimed: no check could have failed."
    else:
        every = "In every check that could have failed," if silent else ""
        does = "computes" if len(names) == 1 else "compute"
        words = f"{and_list(names.values())} {does} what the model {model} computes, within what rounding in "
        words += f"{'its' if len(names) == 1 else 'their'} precision explains."
        words = f"{every} {words}".strip()
    counts = [
        (value, sum(row["verdict"] == value for row in rows)) for value in ("FAILED", "NOT INFORMATIVE", "PASSED")
    ]
    chips = [tag("li", verdict(value), Html("&#160;"), tag("b", count)) for value, count in counts if count]
    word = overall(rows)
    kind = _kind(word)
    return tag(
        "section",
        tag("h2", "Verdict", id="verdict"),
        tag("div", tag("p", verdict(word), class_="big"), tag("p", words, class_="words"), class_=f"banner {kind}"),
        tag("ul", *chips, class_="chips", aria_label=f"{len(rows)} checks"),
        tag("ul", *(tag("li", *_sentence(result, path, names)) for path in names), class_="sentences"),
        aria_labelledby="verdict",
    )


def _sentence(result: Mapping[str, Any], path: str, names: Mapping[str, str]) -> Iterator[Any]:
    rows = [row for row in result["verification"] if row["artifact"] == path]
    failed = [row for row in rows if row["verdict"] == "FAILED"]
    yield tag("b", names[path])
    yield f" ({rows[0]['precision']}): "
    if not failed:
        measured = [row for row in rows if _used(row) is not None]
        closest = max(measured, key=lambda row: _used(row) or 0.0, default=None)
        yield f"{len(rows)} checks, none failed"
        if closest is not None:
            where_most = f" of a tolerance used ({closest['output']}, {closest['case']})"
            yield join([", at most ", _part(_used(closest) or 0.0), where_most])
        yield "."
        return
    yield f"{len(failed)} of {len(rows)} checks failed"
    beyond = [row for row in failed if _used(row) is not None]
    if beyond:
        most = max(beyond, key=lambda row: _used(row) or 0.0)
        yield join([", by up to ", number(_used(most)), f" times the tolerance ({most['output']}, {most['case']})"])
    else:
        yield f": {failed[0]['reason']}"
    for each in result.get("divergence", ()):
        if each["artifact"] == path:
            block = f", in block {each['block']}" if each["block"] else ""
            yield join(["; it first leaves the model at layer ", tag("b", each["layer"]), block])
    for each in result.get("not_located", ()):
        if each["artifact"] == path:
            yield f"; no layer is named: {_plain(each)}"
    yield "."


def _plain(each: Row) -> str:
    """Why no layer is named, without the full stop that a library's own message may end with."""
    reason: str = each["reason"]
    return reason.rstrip(".")


def _used(row: Row) -> float | None:
    """The part of the tolerance that a row takes up; None where it has none."""
    if row["relative"] is None or not row["tolerance"]:
        return None
    return float(row["relative"]) / float(row["tolerance"])


def matrix(result: Mapping[str, Any]) -> Html:
    """Runtimes by outputs: the verdict that counts, and that of each case."""
    names = short_names(result)
    outputs = list(dict.fromkeys(row["output"] for row in result["verification"]))
    rows = []
    for (path, runtime, machine), members in groups(result["verification"]):
        where_run = f"{runtime}, on {machine}" if machine else runtime
        head = join(
            [tag("b", names[path]), f" {members[0]['precision']}", tag("br"), tag("span", where_run, class_="quiet")]
        )
        rows.append([head, *(_cell([row for row in members if row["output"] == name]) for name in outputs)])
    headings = [("artifact, runtime", ""), *((name, "long") for name in outputs)]
    return tag(
        "section",
        tag("h2", "Runtimes and outputs", id="matrix"),
        table(
            headings,
            rows,
            "One line a runtime, one column an output; FAILED where any case did, else the verdict on the first case.",
        ),
        aria_labelledby="matrix",
    )


def _cell(rows: Sequence[Row]) -> Html:
    if not rows:
        return tag("span", "not run", class_="quiet")
    marks = [
        tag("li", f"{row['case']}\u00a0", tag("span", *_mark(row["verdict"]), class_=f"mark {_kind(row['verdict'])}"))
        for row in rows
    ]
    return join([verdict(_that_counts(rows)), tag("ul", *marks, class_="cases")])


def _kind(value: str) -> str:
    return {"PASSED": "pass", "FAILED": "fail"}.get(value, "unsure")


def _mark(value: str) -> tuple[Html, Html]:
    sign = {"PASSED": "✓", "FAILED": "✗"}.get(value, "○")
    return tag("span", sign, aria_hidden="true"), tag("span", value.lower(), class_="hidden")


def checks(result: Mapping[str, Any]) -> Html:
    """Every row: its figures, its tolerance and where that comes from, reasons and flips."""
    names = short_names(result)
    parts: list[Html] = []
    for (path, runtime, machine), rows in groups(result["verification"]):
        failed = any(row["verdict"] == "FAILED" for row in rows)
        head = join([tag("b", names[path]), " in ", runtime + (f", on {machine}" if machine else ""), " "])
        title = tag("summary", head, verdict(_that_counts(rows)))
        parts.append(tag("details", title, _figures(rows), _reasons(rows), open=failed or len(parts) == 0))
    return tag(
        "section",
        tag("h2", "Every check", id="checks"),
        tag(
            "p",
            "The largest difference from ",
            result["reference"]["against"],
            ", in units of the output's spread: how much it varies from sample to sample in that case, or over the "
            "elements of a single one.",
        ),
        *parts,
        aria_labelledby="checks",
    )


def _figures(rows: Sequence[Row]) -> Html:
    headings = [
        *(("output, case", ""), ("samples", "num"), ("max / spread", "num"), ("tolerance", "num")),
        *(("part used", "num"), ("reference’s own", "num"), ("SQNR, dB", "num"), ("top-1 agrees", "num")),
        ("verdict", ""),
    ]
    cells = []
    for row in rows:
        used = _used(row)
        part = join([_part(used), bar(used, "over" if used > 1 else "")]) if used is not None else number(None)
        decibels = None if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
        noise = number(row["noise"].get("reference"))
        cells.append(
            [
                *(f"{row['output']}, {row['case']}", row["samples"], number(row["relative"]), number(row["tolerance"])),
                *(part, noise, decibels or number(None), percent(row["agreement"]), verdict(row["verdict"])),
            ]
        )
    return table(headings, cells, f"{rows[0]['format']} {rows[0]['precision']}, SHA-256 {rows[0]['sha256'][:16]}…")


def _part(used: float) -> Html:
    """A part of a tolerance: in percent, or so many times where it is more than all of it."""
    return join([number(used), "\u202f×"]) if used > 1 else Html(f"{100 * used:.2g}\u202f%")


def _reasons(rows: Sequence[Row]) -> Html | None:
    told: dict[str, list[str]] = {}
    for row in rows:
        what = f"{row['output']}, {row['case']}"
        if row["reason"]:
            told.setdefault(row["reason"], []).append(what)
        if row["tolerance_source"]:
            told.setdefault(f"tolerance = {row['tolerance_source']}", []).append(what)
        if row["overrides"]:
            words = f"asked for: {row['overrides']}"
            if "tol " in words and row["max_abs"] is not None:  # bounds in the output's own units
                words += f"; the largest difference is {row['max_abs']:.3g}"
            told.setdefault(words, []).append(what)
        if row["flip_count"]:
            real = row["flip_count"] - row["near_ties"]
            told.setdefault(flips(row["flip_count"], real), []).append(what)
    if not told:
        return None
    items = [tag("li", tag("span", "; ".join(where_), class_="quiet"), ": ", words) for words, where_ in told.items()]
    return tag("ul", *items, class_="reasons")


def divergences(result: Mapping[str, Any]) -> Html | None:
    """Where each artifact that failed leaves the model."""
    names = short_names(result)
    items = [
        tag("li", tag("b", names.get(each["artifact"], each["artifact"])), " ", where(each), ".")
        for each in result.get("divergence", ())
    ]
    items += [
        tag(
            "li",
            tag("b", names.get(each["artifact"], each["artifact"])),
            ": no layer is named: ",
            _plain(each),
            ".",
        )
        for each in result.get("not_located", ())
    ]
    return tag("ul", *items, class_="sentences") if items else None
