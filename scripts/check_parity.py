#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "ai-edge-litert", "onnxruntime"]
# ///
"""Verify artifacts on a device, without TensorFlow and without this package.

    python3 check_parity.py BUNDLE.pyz [--json RESULT.json] [--runtime NAME]
    python3 scripts/check_parity.py ARTIFACT... --against REF.npz      (inside a checkout)

`cbam bundle` writes the bundle, which brings the code that compares; `cbam verify --merge RESULT.json` takes the result
back. One of ai-edge-litert and onnxruntime is enough for files of its format.
"""

from __future__ import annotations

import runpy
import sys
import zipfile
from pathlib import Path


def run_bundle(arguments: list[str]) -> None:
    """Where one is given, run it with the other arguments; it brings the code that compares, and exits."""
    for place, argument in enumerate(arguments):
        if argument.endswith(".pyz") and Path(argument).is_file():
            if not zipfile.is_zipfile(argument):
                sys.stderr.write(f"error: {argument}: is damaged or no bundle; copy it anew\n")
                sys.exit(2)
            sys.argv[1:] = [*arguments[:place], *arguments[place + 1 :]]
            runpy.run_path(argument, run_name="__main__")


def run() -> int:
    """Verify; the exit code is that of `cbam verify`."""
    if sys.version_info < (3, 11):  # noqa: UP036  # pip and uv read that above; python3 does not
        sys.stderr.write(f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}\n")
        return 4
    run_bundle(sys.argv[1:])
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / "exporter" / "checking.py").is_file():
        sys.stderr.write("error: give a bundle (NAME.pyz, made by `cbam bundle`)\n")
        return 2
    sys.path.insert(0, str(checkout))
    from exporter.checking import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
