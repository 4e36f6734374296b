"""`exporter.verify`: may this artifact replace the model? Every candidate in every runtime, against a record.

It imports neither TensorFlow nor Keras unless it is given a model instead of a recorded reference. This module and what
it imports at its top also run on devices, out of a bundle (`exporter.bundling`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from converters.errors import ConversionError, ModelError, OptionError, RuntimeUnavailableError, closest
from exporter.against import model_at_hand, open_reference, opener
from exporter.breakdown import NOT_RUN, Kept, breakdown
from exporter.candidates import UNKNOWN, Refused, try_candidate
from exporter.formats import FORMATS
from exporter.parity.check import run_in_batches
from exporter.parity.fitting import Fitting, fit
from exporter.parity.gate_report import gate_rows
from exporter.parity.judgement import Criteria, judge_outputs
from exporter.parity.merging import merged_results, passed
from exporter.parity.record import Record
from exporter.parity.result import SCHEMA, Row, failed_row, machine, read_result, row
from exporter.parity.tolerances import Overrides, half_levels
from exporter.runtimes.base import Session
from exporter.runtimes.table import RUNTIMES, runtime

Step = Callable[[str], None]

EVERY: Final = "all"
"""Stands for every runtime that can run the candidates and is installed."""

EMULATED_SAMPLES: Final = 16
"""Real samples where a processor is emulated, about a hundred times slower than this one, unless a number is given."""


@dataclasses.dataclass(frozen=True, slots=True)
class VerifyOptions:
    """One verification.

    Attributes:
        runtimes: names of rows of RUNTIMES, or `all`; empty: each format's own. A candidate that none of them runs is
            verified in its format's own.
        overrides: what is asked for instead of the derived tolerances, by output; "" stands for all outputs.
        samples: real ones at most; None: all, and EMULATED_SAMPLES where a processor is emulated.
        causes: also run what tells where differences come from.
        merge: results from devices, to be taken in.
        locate: search an artifact that failed for the layer where it leaves the model, where the model is at hand.
        model: as for `exporter.export`, the model itself where `against` is a recorded reference.
        per_layer: search every artifact, and keep all that is found along the layers.
        pictures: keep what a report shows: inputs, and attention maps of the model and the artifacts.
        apart: run every runtime in a process of its own, so that one that dies or hangs is a result; not so on a
            device that can start none.
        time_limit: seconds for opening an artifact and for each call, where runtimes have processes; None: their own.

    Raises:
        OptionError: on construction, for a value that is not valid.
    """

    runtimes: tuple[str, ...] = ()
    overrides: Mapping[str, Overrides] = dataclasses.field(default_factory=dict)
    samples: int | None = None
    causes: bool = True
    merge: tuple[Path, ...] = ()
    locate: bool = True
    model: Any = None
    per_layer: bool = False
    pictures: bool = False
    apart: bool = True
    time_limit: float | None = None

    def __post_init__(self) -> None:
        for name in self.runtimes:
            if name != EVERY and name not in RUNTIMES:
                raise OptionError(f"unknown runtime {name!r}{closest(name, (EVERY, *RUNTIMES))}")
        if self.samples is not None and self.samples < 2:
            raise OptionError(f"--samples takes a number of at least 2, or nothing can vary; got {self.samples}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise OptionError(f"--time-limit takes a number of seconds above 0; got {self.time_limit:g}")
        if not self.locate and (self.per_layer or self.model is not None):
            raise OptionError("--no-locate contradicts --per-layer and --locate; give one of them")


@dataclasses.dataclass(frozen=True)
class Verification:
    """The outcome. `result` is what `--json` prints; the keys are documented in docs/parity.md."""

    result: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether something was verified and nothing failed; NOT INFORMATIVE has not failed."""
        return bool(self.result["passed"])

    @property
    def rows(self) -> Sequence[Row]:
        """One row an artifact, runtime, output and case."""
        found: Sequence[Row] = self.result["verification"]
        return found


