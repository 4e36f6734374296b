"""`cbam quantize`: from a model and calibration data to a quantised artifact that was checked and measured."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, fingerprint_path
from converters.errors import CalibrationError, OptionError, OutputError, RuntimeUnavailableError
from converters.quantise.child import Child
from converters.quantise.inspect import Contents, check
from converters.settings import DEFAULT_OPSET, ConversionSettings
from exporter.formats import FORMATS
from exporter.model_run import known_range, run_model
from exporter.options import ExportOptions
from exporter.parity.check import Arrays, ParityReport
from exporter.parity.gates import Gates
from exporter.pipeline import ExportResult, metadata, trace
from exporter.publish import check_target, disk_errors, publish, workspace
from exporter.quantisation import checks, sources
from exporter.quantisation.candidates import Candidate, Progress, Step, Task, make
from exporter.quantisation.forms import forms
from exporter.quantisation.goal import check_formats, find, given_targets, measure, with_folders
from exporter.quantisation.lines import lines
from exporter.quantisation.measure import judge
from exporter.quantisation.options import CALIBRATED
from exporter.quantisation.preprocess import Preprocessing, known
from exporter.quantisation.profile import Profile, profile
from exporter.quantisation.recorded import compare
from exporter.quantisation.samples import Division, SampleSet, divide
from exporter.quantisation.search import Search
from exporter.quantisation.speed import Speed
from exporter.quantisation.speed import compare as compare_speed
from exporter.runtimes.table import RUNTIMES, runtime
from exporter.samples import samples as made_samples
from exporter.source import LoadedModel, load_source

__all__ = ["QuantizeResult", "quantize"]

ALSO: Final = {"tflite": ("litert", "litert-reference"), "onnx": ("onnxruntime",)}
"""By format, the runtimes that every quantised file has to be opened and verified in."""

WHERE_INSTALLED: Final = {"tflite": ("tflite-micro",)}
"""The same, where they are installed and take such a file."""

SLOW: Final = frozenset({"litert-reference", "tflite-micro"})
"""Runtimes whose portable kernels are about a hundred times slower than others."""

SLOW_SAMPLES: Final = 100
"""Samples that such a runtime verifies."""


@dataclasses.dataclass(frozen=True)
class QuantizeResult(ExportResult):
    """What a quantisation gave, beside what an export gives.

    Attributes:
        candidates: by format, every form and way to find ranges that was tried, best first; the first was kept.
        contents: by format, what was found in the file.
        warnings: what was said about the calibration data.
        verified_on: the samples that the figures are of, in words.
        facts: by format, figures that runtimes told: `arena_bytes` of TFLite Micro; of LiteRT with XNNPACK, how many
            operations it does not take (`undelegated`).
        searches: by format, what --max-drop found.
        speeds: by format, one inference of the float file and of the quantised one, here.
        profiles: by format, what a report draws, where that was asked for.
        gates: what was asked for.
    """

    candidates: dict[str, tuple[Candidate, ...]] = dataclasses.field(default_factory=dict)
    contents: dict[str, Contents] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verified_on: str = ""
    facts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    searches: dict[str, Search] = dataclasses.field(default_factory=dict)
    speeds: dict[str, Speed] = dataclasses.field(default_factory=dict)
    profiles: dict[str, Profile] = dataclasses.field(default_factory=dict)
    gates: Gates = dataclasses.field(default_factory=Gates)

    @property
    def passed(self) -> bool:
        """Whether no gate was missed, and --max-drop reached where it was asked for."""
        return all(report.passed for report in self.reports) and all(each.reached for each in self.searches.values())


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known before anything is converted."""

    source: LoadedModel
    traced: Any
    preprocess: Preprocessing | None
    data: Division | None
    verify: SampleSet
    warnings: tuple[str, ...]


