"""Put faults into copies of sound models, export them, and see whether each is found and at which layer.

    python scripts/measure_faults.py [--quick] [--plain] [--no-scales] [--model NAME] [--only WORD]

Prints a Markdown table: the fault, where it was put, and for TFLite and for ONNX the verdict on the outputs, the layer
that `locate` names and whether that is the right one (exact; or "among", where several layers became one operation and
the right one is named with the others). Then the sound models, of which every tensor must agree.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faults import faults, models
from wrong_scales import lowered, quantised, wrong_scales

from converters.artifact import Artifact, Precision
from converters.errors import ConversionError
from exporter import ExportOptions, export
from exporter.formats import FORMATS as ROWS
from exporter.locating import LayerSearch
from exporter.model_run import make_reference
from exporter.parity.check import by_position, check, run_in_batches
from exporter.parity.gates import Gates, judge_quantised
from exporter.parity.locate import Profile
from exporter.parity.stored import to_real, to_stored
from exporter.parity.verdict import OutputVerdict, Verdict
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.source import load_source

FORMATS = {"tflite": "litert", "onnx": "onnxruntime"}
JUDGED = 64  # samples for the verdict on the outputs
LARGE = 1_000_000  # parameters


@dataclasses.dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    profile: Profile


class Sound:
    """A sound model with its reference outputs and inner values."""

    def __init__(self, model: Any) -> None:
        self.model = model
        source = load_source(model)
        self.traced = trace(source, ExportOptions())
        reference = make_reference(source, self.traced, None)
        few = {name: array[:JUDGED] for name, array in reference.inputs.items()}
        outputs = {name: array[:JUDGED] for name, array in reference.outputs.items()}
        self.reference = dataclasses.replace(reference, inputs=few, outputs=outputs)
        self.search = LayerSearch(source, few)

    def judge(self, artifact: Any) -> Outcome:
        """The verdict on the outputs of an artifact, and the search along its layers."""
        names = by_position(
            [spec.name for spec in (*self.traced.inputs, *self.traced.outputs)],
            [spec.name for spec in (*artifact.inputs, *artifact.outputs)],
        )
        with runtime(FORMATS[artifact.format]).open(artifact) as session:
            quantised = artifact.precision != "fp32"
            verdicts = self._gates(session, artifact) if quantised else check(session, self.reference, names, 1)
            found = self.search.profile(artifact, session)
        failed = any(each.verdict is Verdict.FAILED for each in verdicts.values())
        return Outcome(Verdict.FAILED if failed else next(iter(verdicts.values())).verdict, found)

    def _gates(self, session: Any, artifact: Artifact) -> dict[str, OutputVerdict]:
        """The outputs of a quantised artifact, by the gates for such."""
        stored = {
            spec.name: to_stored(value, spec)
            for spec, value in zip(artifact.inputs, self.reference.inputs.values(), strict=True)
        }
        given = run_in_batches(session, stored, 1)
        pairs = zip(self.reference.outputs.items(), artifact.outputs, strict=True)
        return {name: judge_quantised(own, to_real(given[spec.name], spec), Gates()) for (name, own), spec in pairs}


def free() -> None:
    """Give the memory of what was exported and searched back to the system, which glibc keeps: up to two gigabytes a
    fault for a ResNet."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def exported(model: Any, folder: Path, lower: bool = True) -> tuple[Any, ...]:
    if model.count_params() > LARGE:
        return _exported_apart(model, folder, lower)
    return export(model, ExportOptions(tuple(FORMATS), output=folder, verify=False, lower=lower)).artifacts


