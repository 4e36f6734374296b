"""The page of a verification: whole, escaped, readable, from JSON alone; and so in a browser, where there is one."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import OutputError
from exporter.pictures import coloured, png
from exporter.report.markup import number
from exporter.report.page import PAGE, RESULT, check_folder, page, write_report

HOSTILE = '<script>alert("1")</script>&\'conv'
VERDICTS = ("PASSED", "NOT INFORMATIVE", "FAILED")
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "path", "polyline", "input", "hr"}


def row(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "artifact": "out/a.tflite",
        "runtime": "litert 2.3",
        "runtime_name": "litert",
        "machine": None,
        "format": "tflite",
        "precision": "fp32",
        "sha256": "ab" * 32,
        "output": "scores",
        "case": "inputs",
        "samples": 16,
        "max_abs": 1e-6,
        "mean_abs": 1e-7,
        "relative": 2e-6,
        "cosine": 1.0,
        "sqnr_db": 120.0,
        "agreement": 1.0,
        "spread": 0.5,
        "vs_reference": 1e-6,
        "noise": {"reference": 1e-6},
        "tolerance": 2e-5,
        "tolerance_source": "10 x the model's float32 error",
        "overrides": None,
        "verdict": "PASSED",
        "reason": "",
        "flip_count": 0,
        "near_ties": 0,
        "flips": [],
    }
    return {**given, **changes}


def layer(name: str, finding: str = "agrees", **changes: Any) -> dict[str, Any]:
    given = {"layer": name, "layers": [name], "block": "", "tensor": f"t/{name}", "error": 1e-6, "allowed": 1e-5}
    return {**given, "total": 2e-6, "finding": finding, "matched": "value", "clipped": 0.0, **changes}


def result(name: str = "conv2") -> dict[str, Any]:
    """All that a result may hold, under a layer, block and output of that name."""
    map_ = coloured(np.linspace(0, 1, 12).reshape(3, 4), 0, 1, ((0, 0, 0), (255, 255, 255)))
    flip = {"sample": 3, "expected": 1, "given": 2, "margin": 0.01, "near_tie": True}
    rows = [
        row(output=name),
        row(output=name, case="noise", verdict="FAILED", relative=0.01, reason=f"{name} differs", machine="aarch64"),
        row(
            artifact="b.onnx",
            output=name,
            flip_count=40,
            near_ties=1,
            flips=[flip],
            tolerance=None,
            relative=None,
            verdict="FAILED",
        ),
        row(artifact="b.onnx", output=name, case="zeros", verdict="NOT INFORMATIVE", overrides=f"--atol {name}=1"),
    ]
    found = {"artifact": "out/a.tflite", "layer": name, "layers": [name, "bn"], "block": name, "tensor": "t/conv2"}
    profile = {
        "artifact": "out/a.tflite",
        "runtime": "litert",
        "note": "",
        "gates": [],
        "unmatched": [name],
        "rows": [layer("first"), layer(name, "LEAVES", error=None, block=name), layer("last", "hands on", error=0.0)],
        "divergence": {**found, "tensor": f"t/{name}"},
    }
    gate = {"block": name, "gate": "spatial"}
    both = {"saturated": 0.1, "dead": 0.0, "model_saturated": 0.1, "model_dead": 0.0}
    maps = {"block": name, "sample": 3, "height": 3, "width": 4, "least": 0.0, "largest": 1.0, "model": map_}
    return {
        "schema": "cbam-export/1",
        "passed": False,
        "verification": rows,
        "divergence": [{**found, "error": None, "reason": "why"}],
        "not_located": [{"artifact": "b.onnx", "reason": "the model is not at hand"}],
        "artifact_gates": [
            {"artifact": "out/a.tflite", "runtime": "litert", **gate, "tensor": "t", "error": 1e-7, **both},
            {"artifact": "out/a.tflite", "runtime": "litert", **gate, "tensor": None, "error": None, **both},
        ],
        "profiles": [profile],
        "pictures": {
            "inputs": [{"input": "image", "sample": 3, "case": "inputs", "png": map_}],
            "attention": [
                {"artifact": "out/a.tflite", **maps, "given": map_, "difference": map_, "error": 1e-7},
                {"artifact": "b.onnx", **maps, "given": None, "difference": None, "error": None},
            ],
        },
        "causes": [
            {"artifact": "out/a.tflite", "cause": "export", "relative": 1e-5, "how": name, "measured": True},
            {"artifact": "out/a.tflite", "cause": "TF32", "relative": None, "how": "rounded", "measured": False},
        ],
        "gates": [{**gate, "least": 0.1, "largest": 0.9, "closed": 0.0, "open": 0.0, "dead": 0.5}],
        "remarks": [{"artifact": "out/a.tflite", "remark": name}],
        "left_out": [{"runtime": "openvino", "reason": "not installed"}],
        "machine": {"system": "Linux", "processor": "x86_64", "python": "3.11"},
        "reference": {
            "name": name,
            "source": "Keras",
            "against": "the float64 truth",
            "sha256": "cd" * 32,
            "weights_sha256": "ef" * 32,
            "samples": 40,
            "remarks": [name],
            "environment": {"device": "cpu"},
            "cases": [{"name": "inputs", "start": 0, "count": 16, "described": name, "real": True}],
        },
    }


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


BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

CHECK = """<!DOCTYPE html><body><iframe id="f" style="width:%dpx;height:900px;border:0" srcdoc="%s"></iframe><script>
window.onload = () => {
  const d = document.getElementById('f').contentDocument;
  const closed = [...d.querySelectorAll('details:not([open])')].length;
  d.querySelectorAll('details').forEach(e => e.open = true);
  const keys = [...d.querySelectorAll('a[href],summary,[tabindex]')];
  const images = [...d.images];
  keys[0].focus();
  document.body.dataset.found = JSON.stringify({
    width: d.documentElement.scrollWidth, closed: closed, first: keys[0].className,
    focused: d.activeElement === keys[0] && keys[0].getBoundingClientRect().left >= 0,
    reachable: keys.every(e => { e.focus(); return d.activeElement === e; }), keys: keys.length,
    images: images.length, shown: images.filter(e => e.complete && e.naturalWidth > 0).length,
    outside: [...d.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('.hidden')
      && !e.closest('thead') && e.getBoundingClientRect().right > %d + 1).map(e => e.outerHTML.slice(0, 80))});
};
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed, so nothing is opened in one")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_without_a_complaint(width: int, tmp_path: Path) -> None:
    text = page(result("a_long_name_of_a_layer/in_a_nested_model/with_its_part" * 2))
    wrapper = tmp_path / "check.html"
    wrapper.write_text(CHECK % (width, html.escape(text), width), encoding="utf-8")
    (tmp_path / "alone.html").write_text(text, encoding="utf-8")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    for name in ("alone.html", "check.html"):
        command = [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            *quiet,
            "--enable-logging=stderr",
            "--v=0",
        ]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom"]
        ran = subprocess.run([*command, (tmp_path / name).as_uri()], capture_output=True, text=True, timeout=120)
        assert "CONSOLE" not in ran.stderr, ran.stderr
    said = re.search(r'data-found="([^"]*)"', ran.stdout)
    assert said is not None, ran.stdout[:500]
    found = json.loads(html.unescape(said[1]))
    assert found["images"] == found["shown"] == 7
    assert found["first"] == "skip"
    assert found["focused"]
    assert found["reachable"]
    assert found["keys"] > 12
    assert found["outside"] == []
    assert found["width"] <= width