def quantize(
    model: Any = None,
    options: ExportOptions | None = None,
    *,
    on_step: Step = lambda step: None,
    on_progress: Progress = lambda done, of: None,
) -> QuantizeResult:
    """Quantise a model, check the result and measure it against the float model on samples of its own.

    Args:
        model: as for `export`; it is not changed.
        options: what to write, and how; int8 TFLite of `cbam-mnist` into `exported/` by default.
        on_step: told what is being done, before it is done.
        on_progress: told how many of how many samples are done, of what takes long.

    Raises:
        UsageError: the model cannot be opened or quantised as asked, the calibration data are not what it was made for,
            or the output cannot be written.
        ConversionError: a converter failed or died, or its result is not what was asked for or is refused by a runtime.
        RuntimeUnavailableError: a runtime that was asked for is not installed.
    """
    options = options or ExportOptions(formats=("tflite",), precision=Precision.INT8)
    if options.precision is Precision.FP32:
        raise OptionError("fp32 is not a quantisation; export() writes it")
    if not options.verify:
        raise OptionError("--no-verify is for fp32; what is quantised is always measured")
    names = {name: _runtimes(name, options) for name in options.formats}
    for name in dict.fromkeys(each for row in names.values() for each in row):
        runtime(name).version()  # raises, before anything slow, if it is not there
    if options.output.exists() and not options.output.is_dir():
        raise OutputError(f"{options.output}: is a file; --output takes a folder")
    ready = _prepare(model, options, on_step, on_progress)
    with Child("tflite" if "tflite" in options.formats else "onnx") as child:
        return _convert_all(ready, options, child, names, (on_step, on_progress))


def _runtimes(format_name: str, options: ExportOptions) -> list[str]:
    """Where the artifact has to open and is verified: the fixed ones, those asked for, and those that are installed."""
    names = [*ALSO[format_name]]
    names += [name for name in options.runtimes if RUNTIMES[name].can_run(format_name, options.precision)]
    for name in WHERE_INSTALLED.get(format_name, ()):
        row = RUNTIMES[name]
        if row.can_run(format_name, options.precision) and (row.open_batch or options.batch != "dynamic"):
            with contextlib.suppress(RuntimeUnavailableError):
                runtime(name).version()
                names.append(name)
    return list(dict.fromkeys(names))


def _prepare(model: Any, options: ExportOptions, on_step: Step, on_progress: Progress) -> _Known:
    """Load, trace, and read and check the data: all that can be at fault before the first conversion."""
    asked, warnings = options.quantisation, list[str]()
    source = load_source(model, options.input_shapes, on_step)
    for name in options.formats:
        check_target(options.output / FORMATS[name].file_name(source.name, options.precision), source.path)
    on_step("tracing the model for inference")
    traced = trace(source, options)
    preprocess = asked.preprocess or known(source.keras, source.zoo is not None)
    value_range = options.input_range or known_range(source)
    if preprocess is None and value_range is not None:
        low, high = value_range
        preprocess = Preprocessing((high - low) / 255, (-low,), source="the range of --input-range")
    zoo = source.zoo if traced.inputs[0].shape[1:] == (28, 28, 1) else None
    if asked.calibration is None and zoo is None and options.precision in CALIBRATED:
        raise CalibrationError(
            f"{options.precision} needs samples like those that {source.origin} will see: give --calibration PATH, a "
            f"folder of images, a .npy or .npz file, or a TFRecord file"
        )
    check_formats(asked, len(traced.outputs))
    targets = given_targets(asked, own=asked.calibration is None)
    spec = traced.inputs[0]
    zoo_tests = None
    if zoo is not None:
        images = zoo.test_images()
        names = tuple(f"test image {place}" for place in range(len(images)))
        zoo_tests = SampleSet({spec.name: images}, f"{len(images)} test images of {zoo.name}", names)
        if asked.targets is not None and asked.calibration is None:
            zoo_tests = dataclasses.replace(zoo_tests, targets=zoo.test_labels().astype(np.int64))
    if asked.calibration is not None:
        on_step("reading the calibration data")
        wanted = sources.Wanted(tuple(traced.inputs), preprocess, seed=asked.seed, targets=targets)
        every = sources.read(asked.calibration, wanted, on_progress)
        classes = options.labels or (source.zoo.labels if source.zoo else None)
        every = with_folders(every, asked, classes, traced.outputs[0].shape[-1] if traced.outputs[0].shape else None)
    elif zoo is not None:
        images = zoo.calibration_images()
        names = tuple(f"calibration image {place}" for place in range(len(images)))
        every = SampleSet({spec.name: images}, f"{len(images)} calibration images of {zoo.name}", names)
    else:
        arrays, described = made_samples(traced.inputs, value_range, None)
        count = len(next(iter(arrays.values())))
        every = SampleSet(arrays, described, tuple(f"sample {place}" for place in range(count)))
        return _Known(source, traced, preprocess, None, every, ())
    on_step("checking the calibration data")
    _check(every, source, traced, preprocess, (options, warnings.append))
    cast = {spec.name: every.arrays[spec.name].astype(spec.dtype) for spec in traced.inputs}
    every = dataclasses.replace(every, arrays=cast)
    held = zoo_tests if asked.targets is None or asked.calibration is None else None
    data = divide(every, asked.samples, asked.seed, held)
    return _Known(source, traced, preprocess, data, data.verify, tuple(warnings))


