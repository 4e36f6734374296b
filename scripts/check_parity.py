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

import sys
import zipfile
from pathlib import Path


def find_code(arguments: list[str]) -> Path:
    """Where the modules that compare are: the bundle that is given, or the checkout that this file stands in."""
    for argument in arguments:
        if argument.endswith(".pyz") and zipfile.is_zipfile(argument):
            return Path(argument).resolve()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "exporter" / "checking.py").is_file():
        return checkout
    sys.exit("error: give a bundle (NAME.pyz, made by `cbam bundle`)")


def run() -> int:
    """Verify; the exit code is that of `cbam verify`."""
    sys.path.insert(0, str(find_code(sys.argv[1:])))
    from exporter.checking import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
