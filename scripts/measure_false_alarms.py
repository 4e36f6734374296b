"""Search sound exports along their layers; the search must name nothing.

    python scripts/measure_false_alarms.py [--model NAME]... [--format NAME]... [--precision NAME]... [--train EPOCHS]

By default all shipped models and all backbones, in all formats and precisions that can be searched, each model in a
process of its own; backbones with values as of a trained one, or trained on gratings (`textures.py`), images of 64x64.
Prints a Markdown table: for each artifact, with the SQNR of its outputs where it was quantised with data, how many of
its tensors were found, how many were not, the largest error beside what is allowed, how many gates of the model's the
file shows, and which layer was named, if one was.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sound_exports import as_if_trained, sound_exports
from textures import gratings, open_gates, train

from converters.artifact import Precision
from exporter.formats import FORMATS
from exporter.inspection import known_models
from exporter.locating import LayerSearch
from exporter.models.zoo import ZOO
from exporter.parity.locate import Profile
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source

SEARCHED = {"tflite": "litert", "onnx": "onnxruntime"}
CALIBRATION = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=known_models())
    parser.add_argument("--format", action="append", choices=list(SEARCHED))
    parser.add_argument("--precision", action="append", choices=list(Precision))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--plain", action="store_true", help="exports of the model as it is, not lowered ones")
    parser.add_argument("--train", type=int, metavar="EPOCHS", help="train backbones first; 6 take minutes")
    parser.add_argument("--open-gates", action="store_true", help="train with gates that are open at first")
    parser.add_argument("--as-drawn", action="store_true", help="backbones with their first weights and statistics")
    arguments = parser.parse_args()
    if arguments.model and len(arguments.model) == 1:
        measure(arguments.model[0], arguments)
        return
    print(f"{datetime.date.today()}, backbones at {arguments.size}x{arguments.size}\n")
    print("| model | artifact | found | not found | largest error / allowed | gates shown | named | s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    failed = []
    for name in arguments.model or known_models():
        others = [each for each in sys.argv[1:] if each not in ("--model", *(arguments.model or ()))]
        if subprocess.run([sys.executable, __file__, *others, "--model", name], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"the process of {', '.join(failed)} failed")


def measure(name: str, arguments: argparse.Namespace) -> None:
    """The rows of one model."""
    from exporter.options import ExportOptions

    shape = (arguments.size, arguments.size, 3)
    source = load_source(name, {} if name in ZOO else {"": shape})
    specs = trace(source, ExportOptions()).inputs
    inputs, _ = samples(specs, None, source.zoo)
    # Several times, so that the draw of those that calibrate leaves none of them out.
    images = None if source.zoo else np.concatenate([next(iter(inputs.values()))[:CALIBRATION]] * 8)
    if not source.zoo and arguments.train:
        if arguments.open_gates:
            open_gates(source.keras)
        known = train(source.keras, arguments.size, epochs=arguments.train)
        images, _ = gratings(8 * CALIBRATION, arguments.size, seed=2)
        inputs = {specs[0].name: images[:CALIBRATION]}
        print(f"| {name} | trained, knows {known:.0%} of new images | | | | | | |", flush=True)
    elif not source.zoo and not arguments.as_drawn:
        as_if_trained(source.keras, next(iter(inputs.values())))
    search = LayerSearch(source, inputs)
    asked: dict[str, Any] = {
        "formats": tuple(arguments.format or SEARCHED),
        "precisions": tuple(arguments.precision or Precision),
        "lower": not arguments.plain,
    }
    with tempfile.TemporaryDirectory() as folder:
        made = sound_exports(
            source.keras if source.zoo is None else name,
            images,
            Path(folder),
            told=lambda text: print(f"| {name} | {text} | | | | | | |", flush=True),
            **asked,
        )
        for artifact in made:
            started = time.perf_counter()
            with runtime(SEARCHED[artifact.format]).open(artifact) as session:
                found = search.profile(artifact, session)
            lowered = "lowered" if (artifact.metadata.get("lowered") or {}).get("rewrites") else "plain"
            what = f"{artifact.format} {artifact.precision}, {lowered}"
            kept = (artifact.metadata.get("quantisation") or {}).get("sqnr_db")
            what += f", {kept:.0f} dB" if kept is not None else ""
            print(f"| {name} | {what} | {row(found)} | {time.perf_counter() - started:.0f} |", flush=True)


def row(found: Profile) -> str:
    """The cells of one profile."""
    ratios = [each.error / each.allowed for each in found.rows if each.error is not None and each.allowed]
    shown = sum(line.tensor is not None for line in found.gates)
    named = found.divergence.layer if found.divergence else "none"
    cells = [len(found.rows), len(found.unmatched), f"{max(ratios, default=0):.2f}", f"{shown} of {len(found.gates)}"]
    return " | ".join(map(str, [*cells, named]))


if __name__ == "__main__":
    assert set(SEARCHED) <= set(FORMATS)
    main()