def _check(
    every: SampleSet,
    source: LoadedModel,
    traced: Any,
    preprocess: Preprocessing | None,
    how: tuple[ExportOptions, Callable[[str], None]],
) -> None:
    options, warn = how
    asked, specs = options.quantisation, tuple(traced.inputs)
    checks.check_form(every, specs)
    checks.check_count(every, asked.min_samples, asked.force, warn)
    expected = None
    value_range = options.input_range or known_range(source)
    if value_range is not None:
        why = "--input-range" if options.input_range else "what the model was trained on or begins with"
        expected = checks.Expected(*value_range, why)
    elif preprocess is not None:
        expected = checks.Expected(*preprocess.range, preprocess.source)
    checks.check_values(every, specs, expected, asked.force, warn)
    record = compare(source.keras, every, specs[0].layout)
    for fault in record.faults() if record else ():
        if not asked.force:
            raise CalibrationError(f"{every.described}: {fault} (--force to use them as they are)")
        warn(f"forced: {every.described}: {fault}")


def _convert_all(
    ready: _Known, options: ExportOptions, child: Child, names: dict[str, list[str]], how: tuple[Step, Progress]
) -> QuantizeResult:
    on_step, on_progress = how
    source, traced, asked = ready.source, ready.traced, options.quantisation
    settings = ConversionSettings(
        metadata=_metadata(ready, options),
        precision=options.precision,
        opset=options.opset or DEFAULT_OPSET,
        inputs_as_nchw=options.inputs_as_nchw,
        select_tf_ops=options.select_tf_ops,
    )
    on_step(f"running the model itself on {ready.verify.described}")
    expected = run_model(traced, ready.verify.arrays)
    choice = run_model(traced, ready.data.choose.arrays) if ready.data is not None else {}
    candidates, contents = dict[str, tuple[Candidate, ...]](), dict[str, Contents]()
    searches, speeds, profiles = dict[str, Search](), dict[str, Speed](), dict[str, Profile]()
    artifacts, facts = list[Artifact](), dict[str, dict[str, int]]()
    reports = list[ParityReport]()
    with workspace(options.output) as folder:
        for name in options.formats:
            here = tuple(each for each in names[name] if not RUNTIMES[each].emulated)
            inner = _inner(folder, name)
            judge_by = measure(asked, ready.data.choose) if ready.data is not None else None
            task = Task(name, options, settings, inner, child, ready.data, choice, here, on_step, on_progress, judge_by)
            candidates[name] = tuple(make(task, forms(source, traced, options, name, on_step)))
            chosen, kept = candidates[name][0], None
            path = folder / FORMATS[name].file_name(source.name, options.precision)
            if asked.max_drop is not None:
                searches[name] = kept = find(task, chosen, choice, options.output / path.name)
                chosen = kept.candidate
            best = _complete(task, chosen, path, kept)
            assert chosen.recipe is not None
            keep = (kept.keys, kept.wish.kept_as) if kept is not None else ()
            contents[name] = check(best, chosen.recipe.plain, task.io, *keep)
            on_step(f"timing {best.path.name} beside the float file")
            speeds[name] = compare_speed(chosen.recipe.plain, best)
            if asked.profile:
                on_step(f"looking into {best.path.name}")
                inner_samples = ready.data.choose if ready.data is not None else ready.verify
                profiles[name] = profile(chosen, best, inner_samples.arrays)
            given, facts[name] = _verify(best, names[name], ready.verify.arrays, expected, (options, on_step))
            artifacts.append(best)
            reports += given
        published = []
        for artifact in artifacts:
            target = options.output / artifact.path.name
            with disk_errors(options.output):
                publish(artifact, target)
            published.append(dataclasses.replace(artifact, path=target))
    at = {str(artifact.path): str(options.output / artifact.path.name) for artifact in artifacts}
    reports = [dataclasses.replace(report, artifact=at[report.artifact]) for report in reports]
    return QuantizeResult(
        artifacts=tuple(published),
        reports=tuple(reports),
        reference=None,
        candidates=candidates,
        contents=contents,
        warnings=ready.warnings,
        verified_on=_held_out(ready),
        facts=facts,
        searches=searches,
        speeds=speeds,
        profiles=profiles,
        gates=asked.gates,
    )


