"""Throw hostile models at rescue: generated and mutated Lambda bytecode, expressions, configs, and whole files.

    python scripts/fuzz_rescue.py --count 20000 [--seed 1] [--kind NAME...] [--keep FOLDER]
    python scripts/fuzz_rescue.py --again FILE...
    python scripts/fuzz_rescue.py --guided FOLDER [--target NAME] [LIBFUZZER OPTION...]   (needs `pip install atheris`)

Most cases are the config of a model, put beside the real weights of a template and rescued as a file would be; zip
archives, HDF5 files, attacks and real old files go in whole, by `exporter.rescue`, with the process that reads HDF5 and
the file that is written. Each case must end in a rescued model or in one error of ours, of one line and under 2,000
characters; within 2 s of processor time and 256 MB above what was held before; nothing that a file names may be run,
imported or opened, and nothing may be left behind. A lambda of the kind `valid` that is rescued must also compute what
TensorFlow computes with its text. The first form prints a table and fails if one case breaks this; its cases go to
--keep, and --again runs them once more. The last lets atheris choose by the coverage of converters/lambdas, and stops
at the first case that breaks it. `unforeseen` in the table are refusals that no rule made: each is a message to
improve; `no oracle`, valid lambdas that were rescued and that TensorFlow itself does not compute; `stops`, those whose
rescued model refuses the sizes of its input with an error where TensorFlow, outside of a graph, gives a value.

tests/hostile/test_rescue.py runs a few hundred cases of it. What it is made of is in scripts/fuzzing.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SCRIPTS = Path(__file__).resolve().parent
sys.path[:0] = [each for each in (str(SCRIPTS), str(SCRIPTS.parent)) if each not in sys.path]

from fuzzing.case import Case  # noqa: E402 - the path stands above
from fuzzing.guided import guide  # noqa: E402
from fuzzing.kinds import KINDS, SWEEPS, Cases  # noqa: E402
from fuzzing.report import Report  # noqa: E402
from fuzzing.runner import make_runner  # noqa: E402


def counted(folder: Path, count: int, seed: int, kinds: list[str], keep: Path | None) -> int:
    """Run `count` cases and print what came of them."""
    import keras

    runner, report = make_runner(folder), Report(seed, keep)
    cases = Cases(random.Random(seed), runner.templates, kinds)
    for index in range(count):
        if index % 50 == 0:
            keras.backend.clear_session(free_memory=False)  # collecting garbage takes longer than all the rest
        kind, case = cases.next()
        report.before(case)
        report.add(index, kind, case, runner.run(case))
        if (index + 1) % 1000 == 0:
            print(f"{index + 1} cases, {sum(map(len, report.faults.values()))} faults", file=sys.stderr, flush=True)
    print(report.text({name: (len(pairs), Cases.size()) for name, pairs in cases.swept.items()}))
    return 1 if report.faults else 0


def again(folder: Path, files: list[Path]) -> int:
    """Run kept cases once more and print what each comes to."""
    runner, faults = make_runner(folder), 0
    for path in files:
        outcome = runner.run(Case.from_json(path.read_text(encoding="utf-8")))
        faults += bool(outcome.fault)
        took = f"{outcome.seconds:.2f} s {outcome.megabytes:.0f} MB"
        print(f"{path.name}: {outcome.kind} {took} {outcome.message[:300]!r} {outcome.fault}")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Throw hostile models at rescue.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=sorted({**KINDS, **SWEEPS}), nargs="+", default=[])
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", type=Path, nargs="+", metavar="FILE", help="run kept cases again")
    parser.add_argument("--guided", type=Path, metavar="FOLDER")
    parser.add_argument("--target", choices=("bytecode", "draws"), default="bytecode")
    given, options = parser.parse_known_args()
    faulthandler.enable()
    if given.guided:
        given.guided.mkdir(parents=True, exist_ok=True)
        guide(given.guided, given.target, options)
        return 0
    if options:
        parser.error(f"unknown: {' '.join(options)}")
    with tempfile.TemporaryDirectory(prefix="cbam-fuzz-") as folder:
        if given.again:
            return again(Path(folder), given.again)
        return counted(Path(folder), given.count, given.seed, given.kind, given.keep)


if __name__ == "__main__":
    sys.exit(main())
