"""Every format, in every precision, in every runtime that is installed here: one table a model.

    python scripts/measure_matrix.py [--model NAME]... [--samples 100] [--emulated 16] [--runtime NAME]...

Models are `cbam-mnist`, `cbam-mobilenet-mnist` and CBAM-ResNet-18 at 96x96 with random weights (`faults.py`). Exports
are the default ones. Each artifact is verified in each runtime against the model's float64 truth, as by `cbam verify
--runtime all`, on real samples and on the edge cases; emulated processors on a few real samples only, since they are
about a hundred times slower. A cell is the verdict, and where it PASSED the largest distance from the truth in units of
the tolerance (float) or the SQNR in dB (quantised). "-" is what a runtime does not run, by its row of RUNTIMES.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import models
from sound_exports import sound_exports

from converters.artifact import Artifact
from exporter import ReferenceOptions, VerifyOptions, reference, verify
from exporter.model_run import version
from exporter.parity.record import Record
from exporter.runtimes.status import survey
from exporter.runtimes.table import RUNTIMES
from exporter.verification import EMULATED_SAMPLES

MODELS = ("cbam-mnist", "cbam-mobilenet-mnist", "cbam-resnet18 at 96x96")
CALIBRATION = 16  # photographs, for the model that has no images of its own
LIBRARIES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--runtime", action="append", choices=list(RUNTIMES))
    parser.add_argument("--samples", type=int, default=100, help="real samples")
    parser.add_argument("--emulated", type=int, default=EMULATED_SAMPLES, help="real samples on an emulated processor")
    arguments = parser.parse_args()
    if arguments.model and len(arguments.model) == 1:
        measure(arguments.model[0], arguments)
        return
    print(f"{datetime.date.today()}; " + ", ".join(f"{name} {version(name)}" for name in LIBRARIES) + "\n", flush=True)
    left = [each for each in sys.argv[1:] if each not in ("--model", *(arguments.model or ()))]
    for name in arguments.model or MODELS:  # each in a process of its own, for its memory
        subprocess.run([sys.executable, __file__, *left, "--model", name], check=True)


def measure(name: str, arguments: argparse.Namespace) -> None:
    """The table of one model."""
    started = time.perf_counter()
    here = [each for each in survey() if not arguments.runtime or each.row.name in arguments.runtime]
    model = models()[name]() if "at" in name.split() else name
    record = reference(model, None, ReferenceOptions("cpu", samples=None if model is not name else arguments.samples))
    images = None if model is name else next(iter(record.inputs.values()))[:CALIBRATION]
    refused: list[str] = []
    print(f"## {name}: {record.cases[0].count} real samples, {record.samples - record.cases[0].count} of edge cases\n")
    cells: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = list(sound_exports(model, images, Path(folder), told=refused.append))
        head = ["runtime", *(f"{each.format} {each.precision}" for each in artifacts)]
        print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|", flush=True)
        for each in (one for one in here if one.available):
            cells[each.row.name] = [cell(one, each.row.name, record, arguments) for one in artifacts]
            print(f"| `{each.row.name}` | {' | '.join(cells[each.row.name])} |", flush=True)
    for line in (*refused, *(f"{each.row.name}: {each.reason}" for each in here if not each.available)):
        print(f"\n{line}")
    found = [text for row in cells.values() for text in row]
    failed = sum(text.startswith(("FAILED", "refused")) for text in found)
    told = f"{sum(text != '-' for text in found)} combinations, {failed} failed"
    print(f"\n{told}; {time.perf_counter() - started:.0f} s\n", flush=True)


def cell(artifact: Artifact, name: str, record: Record, arguments: argparse.Namespace) -> str:
    """What one runtime makes of one artifact."""
    row = RUNTIMES[name]
    if not row.can_run(artifact.format, artifact.precision):
        return "-"
    # Of an emulated processor the first case alone: the record is cut to it.
    against = first_case(record, arguments.emulated) if row.emulated else record
    options = VerifyOptions((name,), causes=False, locate=False)
    rows = verify([artifact], against, options).rows
    verdicts = ", ".join(dict.fromkeys(each["verdict"] for each in rows))
    reasons = "; ".join(dict.fromkeys(each["reason"] for each in rows if each["verdict"] == "FAILED"))
    print(f"{artifact.path.name} in {name}: {verdicts} {reasons}".rstrip(), file=sys.stderr)
    return summed(rows)


def first_case(record: Record, samples: int) -> Record:
    """The record with the first samples of its real case alone."""
    count = min(samples, record.cases[0].count)

    def cut(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array[:count] for name, array in arrays.items()}

    return dataclasses.replace(
        record,
        cases=(dataclasses.replace(record.cases[0], count=count),),
        inputs=cut(record.inputs),
        outputs=cut(record.outputs),
        truth=None if record.truth is None else cut(record.truth),
        noise={level: cut(errors) for level, errors in record.noise.items()},
    )


def summed(rows: Sequence[Mapping[str, Any]]) -> str:
    """One cell: of all cases the worst verdict, and the figure that it goes by."""
    verdicts = [row["verdict"] for row in rows]
    if all(row["case"] == "all" for row in rows):
        return f"refused: {rows[0]['reason'][:60]}"
    worst = next((each for each in ("FAILED", "PASSED") if each in verdicts), "NOT INFORMATIVE")
    used = [row["relative"] / row["tolerance"] for row in rows if row["tolerance"] and row["relative"] is not None]
    lost = [row["sqnr_db"] for row in rows if row["case"] == "inputs" and row["sqnr_db"] is not None]
    if used:
        return f"{worst} {max(used):.2f}"
    return f"{worst} {min(lost):.0f} dB" if lost else worst


if __name__ == "__main__":
    main()
