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
        if argument.endswith(".pyz") and Path(argument).is_file():
            if not zipfile.is_zipfile(argument):
                sys.stderr.write(f"error: {argument}: is damaged or no bundle; copy it anew\n")
                sys.exit(2)
            return Path(argument).resolve()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "exporter" / "checking.py").is_file():
        return checkout
    sys.stderr.write("error: give a bundle (NAME.pyz, made by `cbam bundle`)\n")
    sys.exit(2)


def run() -> int:
    """Verify; the exit code is that of `cbam verify`."""
    if sys.version_info < (3, 11):  # noqa: UP036  # pip and uv read that above; python3 does not
        sys.stderr.write(f"error: Python 3.11 or newer is needed; this is {sys.version.split()[0]}\n")
        return 4
    sys.path.insert(0, str(find_code(sys.argv[1:])))
    from exporter.checking import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