def _inner(folder: Path, name: str) -> Path:
    made = folder / f"work-{name}"
    made.mkdir()
    return made


def _metadata(ready: _Known, options: ExportOptions) -> dict[str, Any]:
    made = metadata(ready.source, ready.traced, options, options.input_range or known_range(ready.source))
    if ready.preprocess is not None:
        for entry in made["preprocessing"].values():
            if entry["layout"]:
                entry["pixels"] = ready.preprocess.to_json()
    if ready.data is not None:
        made["calibration"] = {**ready.data.calibrate.to_json(), "seed": options.quantisation.seed}
    return made


def _complete(task: Task, best: Candidate, path: Path, kept: Search | None) -> Artifact:
    """The chosen file under its name, with everything that is known of it inside."""
    assert best.artifact is not None
    told: dict[str, Any] = {"quantisation": {**best.to_json(), "io": task.io, "lines": lines(best.artifact)}}
    if kept is not None:
        told["quantisation"]["kept"] = {kept.wish.kept_as: [each.layer.label for each in kept.kept]}
    if best.form.lowered is not None:
        told["lowered"] = dict(best.form.lowered)
    settings = dataclasses.replace(task.settings, metadata={**task.settings.metadata, **told})
    if task.format == "tflite":
        from converters.tflite import append_metadata, without_metadata

        path.write_bytes(without_metadata(best.artifact.path))
        append_metadata(path, settings)
    else:
        from converters.onnx import put_metadata

        put_metadata(best.artifact.path, path, settings)
    sha256, size = fingerprint_path(path)
    return dataclasses.replace(best.artifact, path=path, sha256=sha256, size=size, metadata=settings.metadata)


def _verify(
    artifact: Artifact, names: list[str], inputs: Arrays, expected: Arrays, how: tuple[ExportOptions, Step]
) -> tuple[list[ParityReport], dict[str, int]]:
    """Open the file in each runtime and judge it there.

    Raises:
        ConversionError: one of them refuses it.
    """
    options, on_step = how
    reports, facts = list[ParityReport](), dict[str, int]()
    for name in names:
        on_step(f"verifying {artifact.path.name} in {name}")
        with runtime(name).open(artifact) as session:
            facts |= dict(session.facts)
            count = SLOW_SAMPLES if name in SLOW or RUNTIMES[name].emulated else None
            fewer = [{key: array[:count] for key, array in arrays.items()} for arrays in (inputs, expected)]
            verdicts = judge(session, artifact, fewer[0], fewer[1], options.quantisation.gates)
            told = f"{session.description}, {len(next(iter(fewer[0].values())))} samples"
            reports.append(ParityReport(str(artifact.path), told, verdicts))
    return reports, facts


def _held_out(ready: _Known) -> str:
    """The samples that the figures are of, in words."""
    if ready.data is None:
        return ready.verify.described
    return f"{len(ready.verify)} of {ready.verify.described}, which nothing was chosen by"


def failures(result: QuantizeResult) -> Iterator[str]:
    """Why it did not pass, a line each."""
    for name, found in result.searches.items():
        if not found.reached:
            yield (
                f"{name}: --max-drop is not reached with all operations in {found.wish.kept_as}; expected "
                f"{found.wish.told}; --io float32 spares inputs and outputs too"
            )
    for report in result.reports:
        for name, verdict in report.outputs.items():
            if verdict.reason:
                yield f"{report.artifact}: {name}: {verdict.verdict}: {verdict.reason} ({report.runtime})"