def verify(
    candidates: Sequence[str | Path | Artifact],
    against: Any = None,
    options: VerifyOptions | None = None,
    *,
    on_step: Step = lambda step: None,
) -> Verification:
    """Verify artifacts against a recorded reference or a model.

    Args:
        candidates: artifacts, or paths of artifacts with a sidecar, or of bare `.tflite` and `.onnx` files. May be
            empty where results are merged.
        against: a reference file, a `Record`, or a model as for `exporter.export`, which is then recorded on the CPU.
        options: runtimes, overrides, samples, results to merge.
        on_step: told what is being done, before it is done.

    Raises:
        ModelError: a candidate, a reference or a result that cannot be read, or that does not fit the others.
        OptionError: a runtime that can run none of the candidates; an override for an output that is not there.
        RuntimeUnavailableError: a runtime that was asked for is not installed.
    """
    options = options or VerifyOptions()
    merged = [read_result(path) for path in options.merge]
    for place, path in enumerate(options.merge):
        if merged[place] in merged[:place]:
            raise ModelError(f"{path}: holds the same result as {options.merge[merged.index(merged[place])]}")
    if not candidates:
        if not merged:
            raise OptionError("nothing to verify: give an artifact, or --merge a result")
        _check_alone(options)
        if against is not None:
            _check_same(open_reference(against, (), on_step).sha256(), options, merged)
        return Verification(merged_results([], merged))
    with _limited(options):
        return _verified(candidates, against, options, merged, on_step)


def _check_alone(options: VerifyOptions) -> None:
    """Refuse what says how artifacts are to be run where there are none, only results."""
    asked = {
        "--runtime": options.runtimes,
        "--atol, --rtol and the like": options.overrides,
        "--samples": options.samples,
        "--locate": options.model,
        "--per-layer": options.per_layer,
        "--time-limit": options.time_limit,
    }
    if without := [name for name, value in asked.items() if value]:
        raise OptionError(
            f"{', '.join(without)}: there is nothing to run, a result is merged as it is; give an artifact too"
        )


def _check_same(sha256: str, options: VerifyOptions, merged: Sequence[Mapping[str, Any]]) -> None:
    for path, other in zip(options.merge, merged, strict=True):
        if other["reference"]["sha256"] != sha256:
            raise ModelError(f"{path}: was made against another reference, of {other['reference']['name']}")


def _verified(
    candidates: Sequence[str | Path | Artifact],
    against: Any,
    options: VerifyOptions,
    merged: Sequence[Mapping[str, Any]],
    on_step: Step,
) -> Verification:
    artifacts, refused = _loaded(candidates, options)
    plan, left_out = _plan(artifacts, options.runtimes)
    model = model_at_hand(against, artifacts, options.model, options.per_layer)
    record = open_reference(against if model is None or options.model is not None else model, artifacts, on_step)
    for name in options.overrides:
        if name and name not in record.outputs:
            raise OptionError(f"the model has no output {name!r}{closest(name, record.outputs)}")
    sha256 = record.sha256()
    _check_same(sha256, options, merged)
    source = _source(model, record, options, on_step)
    run = _Run(record, options, on_step)
    for each in refused:
        run.refused(each)
    for artifact, names in zip(artifacts, plan, strict=True):
        run.artifact(artifact, names)
    causes = breakdown(record, run.kept, on_step, run.open) if options.causes else []
    result = {
        "schema": SCHEMA,
        "passed": passed(run.rows),
        "reference": _described(record.first(options.samples or record.samples), sha256),
        "verification": run.rows,
        "causes": [cause.to_json() for cause in causes],
        "gates": list(gate_rows(record)),
        "remarks": run.remarks,
        **_searched(run, artifacts, source),
        "left_out": left_out,
        "machine": machine(),
    }
    return Verification(merged_results([result], merged))


