"""Measure the export that the README's Run command makes, beside a bare tf2onnx script on the same model.

    python scripts/benchmark_export.py [--rounds 7]

Each round runs, one after the other and each in a fresh process: the bare script (load, trace, tf2onnx, save), our
export without verification, and our export as the Run command makes it. Prints the median wall time in seconds and peak
memory in MiB, and the median of each round's ratio to the bare script with the smallest and largest ratio seen.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from exporter.models.zoo import DEFAULT_MODEL, ZOO

BARE = """
import sys
import keras
import tensorflow as tf
import tf2onnx
from exporter.models import cbam  # only so that Keras knows the CBAM layers of the file

model = keras.saving.load_model(sys.argv[1], compile=False)
signature = [tf.TensorSpec((1, 28, 28, 1), tf.float32, name="image")]
function = tf.function(lambda image: model(image, training=False))
tf2onnx.convert.from_function(function, signature, opset=17, output_path=sys.argv[2])
"""
COMMAND = "import sys; from exporter.cli import export_main; sys.argv[1:] = {arguments!r}; export_main()"


def measure(code: str, arguments: list[str], folder: str) -> tuple[float, float]:
    """Wall time in s and peak resident memory in MiB of one fresh process and its children."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"a run failed with exit status {process.returncode}: {code}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="after one round that is thrown away")
    rounds = parser.parse_args().rounds
    model = str(ZOO[DEFAULT_MODEL].path())
    runs = {
        "bare tf2onnx script": (BARE, [model, "bare.onnx"]),
        "cbam-export --no-verify": (COMMAND.format(arguments=["--format", "onnx", "--no-verify"]), []),
        "cbam-export (verified)": (COMMAND.format(arguments=["--format", "onnx"]), []),
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        for each in range(rounds + 1):
            for name, (code, arguments) in runs.items():
                result = measure(code, arguments, folder)
                if each:
                    seen[name].append(result)
        sizes = {"bare": Path(folder, "bare.onnx").stat().st_size}
        sizes["ours"] = Path(folder, "exported", f"{DEFAULT_MODEL}.onnx").stat().st_size
    base = seen["bare tf2onnx script"]
    packages = ("tensorflow", "keras", "tf2onnx", "onnxruntime")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    python = f"Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {python}, {versions}; {os.cpu_count()} cores; {rounds} rounds")
    print("| | wall, s | ratio (range) | peak memory, MiB | ratio (range) |")
    print("|---|---|---|---|---|")
    for name, results in seen.items():
        cells = []
        for index in (0, 1):
            ratios = [mine[index] / bare[index] for mine, bare in zip(results, base, strict=True)]
            median = statistics.median(result[index] for result in results)
            cells += [f"{median:.1f}" if index == 0 else f"{median:.0f}"]
            cells += [f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"file: bare {sizes['bare']:,} bytes, ours {sizes['ours']:,} bytes")


if __name__ == "__main__":
    main()
