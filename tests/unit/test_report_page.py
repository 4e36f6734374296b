"""The page of a verification: whole, escaped, readable, from JSON alone."""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from converters.errors import OutputError
from exporter.pictures import png
from exporter.report.markup import number
from exporter.report.page import PAGE, RESULT, check_folder, page, write_report
from page_results import result, row

HOSTILE = '<script>alert("1")</script>&\'conv'
VERDICTS = ("PASSED", "NOT INFORMATIVE", "FAILED")
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "path", "polyline", "input", "hr"}


class Reader(HTMLParser):
    """Holds that elements are nested as they should be, and gathers what they say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.found if name == tag)


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = page(result())
    read = Reader(text)
    ids = [attributes["id"] for _, attributes in read.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in read.all("a"):
        target = attributes["href"] or ""
        assert target == RESULT or target.removeprefix("#") in ids
    for _, attributes in read.found:
        for key in ("aria-labelledby",):
            assert set((attributes.get(key) or "").split()) <= set(ids)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
    assert not list(read.all("script"))
    assert all((each["src"] or "").startswith("data:image/png;base64,") and each["alt"] for each in read.all("img"))
    headings = [int(tag[1]) for tag, _ in read.found if re.fullmatch(r"h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    drawings = [each for each in read.all("svg") if each.get("role") == "img"]
    assert len(drawings) == 1
    for said in (
        "FAILED",
        "NOT INFORMATIVE",
        "first leaves the model at layer conv2",
        "10 x the model's float32 error",
    ):
        assert said in read.text
    for said in ("no layer is named: the model is not at hand", "40 flips of top-1, 39 of them no near tie", "1 → 2"):
        assert said in read.text
    assert "and 39 more" in read.text


def test_cases_that_are_shown_only_do_not_hide_what_the_real_samples_showed() -> None:
    given = result()
    given["verification"] = [
        row(precision="int8", tolerance=None),
        row(precision="int8", tolerance=None, case="zeros", verdict="NOT INFORMATIVE"),
        row(artifact="out/b.tflite", precision="fp16", verdict="NOT INFORMATIVE"),
        row(artifact="out/b.tflite", precision="fp16", case="zeros"),
        row(artifact="out/c.tflite", precision="int8", tolerance=None),
        row(artifact="out/c.tflite", precision="int8", tolerance=None, case="zeros", verdict="FAILED"),
    ]
    given["not_located"] = [{"artifact": "out/c.tflite", "reason": "it does not run."}]
    text = page(given)
    matrix = text.split('id="matrix"')[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]+>", " ", each) for each in matrix.split("<tr")[2:]]
    assert [re.search("|".join(VERDICTS), each)[0] for each in rows] == list(VERDICTS)
    assert "no layer is named: it does not run.." not in Reader(text).text
    given["verification"] = given["verification"][:2]
    assert "<title>PASSED: " in page(given)


def test_names_are_text_whatever_they_hold() -> None:
    text = page(result(HOSTILE))
    read = Reader(text)
    assert not list(read.all("script"))
    assert HOSTILE in read.text
    assert "<script>" not in text
    assert [tag for tag, _ in read.found] == [tag for tag, _ in Reader(page(result())).found]
    bad = result()
    bad["pictures"]["attention"][0]["model"] = '"><script>'
    with pytest.raises(ValueError, match="not base64"):
        page(bad)


def test_a_result_without_search_or_pictures_has_a_page_too() -> None:
    given = result()
    for key in ("profiles", "pictures", "artifact_gates", "not_located", "left_out", "machine"):
        del given[key]
    given.update(divergence=[], gates=[], causes=[], verification=[row()])
    read = Reader(page(given))
    assert "PASSED" in read.text
    assert "Along the layers" not in read.text
    assert "at most 10\u202f% of a tolerance used" in read.text


def test_it_is_json_that_is_shown(tmp_path: Path) -> None:
    given = result()
    path = write_report(given, tmp_path / "made")
    assert path.read_text(encoding="utf-8") == page(json.loads((tmp_path / "made" / RESULT).read_text()))
    assert {each.name for each in path.parent.iterdir()} == {PAGE, RESULT}
    write_report(given, tmp_path / "made")  # over its own
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / PAGE).write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="a page that this tool did not write"):
        check_folder(tmp_path / "other")
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / RESULT).write_text("{}")
    with pytest.raises(OutputError, match="did not write"):
        write_report(given, tmp_path / "third")
    with pytest.raises(OutputError, match="takes a folder"):
        check_folder(tmp_path / "third" / RESULT)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.0, "0"), (0.25, "0.25"), (123.4, "123"), (2500.0, "2500"), (None, "–"), (float("nan"), "–")),
        *((3.14e-5, "3.1\u202f×\u202f10−5"), (-2e7, "−2.0\u202f×\u202f107")),
    ],
)
def test_figures_are_written_as_people_do(value: float | None, shown: str) -> None:
    assert html.unescape(re.sub("<[^>]*>", "", number(value))) == shown


def test_colours_have_contrast() -> None:
    """4.5 to 1 for text, WCAG 2.2, 1.4.3, in the light and the dark."""
    css = resources.files("exporter.report").joinpath("templates", "verification.html").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in re.findall(r":root \{(.*?)\}", css, re.S)
    )
    assert light.keys() == dark.keys()

    def luminance(colour: str) -> float:
        parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for colours in (light, dark):
        papers = {"paper", "card", "faint", "block"}
        pairs = {(ink, on) for ink in ("ink", "quiet", "pass", "fail", "unsure") for on in papers}
        pairs |= {("accent", "paper"), ("accent", "card")} | {
            (kind, f"{kind}-paper") for kind in ("pass", "fail", "unsure")
        }
        for ink, on in pairs | {("ink", f"{kind}-paper") for kind in ("pass", "fail", "unsure")}:
            high, low = sorted((luminance(colours[ink]), luminance(colours[on])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, on)


def test_pictures_are_png_files() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colour = np.stack([grey, grey + 50, grey + 100], -1)
    for pixels in (grey, colour):
        np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)
    palette = np.zeros((256, 3), np.uint8)
    palette[:12] = colour.reshape(-1, 3)
    shown = image.open(io.BytesIO(png(grey, palette))).convert("RGB")
    np.testing.assert_array_equal(np.asarray(shown), colour)


def test_maps_that_are_not_finite_are_shown_as_that() -> None:
    from exporter.pictures import _shown

    model, given = np.full((2, 2), 0.5), np.array([[0.5, np.nan], [np.inf, 0.25]])
    told = _shown("block", model, given)
    assert (told["least"], told["largest"], told["error"]) == (0.25, 0.5, None)
    assert json.dumps(told, allow_nan=False)
    assert _shown("block", model, model)["error"] == 0.0
