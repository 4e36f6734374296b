"""Quantise a Keras model to TFLite and measure what that cost: `cbam quantize --format tflite`, as a script.

python scripts/quantize_tflite.py model.keras --calibration images/ --preprocess unit
python scripts/quantize_tflite.py                       # the shipped cbam-mnist with its own images
python scripts/quantize_tflite.py --help
"""

from __future__ import annotations

import sys

from exporter.cli_quantize import quantize


def main() -> None:
    if any(each == "-f" or each.startswith("--format") for each in sys.argv[1:]):
        raise SystemExit("this script writes TFLite; cbam quantize --format writes others")
    quantize.main(["--format", "tflite", *sys.argv[1:]], prog_name="quantize_tflite.py")


if __name__ == "__main__":
    main()