FOCUSED = """(() => {
  const e = document.activeElement, all = [...document.querySelectorAll('a[href],summary,[tabindex="0"]')];
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  return {index: all.indexOf(e), tag: e.tagName, open: e.parentElement && e.parentElement.open,
          seen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
          marked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0};
})()"""


def test_every_part_is_reached_and_opened_by_keys_alone(tab: Any, tmp_path: Path) -> None:
    written = tmp_path / "page.html"
    written.write_text(page(result()), encoding="utf-8")
    tab.open(written.as_uri())
    there = tab.evaluate("[...document.querySelectorAll('a[href],summary,[tabindex=\"0\"]')].length")
    closed = tab.evaluate("document.querySelectorAll('details:not([open])').length")
    assert there > 10
    assert closed > 1

    tab.press("Tab", 9)
    first = tab.evaluate(FOCUSED)
    assert first["index"] == 0
    assert first["seen"], "the link past the head is hidden while it has the focus"
    tab.press("Enter", 13, "\r")
    assert tab.evaluate("location.hash") == "#main"

    # From the top again. What a closed part holds comes behind it as soon as it is open.
    tab.show(f"{written.as_uri()}?again")
    walked, opened = [], 0
    for _ in range(there):
        tab.press("Tab", 9)
        found = tab.evaluate(FOCUSED)
        assert found["marked"], f"nothing shows where the focus is: {found}"
        walked.append(found["index"])
        if found["tag"] == "SUMMARY" and not found["open"]:
            tab.press("Enter", 13, "\r")
            opened += 1
            assert tab.evaluate(FOCUSED)["open"], f"Enter does not open {found}"
    assert walked == list(range(there))
    assert opened == closed


def test_maps_that_are_not_finite_are_shown_as_that() -> None:
    from exporter.pictures import _shown

    model, given = np.full((2, 2), 0.5), np.array([[0.5, np.nan], [np.inf, 0.25]])
    told = _shown("block", model, given)
    assert (told["least"], told["largest"], told["error"]) == (0.25, 0.5, None)
    assert json.dumps(told, allow_nan=False)
    assert _shown("block", model, model)["error"] == 0.0
