"""The page of a quantisation: whole, escaped, from JSON alone, and nothing loaded."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from converters.errors import OutputError
from exporter.report.page import PAGE, RESULT, write_report
from exporter.report.quantised_page import page

HOSTILE = '<script>alert("1")</script>&\'conv'
VOID = {"meta", "link", "img", "br", "line", "rect", "circle", "path", "polyline"}
RESULT_JSON: dict[str, Any] = {
    "schema": "cbam-export/1",
    "artifacts": [{"path": "out/a.int8.tflite", "format": "tflite", "precision": "int8", "bytes": 1234}],
    "verification": [
        {
            "artifact": "out/a.int8.tflite",
            "runtime": "litert 2.3",
            "output": HOSTILE,
            "sqnr_db": 38.25,
            "agreement": 0.995,
            "max_abs": 0.01,
            "verdict": "PASSED",
            "reason": "",
        }
    ],
    "gates_asked": {"agreement": 0.98, "sqnr_db": 20.0},
    "contents": {"tflite": {"operations": 3, "in_float": ["b"], "in_int16": [], "smallest_scale": 1e-3}},
    "facts": {"tflite": {"undelegated": 1, "arena_bytes": 40960}},
    "speed": {"tflite": {"float_ms": 1.0, "quantised_ms": 1.5, "ratio": 1.5}},
    "search": {
        "tflite": {
            "metric": {"name": "accuracy", "float": 0.99, "quantised": 0.985, "least": 0.985},
            "kept_as": "float",
            "kept": [{"label": "block 1, channel gate", "loss_db": 7.5, "extra_bytes": 96, "slower": 1.25}],
            "conversions": 5,
            "known_before": 0,
            "reached": True,
        }
    },
    "candidates": {
        "tflite": [
            {"form": "as it is", "ranges": "mse", "sqnr_db": 38.0, "agreement": 1.0, "floored": ["x"], "fault": None},
            {"form": HOSTILE, "ranges": None, "sqnr_db": None, "agreement": None, "floored": [], "fault": HOSTILE},
        ]
    },
    "calibration": {
        "samples": 200,
        "described": HOSTILE,
        "seed": 0,
        "sha256": "ab" * 32,
        "ranges": {"image": [0.0, 1.0]},
    },
    "verified_on": "800 test images, which nothing was chosen by",
    "warnings": [HOSTILE],
    "profiles": {
        "tflite": {
            "samples": 16,
            "layers": [
                {"label": "CONV_2D a", "sqnr_db": 41.0, "loss_db": 1.0},
                {"label": "block 1, channel gate", "sqnr_db": 30.0, "loss_db": 11.0},
                {"label": HOSTILE, "sqnr_db": None, "loss_db": 0.0},
            ],
            "gates": [
                {
                    "label": "block 1, channel gate",
                    "low": 0.0,
                    "high": 1.0,
                    "float": [0.25, 0.75, 0.0],
                    "quantised": [0.5, 0.5, 0.0],
                }
            ],
            "ranges": [
                {"label": "CONV_2D a", "seen": [-1.0, 3.0], "stored": [-1.0, 2.0], "widened": False},
                {"label": "dead", "seen": [0.0, 0.0], "stored": [0.0, 0.1], "widened": True},
            ],
        }
    },
}


class Reader(HTMLParser):
    """Fails on what is not nested, and notes tags, text and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        self.loaded += [given[name] for name in ("src", "srcset", "data") if name in given]
        self.loaded += [given["href"]] if tag == "link" else []
        self.anchors += [given["href"]] if tag == "a" else []
        self.ids += [given["id"]] if "id" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    return reader


def test_it_is_whole_and_loads_nothing() -> None:
    text = page(RESULT_JSON)
    found = read(text)
    assert "script" not in found.tags
    assert found.loaded == ["data:,"]
    assert "url(" not in text
    assert len(found.ids) == len(set(found.ids))
    assert {each[1:] for each in found.anchors if each.startswith("#")} <= set(found.ids)
    for words in (
        *("PASSED", "38.25", "99.5 %", "× 1.50 SLOWER", "40,960", "+96", "25.0% apart", "widened", "25 %"),
        *(
            "accuracy 0.985 of the float model’s 0.99",
            "41.0",
            "equal",
            "prefers-color-scheme: dark",
            "max-width: 46rem",
        ),
    ):
        assert words in text, words
    assert text.count("&lt;script&gt;") >= 5


def test_what_was_not_asked_for_is_left_out() -> None:
    result = copy.deepcopy(RESULT_JSON)
    del result["profiles"]
    result["search"] = {}
    found = read(page(result, None))
    assert {"layers", "gates", "ranges", "kept"}.isdisjoint(found.ids)
    assert RESULT not in found.anchors


@pytest.mark.parametrize("how", ["verification", "search"])
def test_what_failed_is_said_first(how: str) -> None:
    result = copy.deepcopy(RESULT_JSON)
    if how == "verification":
        result["verification"][0] |= {"verdict": "FAILED", "reason": "SQNR 12.0 dB, below 20 dB"}
    else:
        result["search"]["tflite"]["reached"] = False
    text = page(result)
    assert text.index("<title>FAILED") < text.index("banner fail")
    assert ("below 20 dB" if how == "verification" else "NOT reached") in text


def test_it_is_written_beside_its_json_and_over_nothing_else(tmp_path: Path) -> None:
    path = write_report(RESULT_JSON, tmp_path / "report", page)
    assert path.read_text() == page(RESULT_JSON)
    write_report(RESULT_JSON, tmp_path / "report", page)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / PAGE).write_text("<h1>mine</h1>")
    with pytest.raises(OutputError, match="a page that this tool did not write"):
        write_report(RESULT_JSON, tmp_path / "mine", page)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_scrolling_sideways(width: int, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser is installed")
    text = page(RESULT_JSON)
    measure = "<script>document.title = document.documentElement.scrollWidth + 'x' + innerWidth</script></body>"
    (tmp_path / PAGE).write_text(text.replace("</body>", measure))
    # A window cannot be narrower than 500 pixels, a frame can.
    frame = (
        f'<iframe src="{PAGE}" width="{width}" height="900" onload="document.title = contentDocument.title"></iframe>'
    )
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><title>-</title>{frame}")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "frame.html").as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\d+)x(\d+)</title>", ran.stdout)
    assert found, ran.stdout[:500] + ran.stderr[-500:]
    assert int(found[1]) <= int(found[2]) == width
