"""The page of a verification in a real browser, where there is one: nothing complained of, all reached by keys."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exporter.report.page import page
from page_results import result

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