class _Run:
    """What is gathered while the candidates run."""

    def __init__(self, record: Record, options: VerifyOptions, on_step: Step) -> None:
        self.rows: list[Row] = []
        self.remarks: list[dict[str, str]] = []
        self.kept: list[Kept] = []
        self.record, self.options, self.on_step = record, options, on_step

    def open(self, name: str, artifact: Artifact) -> Session:
        """In a process of its own where there are such."""
        if not self.options.apart:
            return runtime(name).open(artifact)
        from exporter.runtimes.apart import open_apart

        return open_apart(name, artifact)

    def refused(self, file: Refused) -> None:
        """A file that its runtime does not open fails, and the others go on."""
        what = {"artifact": str(file.path), "format": file.format, "precision": UNKNOWN, "sha256": file.sha256}
        name = FORMATS[file.format].runtime
        where = {"runtime": runtime(name).version(), "runtime_name": name, "machine": None}
        self.rows += [failed_row(what, where, output, file.reason) for output in self.record.outputs]

    def artifact(self, artifact: Artifact, names: Sequence[str]) -> None:
        fitting = fit(self.record, artifact)
        remarks = list(fitting.remarks)
        if "described_by" in artifact.metadata:
            said = ", ".join(map(str, (*artifact.inputs, *artifact.outputs)))
            remarks.append(f"no sidecar: taken for {artifact.format} {artifact.precision} by its content ({said})")
        self.remarks += [{"artifact": str(artifact.path), "remark": remark} for remark in remarks]
        for name in names:
            self._in_runtime(artifact, fitting, name)

    def _in_runtime(self, artifact: Artifact, fitting: Fitting, name: str) -> None:
        samples = self.options.samples or (EMULATED_SAMPLES if RUNTIMES[name].emulated else self.record.samples)
        record = self.record.first(samples)
        what = {
            "artifact": str(artifact.path),
            "format": artifact.format,
            "precision": str(artifact.precision),
            "sha256": artifact.sha256,
        }
        where = {"runtime": runtime(name).version(), "runtime_name": name, "machine": None}
        self.on_step(f"running {artifact.path.name} on {record.samples} samples in {where['runtime']}")
        try:
            with self.open(name, artifact) as session:
                where["runtime"] = session.description
                given = run_session(session, record, artifact, fitting)
        except ConversionError as error:  # the runtime refuses it, dies or hangs: its result, and the others go on
            self.rows += [failed_row(what, where, output, str(error)) for output in record.outputs]
            return
        criteria = Criteria(
            artifact.precision,
            self.options.overrides,
            fitting.clipped(record),
            fitting.altered(record),
            half_levels(artifact.format),
        )
        self.rows += [row(what, where, found) for found in judge_outputs(record, given, criteria)]
        self.kept.append(Kept(artifact, name, fitting, given, min(samples, record.cases[0].count)))


def run_session(session: Session, record: Record, artifact: Artifact, fitting: Fitting) -> dict[str, np.ndarray]:
    """A record's inputs through an open session: real numbers by the record's output names."""
    return fitting.take(
        run_in_batches(session, fitting.feed(record.inputs), artifact.inputs[0].shape[0] or record.batch)
    )


def _limited(options: VerifyOptions) -> contextlib.AbstractContextManager[None]:
    if not options.apart:
        return contextlib.nullcontext()
    from exporter.runtimes.process import time_limit

    return time_limit(options.time_limit)


def _loaded(
    candidates: Sequence[str | Path | Artifact], options: VerifyOptions
) -> tuple[list[Artifact], list[Refused]]:
    artifacts, refused = [], []
    for each in candidates:
        found = each if isinstance(each, Artifact) else try_candidate(each, options.apart)
        if isinstance(found, Refused):
            refused.append(found)
        else:
            artifacts.append(found)
    return artifacts, refused