def _exported_apart(model: Any, folder: Path, lower: bool) -> tuple[Any, ...]:
    """The same in a process of its own, which takes its memory with it."""
    folder.mkdir(exist_ok=True)
    path = folder / "copy.keras"
    model.save(path)
    asked = [word for name in FORMATS for word in ("-f", name)] + ([] if lower else ["--no-lower"])
    code = "from exporter.cli import export_main; export_main()"
    subprocess.run(
        [sys.executable, "-c", code, str(path), *asked, "-o", str(folder), "--no-verify", "-q"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return tuple(Artifact.load(folder / ROWS[name].file_name("copy", Precision.FP32)) for name in FORMATS)


def cell(outcome: Outcome, right: tuple[str, ...]) -> str:
    found = outcome.profile.divergence
    if found is None:
        return f"{outcome.verdict}; every tensor agrees"
    named = found.layer.split(" + ")
    how = "exact" if named[0] in right and len(named) == 1 else "among" if set(named) & set(right) else "WRONG"
    return f"{outcome.verdict}; {found.layer} ({how})"


def scales(name: str, sound: Sound, arguments: argparse.Namespace, folder: Path, sound_rows: list[Any]) -> None:
    """The rows of the quantised copies, with a wrong scale in each of their layers in turn."""
    if arguments.no_scales or arguments.only not in "wrong scale":
        return
    images = next(iter(sound.reference.inputs.values()))
    started = time.perf_counter()
    made, outcomes = [], []
    for artifact in (quantised if arguments.plain else lowered)(sound.model, images, folder):
        try:
            outcomes.append(sound.judge(artifact))
            made.append(artifact)
        except ConversionError as error:  # a dead unit leaves a range that XNNPACK does not take
            print(f"| {name} int8 | none | | {artifact.format} does not open: {error} | |", flush=True)
    sound_rows.append((f"{name}, int8", outcomes, time.perf_counter() - started))
    for artifact, outcome in zip(made, outcomes, strict=True):
        done: set[str] = set()
        for what, layers, wrong in wrong_scales(artifact, outcome.profile, folder):
            if arguments.quick and what in done:
                continue
            done.add(what)
            cells = ["", ""]
            cells[list(FORMATS).index(artifact.format)] = cell(sound.judge(wrong), layers)
            print(f"| {name} int8 | {what} | {' + '.join(layers)} | {' | '.join(cells)} |", flush=True)
            free()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one place for most faults, not all")
    parser.add_argument("--plain", action="store_true", help="exports of the model as it is, not lowered ones")
    parser.add_argument("--no-scales", action="store_true", help="no quantised copies, which take longest")
    parser.add_argument("--model", action="append", choices=list(models()))
    parser.add_argument("--only", default="", help="faults whose name holds this")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}")
    print("| model | fault | put into | TFLite | ONNX |\n|---|---|---|---|---|")
    sound_rows = []
    for name, make in models().items():
        if arguments.model and name not in arguments.model:
            continue
        sound = Sound(make())
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            outcomes = [sound.judge(each) for each in exported(sound.model, Path(folder), not arguments.plain)]
            took = time.perf_counter() - started
            sound_rows.append((name, outcomes, took))
            free()
            for fault in faults(sound.model, arguments.quick):
                if arguments.only not in fault.name:
                    continue
                made = exported(fault.put(sound.model), Path(folder, "faulty"), not arguments.plain)
                cells = [cell(sound.judge(each), fault.layers) for each in made]
                print(f"| {name} | {fault.name} | {fault.layers[0]} | {' | '.join(cells)} |", flush=True)
                free()
            scales(name, sound, arguments, Path(folder), sound_rows)
    print("\n| sound model | tensors matched, TFLite / ONNX | not matched | largest error / allowed | verdict |")
    print("|---|---|---|---|---|")
    for name, outcomes, took in sound_rows:
        ratios = [
            max((row.error / row.allowed for row in o.profile.rows if row.error is not None and row.allowed), default=0)
            for o in outcomes
        ]
        cells = [
            " / ".join(str(len(o.profile.rows)) for o in outcomes),
            " / ".join(str(len(o.profile.unmatched)) for o in outcomes),
            " / ".join(f"{ratio:.2f}" for ratio in ratios),
            " / ".join(f"{o.verdict}, {'FALSE ALARM' if o.profile.divergence else 'none named'}" for o in outcomes),
        ]
        print(f"| {name} ({took:.0f} s) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
