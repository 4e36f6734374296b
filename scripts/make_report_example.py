"""Make docs/report-example.html and, where Chromium is installed, docs/report-example.png.

    python scripts/make_report_example.py

The page is that of `cbam verify cbam-mnist.tflite cbam-mnist.onnx --report DIR`: the shipped model, its exports, its
test images, and no other argument.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from exporter import ExportOptions, VerifyOptions, export, verify
from exporter.report.page import page

DOCS = Path(__file__).resolve().parents[1] / "docs"
FORMATS = ("tflite", "onnx")
SIZE = (1000, 1180)  # pixels of the screenshot
LIMITS = {"html": 400_000, "png": 200_000}  # bytes
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def make_page() -> Path:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        options = ExportOptions(FORMATS, output=Path(), verify=False)
        files = [artifact.path for artifact in export("cbam-mnist", options).artifacts]
        found = verify(files, None, VerifyOptions(pictures=True))
    target = DOCS / "report-example.html"
    target.write_text(page(found.result, source=None), encoding="utf-8")
    return target


def screenshot(source: Path) -> Path | None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        return None
    target = source.with_suffix(".png")
    with tempfile.TemporaryDirectory() as profile:
        quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet]
        command += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={target}"]
        subprocess.run([*command, source.as_uri()], check=True, capture_output=True, timeout=120)
    return target


def main() -> None:
    made = make_page()
    for path in (made, screenshot(made)):
        if path is None:
            print("no Chromium: the screenshot is left as it was")
            continue
        size = path.stat().st_size
        print(f"{path.name}: {size:,} bytes")
        if size > LIMITS[path.suffix[1:]]:
            sys.exit(f"{path.name} is larger than {LIMITS[path.suffix[1:]]:,} bytes")


if __name__ == "__main__":
    main()
