"""Rescue every file of a corpus of old models and compare what each then computes with what its own Keras computed.

    python scripts/judge_corpus.py CORPUS [--stack NAME...] [--name PART] [--report FILE] [--jobs N]

CORPUS is a folder that `scripts/make_fixtures.py` wrote: model files, their inputs and outputs, and manifest.json. Each
file is rescued, written, opened again by plain Keras in safe mode and run. A file counts as

    rescued   every output is within 1e-5 of the old one, relative to the output's largest value; within one unit of
              rounding, 2**-10 and 2**-7, where the model computes in float16 or bfloat16
    refused   no file was written, and the reason was given
    wrong     anything else
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

TOLERANCE: Final = 1e-5
ROUNDING: Final = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# What no reader of these files can know, by stack and name: two files that are equal but for the seconds in which they
# were written compute different things (docs/rescue.md).
NOT_IN_THE_FILE: Final = {("tf2.0-py3.7", "model_mixed_float16"): "the policy mixed_float16"}
_BATCH: Final = 40  # files for one call of a worker


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What became of one file. error: largest difference over the output's largest value; text: reason or fault."""

    stack: str
    name: str
    file: str
    kind: str
    format: str
    verdict: str
    error: float | None = None
    text: str = ""
    seconds: float = 0.0


def judge(folder: Path, row: dict[str, Any]) -> Judgement:
    """Rescue one file of the manifest and compare."""
    import keras

    from converters.errors import CbamError
    from exporter.rescuing import rescue

    started = time.perf_counter()

    def verdict(said: str, **more: Any) -> Judgement:
        seconds = time.perf_counter() - started
        kind = "unknowable" if (row["stack"], row["name"]) in NOT_IN_THE_FILE else row["kind"]
        given = (row["stack"], row["name"], row["file"], kind, row["format"])
        return Judgement(*given, verdict=said, seconds=seconds, **more)

    keras.backend.clear_session(free_memory=False)  # collecting garbage would take longer than all the rest
    with tempfile.TemporaryDirectory() as place:
        output = Path(place, "rescued.keras")
        try:
            rescue(folder / row["file"], output, row.get("functions"))
        except CbamError as error:
            lines = str(error).split(row["file"] + ": ")[-1]
            return verdict("refused" if not output.exists() else "wrong", text=lines[:400])
        except Exception as error:
            return verdict("wrong", text=f"{type(error).__name__}: {error}"[:400])
        try:
            model = keras.saving.load_model(output)
            with np.load(folder / row["data"], allow_pickle=False) as data:
                inputs = [data[key] for key in sorted(k for k in data.files if k[0] == "x")]
                expected = [data[key] for key in sorted(k for k in data.files if k[0] == "y")]
            made = keras.tree.flatten(model.predict_on_batch(inputs if len(inputs) > 1 else inputs[0]))
        except Exception as error:
            return verdict("wrong", text=f"{type(error).__name__}: {error}"[:400])
    if len(made) != len(expected):
        return verdict("wrong", text=f"{len(made)} outputs, not {len(expected)}")
    worst = 0.0
    for ours, theirs in zip(map(np.asarray, made), expected, strict=True):
        if ours.shape != theirs.shape:
            return verdict("wrong", text=f"shape {ours.shape}, not {theirs.shape}")
        worst = max(worst, _difference(ours, theirs))
    kinds = {str(getattr(layer, "compute_dtype", "")) for layer in model._flatten_layers()}
    tolerance = max(TOLERANCE, *(unit for dtype, unit in ROUNDING.items() if dtype in kinds), 0.0)
    return verdict("rescued" if worst <= tolerance else "wrong", error=worst)


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over the largest finite value; infinite where one is finite and the other is not."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30)) if a.size and np.any(a != b) else 0.0


def _some(folder: Path, rows: list[dict[str, Any]]) -> list[Judgement]:
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - of a worker, until it ends
    return [judge(folder, row) for row in rows]


def judgements(corpus: Path, rows: list[dict[str, Any]], jobs: int) -> Iterator[Judgement]:
    """Every row judged, in processes that are replaced now and then, since TensorFlow keeps what it has traced."""
    batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    with concurrent.futures.ProcessPoolExecutor(jobs, max_tasks_per_child=8, mp_context=_spawn()) as pool:
        done = 0
        for made in pool.map(_some, [corpus] * len(batches), batches):
            done += len(made)
            print(f"\r{done} of {len(rows)}", end="", file=sys.stderr)
            yield from made
    print(file=sys.stderr)


def _spawn() -> Any:
    import multiprocessing

    return multiprocessing.get_context("spawn")


def table(made: Iterable[Judgement]) -> str:
    """Markdown: per stack and kind of body, how many files were rescued, refused and wrong."""
    counts: dict[tuple[str, str], collections.Counter[str]] = {}
    for each in made:
        counts.setdefault((each.stack, each.kind), collections.Counter())[each.verdict] += 1
    lines = ["| stack | bodies | files | rescued | refused | wrong |", "|---|---|---:|---:|---:|---:|"]
    total: collections.Counter[str] = collections.Counter()
    for (stack, kind), count in sorted(counts.items()):
        total += count
        lines.append(
            f"| {stack} | {kind} | {count.total()} | {count['rescued']} | {count['refused']} | {count['wrong']} |"
        )
    lines.append(f"| all | | {total.total()} | {total['rescued']} | {total['refused']} | {total['wrong']} |")
    return "\n".join(lines)


def _row(stack: str, kind: str, count: collections.Counter[str]) -> str:
    figures = " | ".join(str(count[verdict]) for verdict in ("rescued", "refused", "wrong"))
    return f"| {stack} | {kind} | {count.total()} | {figures} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--stack", nargs="*", help="only these")
    parser.add_argument("--name", help="only files whose name holds this")
    parser.add_argument("--format", help="only files of this format, as the manifest calls it")
    parser.add_argument("--kind", nargs="*", help="only bodies of these kinds")
    parser.add_argument("--every", type=int, default=1, help="only every N-th file")
    parser.add_argument("--report", type=Path, help="write every judgement there, as JSON")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    rows = json.loads((given.corpus / "manifest.json").read_text(encoding="utf-8"))["rows"]
    rows = [row for row in rows if not given.stack or row["stack"] in given.stack]
    rows = [row for row in rows if not given.name or given.name in row["file"]]
    rows = [row for row in rows if given.format in (None, row["format"])]
    rows = [row for row in rows if not given.kind or row["kind"] in given.kind]
    rows = rows[:: given.every]
    made = list(judgements(given.corpus, rows, given.jobs))
    if given.report:
        given.report.write_text(json.dumps([dataclasses.asdict(each) for each in made], indent=1), encoding="utf-8")
    print(table(made))
    for each in made:
        if each.verdict == "wrong":
            print(f"wrong: {each.stack}/{each.file}: {each.text or each.error}")


if __name__ == "__main__":
    main()
