"""The competing quantised files of one format: each converted, opened, scored on samples set aside for that."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, fingerprint_path
from converters.errors import CbamError, ConversionError, WorkerError
from converters.quantise.child import Child
from converters.quantise.inspect import check
from converters.quantise.ranges import Range
from converters.settings import ConversionSettings
from exporter.formats import FORMATS
from exporter.options import ExportOptions
from exporter.parity.check import Arrays
from exporter.quantisation.forms import MARGIN_DB, Form
from exporter.quantisation.measure import in_layout, run_real, score, score_of
from exporter.quantisation.metric import Measure
from exporter.quantisation.options import CALIBRATED, KEEP
from exporter.quantisation.samples import Division, SampleSet
from exporter.quantisation.sources import batches
from exporter.runtimes.apart import open_apart
from exporter.runtimes.table import runtime

CONFIRM: Final = 32
"""Samples on which the runtimes are compared with each other."""

RUNTIMES_AGREE_DB: Final = 12.0
"""How much worse one runtime may be than another with the same file: their kernels round the same sums otherwise, which
moved SQNR by up to 4 dB over 100 samples and by 7.4 dB over one; a kernel that computes something else lost 46."""

AS_FLOAT_DB: Final = 90.0
"""From here on a file is as near as float32 is (rms 3e-5 of the signal; one float16 file gave 120 dB in one runtime and
139 in another), so that what one runtime loses to another is no other computation."""

Step = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a candidate was made, so that it can be made again with operations in float.

    Attributes:
        job: what the child is told to do; empty: the format's own converter made it.
        source: the float file that it converts.
        plain: the float file of the form, without any correction for quantising.
        arguments: of the job, but for the paths of files.
        ranges: by tensor, what it is stored to hold; empty where the job finds ranges itself.
        samples: the calibration calls, for a job that takes them.
        wide: ranges for operations that are kept in int16.
        seen: the smallest and largest value of every tensor on the calibration data; of no effect.
    """

    job: str
    source: Path
    plain: Artifact
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ranges: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    samples: str = ""
    wide: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seen: Mapping[str, Range] = dataclasses.field(default_factory=dict)

    def key(self) -> str:
        """Equal for what gives equal files."""
        told = [self.job, fingerprint_path(self.source)[0], self.arguments, self.ranges, self.wide]
        return json.dumps(told, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One quantised file.

    Attributes:
        form: the graph that was quantised.
        method: how ranges were found; empty where none are.
        recipe: how it was made; None where nothing was.
        artifact: the file; None where it could not be made or opened.
        sqnr_db, agreement: against the float model on the samples set aside for the choice.
        value: what a search judges by, on the same samples: the metric that was asked for, else agreement.
        floored: tensors whose range had collapsed and was widened.
        fault: why there is no artifact.
    """

    form: Form
    method: str
    artifact: Artifact | None
    recipe: Recipe | None = None
    sqnr_db: float = float("-inf")
    agreement: float = 0.0
    value: float = 0.0
    floored: tuple[str, ...] = ()
    fault: str = ""

    @property
    def name(self) -> str:
        """Form and method, as they are printed."""
        return self.form.name + (f", {self.method} ranges" if self.method else "")

    @property
    def rank(self) -> tuple[bool, float, float]:
        """By what the best is chosen: a form that runs faster stands before one that is better by next to nothing."""
        handicap = 0.0 if self.form.lowered is not None else MARGIN_DB
        return self.artifact is not None, self.sqnr_db - handicap, self.agreement

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json; figures that do not exist are null."""
        finite = self.artifact is not None and np.isfinite(self.sqnr_db)
        return {
            "form": self.form.name,
            "ranges": self.method or None,
            "sqnr_db": self.sqnr_db if finite else None,
            "agreement": self.agreement if self.artifact is not None else None,
            "floored": list(self.floored),
            "fault": self.fault or None,
        }


@dataclasses.dataclass(frozen=True)
class Task:
    """What all candidates of one format share."""

    format: str
    options: ExportOptions
    settings: ConversionSettings
    folder: Path
    child: Child
    data: Division | None
    expected: Arrays
    runtimes: tuple[str, ...]
    on_step: Step
    progress: Progress
    measure: Measure | None = None
    made: dict[Path, Artifact] = dataclasses.field(default_factory=dict)

    @property
    def precision(self) -> Precision:
        """What is asked for."""
        return self.options.precision

    @property
    def io(self) -> str:
        """The dtype of inputs and outputs."""
        return self.options.quantisation.io_of(self.format, self.precision)


def make(task: Task, forms: Sequence[Form]) -> list[Candidate]:
    """Convert every form by every method, best first by SQNR on the samples for the choice.

    Raises:
        CbamError: not one could be made; the error of the first.
    """
    made, first = [], None
    for place, form in enumerate(forms):
        try:
            for candidate in _of_form(task, form, place):
                made.append(scored(task, candidate))
        except CbamError as error:
            first = first or error
            made.append(Candidate(form, "", None, fault=str(error)))
    made.sort(key=lambda each: each.rank, reverse=True)
    while made[0].artifact is not None:
        confirmed = _confirmed(task, made[0])
        if confirmed.artifact is not None:
            return made
        made = [*made[1:], confirmed]
    raise first or ConversionError(made[-1].fault)


def float_artifact(task: Task, form: Form, path: Path) -> Artifact:
    """The float file of a form's trace."""
    settings = dataclasses.replace(task.settings, precision=Precision.FP32)
    inputs, outputs = FORMATS[task.format].load_converter()(form.traced, path, settings)
    sha256, size = fingerprint_path(path)
    return Artifact(path, task.format, Precision.FP32, inputs, outputs, sha256, size, settings.metadata)


def _float(task: Task, form: Form, place: int) -> Artifact | None:
    """The float file that is quantised; None where the form has nothing of its own."""
    suffix = FORMATS[task.format].suffix
    path = task.folder / f"float{place}{suffix}"
    plain = task.folder / f"traced-{id(form.traced)}{suffix}"
    if not plain.exists():
        task.on_step(f"converting to {task.format} in float ({form.name})")
        made = float_artifact(task, form, plain)
        task.made[plain] = made
    made = task.made[plain]
    if form.rewrite is None:
        return made
    content = form.rewrite(plain.read_bytes())
    if content is None:
        return None
    path.write_bytes(content)
    return dataclasses.replace(made, path=path)


def _of_form(task: Task, form: Form, place: int) -> Iterator[Candidate]:
    methods = task.options.quantisation.methods_of(task.format, task.precision)
    plain = _float(task, form, place)
    if plain is None:
        return
    if task.format == "onnx":
        yield from _onnx(task, form, plain, methods if task.precision is Precision.INT8 else ("",))
    elif task.precision in CALIBRATED:
        yield from _tflite(task, form, plain, methods)
    else:
        row = FORMATS[task.format]
        task.on_step(f"converting to {task.format} in {task.precision} ({form.name})")
        path = task.folder / f"{place}{row.suffix}"
        inputs, outputs = row.load_converter()(form.traced, path, task.settings)
        yield Candidate(form, "", _artifact(task, path, inputs, outputs), Recipe("", path, plain))


def _tflite(task: Task, form: Form, plain: Artifact, methods: Sequence[str]) -> Iterator[Candidate]:
    from exporter.quantisation.calibrate import Calibrated

    assert task.data is not None
    task.on_step(f"calibrating on {task.data.calibrate.described} ({form.name})")
    calibrated = Calibrated(plain, task.data.calibrate, task.progress)
    corrected = plain.path.with_name(f"{plain.path.stem}-corrected.tflite")
    corrected.write_bytes(calibrated.corrected)
    wide = calibrated.ranges("minmax", Precision.INT16X8)[0] if task.options.quantisation.keep != KEEP[0] else {}
    for method in methods:
        task.on_step(f"quantising to {task.precision} ({form.name}, {method} ranges)")
        ranges, floored = calibrated.ranges(method, task.precision)
        arguments = {"precision": str(task.precision), "io": task.io}
        recipe = Recipe("tflite", corrected, plain, arguments, ranges, wide=wide, seen=calibrated.seen)
        candidate = Candidate(form, method, None, recipe, floored=floored)
        try:
            yield convert(task, candidate)
        except WorkerError as error:
            raise WorkerError(f"{error}; {calibrated.suspects(ranges)}") from error


def _onnx(task: Task, form: Form, plain: Artifact, methods: Sequence[str]) -> Iterator[Candidate]:
    from exporter.quantisation.calibrate import CalibratedOnnx

    calibrated, source, samples = None, plain.path, task.folder / "calibration.npz"
    if task.precision is Precision.INT8:
        assert task.data is not None
        if not samples.exists():
            _store_calls(samples, task.data.calibrate, plain)
        source = plain.path.with_name(f"{plain.path.stem}-corrected.onnx")
        task.on_step(f"calibrating on {task.data.calibrate.described} ({form.name})")
        calibrated = CalibratedOnnx(plain, task.data.calibrate, task.progress)
        calibrated.correct(plain.path, source)
    for method in methods:
        how = f", {method} ranges" if method else ""
        task.on_step(f"quantising to {task.precision} ({form.name}{how})")
        arguments: dict[str, Any] = {"precision": str(task.precision), "io": task.io}
        ranges: Mapping[str, Any] = {}
        floored: tuple[str, ...] = ()
        if calibrated is None:
            recipe = Recipe("onnx", source, plain, arguments)
        else:
            arguments["calibration"] = {"method": method, "activations": task.options.quantisation.activations}
            if method in ("minmax", "mse"):
                ranges, floored = calibrated.ranges(method)
            recipe = Recipe("onnx", source, plain, arguments, ranges, str(samples), seen=calibrated.seen)
        yield convert(task, Candidate(form, method, None, recipe, floored=floored))


def convert(task: Task, candidate: Candidate, keep: Sequence[str] = (), kept_as: str = "float") -> Candidate:
    """Have the child make the candidate's file by its recipe.

    Args:
        keep: operations that are not to compute in int8, as the job names them.
        kept_as: what they compute in instead: float or int16.
    """
    recipe = candidate.recipe
    assert recipe is not None
    kept = "-" + hashlib.sha256("\0".join((kept_as, *keep)).encode()).hexdigest()[:12] if keep else ""
    path = recipe.source.with_name(
        f"{recipe.source.stem}-{candidate.method or task.precision}{kept}{recipe.source.suffix}"
    )
    arguments = dict(recipe.arguments)
    if recipe.samples:
        arguments["calibration"] = recipe.arguments["calibration"] | {
            "samples": recipe.samples,
            "ranges": recipe.ranges or None,
        }
    elif recipe.ranges:
        arguments["ranges"] = recipe.ranges
    if keep:
        arguments["kept"] = {f"in_{kept_as}": list(keep), "plain": str(recipe.plain.path), "wide": recipe.wide}
    task.child.run(recipe.job, source=str(recipe.source), target=str(path), **arguments)
    plain = recipe.plain
    if task.format == "tflite":
        from converters.quantise.flatbuffer import signature_specs

        inputs, outputs = signature_specs(path.read_bytes(), plain.inputs, plain.outputs)
    else:
        inputs, outputs = (
            tuple(dataclasses.replace(spec, dtype=task.io if spec.dtype == "float32" else spec.dtype) for spec in each)
            for each in (plain.inputs, plain.outputs)
        )
    return dataclasses.replace(candidate, artifact=_artifact(task, path, inputs, outputs))


def _store_calls(path: Path, samples: SampleSet, source: Artifact) -> None:
    size = source.inputs[0].shape[0] or 1
    calls = list(batches(samples, size))
    stacked = {}
    for spec in source.inputs:
        stacked[spec.name] = np.stack([in_layout(call[spec.name], spec) for call in calls])
    np.savez(path, **stacked)  # type: ignore[arg-type]  # NumPy's stub takes no mapping of names


def _artifact(task: Task, path: Path, inputs: Any, outputs: Any) -> Artifact:
    sha256, size = fingerprint_path(path)
    return Artifact(path, task.format, task.precision, inputs, outputs, sha256, size, task.settings.metadata)


def _confirmed(task: Task, candidate: Candidate) -> Candidate:
    """The candidate, or why it is out: operations came out in float, or a runtime that must run it computes something
    else than another."""
    assert candidate.artifact is not None
    assert candidate.recipe is not None
    try:
        check(candidate.artifact, candidate.recipe.plain, task.io)
    except ConversionError as error:
        return _out(candidate, error)
    if task.data is None:
        return candidate
    inputs = {name: array[:CONFIRM] for name, array in task.data.choose.arrays.items()}
    expected = {name: array[:CONFIRM] for name, array in task.expected.items()}
    found: dict[str, float] = {}
    for name in task.runtimes:
        task.on_step(f"comparing {candidate.name} in {name}")
        try:
            # LiteRT's reference kernels end their process in an int8 softmax over a thousand scores that are nearly
            # alike, as they are before training.
            own = name == FORMATS[task.format].runtime
            with (runtime(name).open if own else partial(open_apart, name))(candidate.artifact) as session:
                found[name], _ = score(session, candidate.artifact, inputs, expected)
        except ConversionError as error:
            return _out(candidate, error)
    best = max(found, key=lambda name: found[name])
    worst = min(found, key=lambda name: found[name])
    if found[worst] < min(found[best] - RUNTIMES_AGREE_DB, AS_FLOAT_DB):
        fault = f"{worst} computes it otherwise: {found[worst]:.1f} dB where {best} gives {found[best]:.1f} dB"
        return dataclasses.replace(candidate, artifact=None, fault=fault)
    return candidate


def _out(candidate: Candidate, error: ConversionError) -> Candidate:
    assert candidate.artifact is not None
    fault = str(error).replace(candidate.artifact.path.name, candidate.name)  # not the name of a working file
    return dataclasses.replace(candidate, artifact=None, fault=fault)


def scored(task: Task, candidate: Candidate) -> Candidate:
    """Open the file in the format's own runtime and score it; one that is refused there is out, with the reason."""
    assert candidate.artifact is not None
    if task.data is None:
        return dataclasses.replace(candidate, sqnr_db=0.0)
    try:
        with runtime(FORMATS[task.format].runtime).open(candidate.artifact) as session:
            given = run_real(session, candidate.artifact, task.data.choose.arrays)
    except ConversionError as error:
        return _out(candidate, error)
    decibels, share = score_of(given, task.expected)
    # What cannot be compared at all is not shown to the metric of a user.
    value = share if task.measure is None else -math.inf if decibels == -math.inf else task.measure(given)
    return dataclasses.replace(candidate, sqnr_db=decibels, agreement=share, value=value)