def _plan(artifacts: Sequence[Artifact], asked: Sequence[str]) -> tuple[list[tuple[str, ...]], list[dict[str, str]]]:
    """By artifact, the runtimes it is verified in; and with `all`, those that are not here, with the reason."""
    left_out, every = [], EVERY in asked
    for artifact in artifacts:
        if artifact.format not in FORMATS:
            raise ModelError(f"{artifact.path}: is of format {artifact.format!r}{closest(artifact.format, FORMATS)}")
    if every:
        fitting = [name for name in RUNTIMES if any(_runs(name, artifact) for artifact in artifacts)]
        reasons = {name: reason for name in fitting if (reason := _missing(name))}
        left_out = [{"runtime": name, "reason": reason} for name, reason in reasons.items()]
        asked = [name for name in fitting if name not in reasons]
    for name in asked if artifacts else ():
        if not any(RUNTIMES[name].can_run(each.format, each.precision) for each in artifacts):
            runs = [f"{each} in {', '.join(precisions)}" for each, precisions in RUNTIMES[name].runs.items()]
            have = ", ".join(f"{each.format} in {each.precision}" for each in artifacts)
            raise OptionError(f"--runtime {name} runs {'; '.join(runs)}; the candidates are {have}")
        if not any(_runs(name, each) for each in artifacts):
            raise OptionError(f"--runtime {name} takes a fixed batch only; that of {artifacts[0].path} is open")
    plan = []
    for artifact in artifacts:
        names = tuple(name for name in dict.fromkeys(asked) if _runs(name, artifact))
        own = FORMATS[artifact.format].runtime
        plan.append(names or (own,))
        if asked and not names and not every:
            reason = f"it cannot run this file, which was verified in {own} in its place"
            left_out += [{"artifact": str(artifact.path), "runtime": name, "reason": reason} for name in asked]
    for name in dict.fromkeys(name for names in plan for name in names):
        runtime(name).version()  # raises, before anything slow, if it is not there
    return plan, left_out


def _runs(name: str, artifact: Artifact) -> bool:
    row = RUNTIMES[name]
    fixed = all(None not in spec.shape for spec in artifact.inputs)
    return row.can_run(artifact.format, artifact.precision) and (row.open_batch or fixed)


def _missing(name: str) -> str:
    try:
        runtime(name).version()
    except (RuntimeUnavailableError, ImportError) as error:  # a bundle carries the modules of two libraries only
        return str(error)
    return ""


def _source(model: Any, record: Record, options: VerifyOptions, on_step: Step) -> Callable[[], Any] | str:
    """What opens the model when it is needed, or why there is none."""
    if not options.locate:
        return "--no-locate was given"
    if model is None:
        return "the model itself is not at hand; give it with --locate MODEL"
    return opener(model, record, options.model is not None, on_step)


def _searched(run: _Run, artifacts: Sequence[Artifact], source: Callable[[], Any] | str) -> dict[str, Any]:
    """The part of a result that tells where artifacts leave the model."""
    rows = {str(each.path): [row for row in run.rows if row["artifact"] == str(each.path)] for each in artifacts}
    every = run.options.per_layer or run.options.pictures
    failed = [each for each in artifacts if not passed(rows[str(each.path)])]
    if isinstance(source, str):
        ran = {str(each.artifact.path) for each in run.kept}
        reasons = [
            {"artifact": str(each.path), "reason": source if str(each.path) in ran else NOT_RUN} for each in failed
        ]
        empty: dict[str, Any] = {"divergence": [], "not_located": reasons, "artifact_gates": []}
        return {**empty, **_pictures(run, [])}
    searched = artifacts if every else failed
    if not searched:
        return {"divergence": [], "not_located": [], "artifact_gates": []}
    from exporter.divergence import Divergences, to_json

    search = Divergences(source, run.record, run.on_step)
    found = []
    for each in searched:
        kept = [one for one in run.kept if one.artifact is each]
        found.append(search.find(each, rows[str(each.path)], kept))
        if found[-1].profile is None and each not in failed:
            remark = f"not searched along the layers: {found[-1].reason}"
            run.remarks.append({"artifact": str(each.path), "remark": remark})
    return {**to_json(found, {str(each.path) for each in failed}, every), **_pictures(run, found)}


def _pictures(run: _Run, found: Sequence[Any]) -> dict[str, Any]:
    if not run.options.pictures:
        return {}
    from exporter.pictures import pictures

    return {"pictures": pictures(run.record, run.rows, found)}


def _described(record: Record, sha256: str) -> dict[str, Any]:
    return {
        "name": record.name,
        "source": record.source,
        "against": "the recorded outputs" if record.truth is None else "the float64 truth",
        "sha256": sha256,
        "weights_sha256": record.fingerprint,
        "samples": record.samples,
        "outputs": list(record.outputs),
        "cases": [case.to_json() for case in record.cases],
        "environment": dict(record.environment),
        "remarks": list(record.remarks),
    }
