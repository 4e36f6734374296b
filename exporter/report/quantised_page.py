"""A quantisation as one HTML page that needs nothing else, from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from exporter.report.checks import short_names
from exporter.report.markup import Html, and_list, join, number, percent, table, tag, verdict, worst
from exporter.report.page import RESULT, document
from exporter.report.quantised_layers import along_layers, gates, ranges

Row = Mapping[str, Any]


def page(result: Mapping[str, Any], source: str | None = RESULT) -> str:
    """The page of a result as `cbam quantize --json` prints it. `source`: the file with that JSON beside it."""
    names = list(short_names(result).values())
    sections = {
        "verdict": _verdict(result),
        "files": _files(result),
        "kept": _kept(result),
        "layers": along_layers(result),
        "gates": gates(result),
        "ranges": ranges(result),
        "tried": _tried(result),
        "data": _data(result),
    }
    word = _word(result)
    words = (f"{word}: {and_list(names)}", f"Quantisation of {and_list(names)}", f"measured on {result['verified_on']}")
    return document("quantize", words, sections, _TITLES, source)


_TITLES: Final = {
    "verdict": "Verdict",
    "files": "Files",
    "kept": "Kept",
    "layers": "Layers",
    "gates": "Gates",
    "ranges": "Ranges",
    "tried": "Tried",
    "data": "Data",
}


def _word(result: Mapping[str, Any]) -> str:
    missed = any(not each["reached"] for each in result["search"].values())
    return "FAILED" if missed else worst(row["verdict"] for row in result["verification"])


def section(ident: str, heading: str, *parts: Any) -> Html:
    """One part of the page."""
    return tag("section", tag("h2", heading, id=ident), *parts, aria_labelledby=ident)


def _verdict(result: Mapping[str, Any]) -> Html:
    rows, names, asked = result["verification"], short_names(result), result["gates_asked"]
    word = _word(result)
    kind = {"PASSED": "pass", "FAILED": "fail"}.get(word, "unsure")
    told = {
        "PASSED": "Every file decides and computes as near to the float model as was asked for.",
        "FAILED": "Not every file is as near to the float model as was asked for.",
        "NOT INFORMATIVE": "Nothing is claimed: an output was the same for every sample.",
    }[word]
    gate = join(
        [
            "Asked for: top-1 agrees on ",
            percent(asked["agreement"]),
            ", SQNR ",
            number(asked["sqnr_db"]),
            " dB or more.",
        ]
    )
    headings = [
        *(("runtime", "long"), ("file", ""), ("output", ""), ("SQNR, dB", "num"), ("top-1 agrees", "num")),
        *(("largest error", "num"), ("verdict", ""), ("reason", "long")),
    ]
    cells = [
        [
            *(row["runtime"], names[row["artifact"]], row["output"], _decibels(row["sqnr_db"])),
            *(percent(row["agreement"]), number(row["max_abs"]), verdict(row["verdict"]), row["reason"] or "–"),
        ]
        for row in rows
    ]
    return section(
        "verdict",
        "Verdict",
        tag("div", tag("p", verdict(word), class_="big"), tag("p", told, class_="words"), class_=f"banner {kind}"),
        tag("p", gate),
        table(
            headings, cells, "Each file in each runtime, against the float model on samples that nothing was chosen by"
        ),
        *(tag("p", f"Warning: {each}", class_="unsure") for each in result["warnings"]),
    )


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.2f}"


def _files(result: Mapping[str, Any]) -> Html:
    headings = [
        *(("file", ""), ("precision", ""), ("bytes", "num"), ("operations", "num"), ("in float", "num")),
        *(("in int16", "num"), ("not taken by XNNPACK", "num"), ("arena, bytes", "num"), ("ms here", "num")),
        ("time of the float file", "num"),
    ]
    cells = []
    names = short_names(result)
    for artifact in result["artifacts"]:
        kind = artifact["format"]
        contents, facts, speed = result["contents"][kind], result["facts"][kind], result["speed"][kind]
        slower = " SLOWER" if speed["ratio"] >= 1 else ""
        cells.append(
            [
                *(names[artifact["path"]], artifact["precision"], f"{artifact['bytes']:,}", contents["operations"]),
                *(len(contents["in_float"]), len(contents["in_int16"]), facts.get("undelegated", "–")),
                *(f"{facts['arena_bytes']:,}" if "arena_bytes" in facts else "–", number(speed["quantised_ms"])),
                f"× {speed['ratio']:.2f}{slower}",
            ]
        )
    return section("files", "Files", table(headings, cells, "What was written, and what it costs on this machine"))


def _kept(result: Mapping[str, Any]) -> Html | None:
    if not result["search"]:
        return None
    parts = []
    for kind, found in result["search"].items():
        metric = found["metric"]
        text = (
            f"{kind}: {metric['name']} {metric['quantised']:.6g} of the float model’s {metric['float']:.6g}; asked for "
        )
        text += f"{metric['least']:.6g} or more. {'Reached' if found['reached'] else 'NOT reached'} "
        count = len(found["kept"])
        text += (
            f"with {count} operation{'s' * (count != 1)} in {found['kept_as']}, by {found['conversions']} conversions."
        )
        parts.append(tag("p", text))
        if count:
            headings = [("operation", "long"), ("lost, dB", "num"), ("bytes more", "num"), ("time, ×", "num")]
            cells = [
                [each["label"], number(each["loss_db"]), f"{each['extra_bytes']:+,}", f"{each['slower']:.2f}"]
                for each in found["kept"]
            ]
            parts.append(table(headings, cells, f"Kept in {found['kept_as']}, and what each costs"))
    return section("kept", "Kept out of int8", *parts)


def _tried(result: Mapping[str, Any]) -> Html:
    headings = [
        *(("graph", ""), ("format", ""), ("ranges", ""), ("SQNR, dB", "num"), ("top-1 agrees", "num")),
        *(("widened", "num"), ("out because", "long")),
    ]
    return section("tried", "Tried", table(headings, _tried_rows(result), "Best first; the first of a format was kept"))


def _tried_rows(result: Mapping[str, Any]) -> Iterator[list[Any]]:
    for kind, rows in result["candidates"].items():
        for row in rows:
            yield [
                *(row["form"], kind, row["ranges"] or "–", number(row["sqnr_db"], 3), percent(row["agreement"])),
                *(len(row["floored"]), row["fault"] or "–"),
            ]


def _data(result: Mapping[str, Any]) -> Html:
    found = result["calibration"]
    facts = [("Verified on", result["verified_on"])]
    if found:
        spans = (f"{name}: {low:g} to {high:g}" for name, (low, high) in found["ranges"].items())
        facts += [
            ("Calibrated on", f"{found['samples']} samples: {found['described']}, seed {found['seed']}"),
            ("SHA-256 of these", found["sha256"]),
            ("Values", "; ".join(spans)),
        ]
    rows = (tag("div", tag("dt", name), tag("dd", text)) for name, text in facts)
    return section("data", "Data", tag("dl", *rows, class_="facts"))
