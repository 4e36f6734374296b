"""Behind `cbam bench`: models and ready artifacts side by side."""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, TensorSpec
from converters.errors import ConversionError, ModelError, OptionError
from exporter.bench.agreement import agreement, real_specs, run_artifact
from exporter.bench.files import SUFFIXES, open_artifact
from exporter.bench.machine import OtherWork, machine, warnings_after, warnings_before
from exporter.bench.naive import NAIVE, make_naive
from exporter.bench.options import BenchOptions
from exporter.bench.profile import look_into
from exporter.bench.result import Agreement, BenchReport, Candidate, Comparison, Measured, Role, Timing
from exporter.bench.statistics import Estimate, difference, estimate, median, paired_ratio, quantile
from exporter.bench.timing import TIMERS, Times, take_times
from exporter.formats import FORMATS
from exporter.model_run import known_range, version
from exporter.options import ExportOptions
from exporter.quantisation.options import CALIBRATED, QuantisationOptions
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import LoadedModel, load_source

Step = Callable[[str], None]

SAMPLES: Final = 16
"""On which outputs are compared, and to which the stock int8 converter is calibrated at most 100."""

CALIBRATION: Final = 100
_VERSIONED: Final = ("cbam-export", "ai-edge-litert", "onnxruntime", "tensorflow", "keras", "tf2onnx", "numpy")


def benchmark(
    models: Any = None, options: BenchOptions | None = None, *, on_step: Step = lambda step: None
) -> BenchReport:
    """Time models and ready artifacts beside each other.

    Args:
        models: one or several of: what `export` takes, which is exported first; a `.tflite` or `.onnx` file, with its
            sidecar or without; an `Artifact`. `cbam-mnist` if None.
        options: how; LiteRT and ONNX Runtime, fp32, on one and on all threads by default.
        on_step: told what is being done, before it is done.

    Raises:
        UsageError: something that is no model and no artifact, artifacts of different batches, or nothing to compare
            `against`.
        ConversionError: a model cannot be exported, or a runtime refuses an artifact.
        RuntimeUnavailableError: a runtime is not installed.
    """
    options = options or BenchOptions()
    here = machine()  # before our own work raises the load
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cbam-bench-") as folder:
        made = _Bench(options, Path(folder), on_step, notes)
        for model in _each(models):
            made.add(model)
        found = made.candidates
        _check_comparable(found, notes)
        for name in dict.fromkeys(TIMERS[each.artifact.format].runtime for each in found):
            runtime(name).version()  # raises, before anything slow, if it is not there
        looks = []
        for each in found:
            on_step(f"looking into {each.label}")
            looks.append(look_into(each.artifact, options.profile))
        agreements = made.agreements()
        artifacts = [each.artifact for each in found]
        counts = options.thread_counts()
        other = OtherWork()
        taken = {
            threads: take_times(artifacts, threads, options.seconds, options.launches, on_step) for threads in counts
        }
        busy = other.cores()
    measured = tuple(
        Measured(
            candidate,
            TIMERS[candidate.artifact.format].runtime,
            looks[index],
            tuple(_timing(threads, times[index]) for threads, times in taken.items()),
            agreements[index],
        )
        for index, candidate in enumerate(found)
    )
    return BenchReport(
        machine=here,
        versions={name: version(name) for name in _VERSIONED} | {"python": platform.python_version()},
        seconds=options.seconds,
        launches=options.launches,
        measured=measured,
        comparisons=tuple(_compared(found, taken)),
        warnings=(*warnings_before(here, counts), *warnings_after(busy)),
        notes=tuple(notes),
        other_cores=busy,
    )


class _Bench:
    """The candidates of one benchmark, while they are made."""

    def __init__(self, options: BenchOptions, folder: Path, on_step: Step, notes: list[str]) -> None:
        self._options, self._folder, self._step, self._notes = options, folder, on_step, notes
        self.candidates: list[Candidate] = []
        self._references: dict[str, _Reference] = {}

    def add(self, model: Any) -> None:
        """All candidates that one model or artifact stands for."""
        if isinstance(model, Artifact):
            self._given(model)
        elif _is_artifact(model):
            self._given(open_artifact(Path(model)))
        else:
            self._made(model)

    def agreements(self) -> list[Agreement | None]:
        """Each candidate beside its model, or ready artifacts beside the first of them; None where that is not said."""
        found: list[Agreement | None] = []
        for each in self.candidates:
            self._step(f"running {each.label} on samples")
            found.append(None if each.role is Role.NONE else self._agreement(each))
        return found

    def _agreement(self, candidate: Candidate) -> Agreement | None:
        known = self._references.get(candidate.model if candidate.role is not Role.GIVEN else "")
        try:
            if known is None:  # the first of the ready artifacts
                inputs = _samples_for(candidate.artifact)
                self._references[""] = _Reference(candidate.label, inputs, run_artifact(candidate.artifact, inputs))
                return None
            return agreement(known.outputs, run_artifact(candidate.artifact, known.inputs), known.described)
        except ModelError as error:
            self._notes.append(f"{candidate.label}: outputs were not compared: {error}")
            return None

    def _given(self, artifact: Artifact) -> None:
        if artifact.format not in TIMERS:
            raise OptionError(f"{artifact.path}: {artifact.format} is not timed; {' and '.join(TIMERS)} are")
        if self._options.against:
            self._notes.append(f"{artifact.path.name}: a ready artifact holds no model to put beside it")
        name = artifact.path.name
        self._add(Candidate(name, Role.GIVEN, "as given", artifact))

    def _made(self, model: Any) -> None:
        source = load_source(model, on_step=self._step)
        options = self._options
        formats = options.formats or tuple(name for name in TIMERS if options.precision in FORMATS[name].precisions)
        wants_none, wants_naive = ("none" in options.against, "naive" in options.against)
        if not formats:
            raise OptionError(
                f"{source.name}: {' and '.join(TIMERS)} cannot be written in {options.precision}; "
                f"a ready file of that precision can be timed as it is"
            )
        if options.against and source.keras is None:
            raise OptionError(f"{source.origin}: --against needs a Keras model; a SavedModel holds none")
        bare = self._bare(source) if wants_none else None
        exported = self._export(source, model, formats)
        if source.keras is not None:
            self._references[source.name] = _Reference.of(source)
        without = {} if bare is None else self._export(source, bare, formats, "-without")
        for name in formats:
            if name in without:
                self._add(Candidate(source.name, Role.NONE, "without attention", without[name]))
            if wants_naive:
                self._naive(source, name)
            self._add(Candidate(source.name, Role.OURS, "cbam-export", exported[name]))
        if wants_naive and not any(each.role is Role.NAIVE and each.model == source.name for each in self.candidates):
            raise ConversionError(f"--against naive: no stock converter makes a file that runs; {self._notes[-1]}")

    def _bare(self, source: LoadedModel) -> Any:
        from converters.deploy.without import without_attention

        self._step(f"taking the attention out of {source.name}")
        return without_attention(source.keras)[0]

    def _export(
        self, source: LoadedModel, model: Any, formats: tuple[str, ...], suffix: str = ""
    ) -> dict[str, Artifact]:
        from exporter.pipeline import export

        asked = ExportOptions(
            formats=formats,
            precision=self._options.precision,
            output=self._folder / f"{len(self.candidates)}-{source.name}{suffix}",
        )
        if asked.precision is Precision.FP32:
            asked = dataclasses.replace(asked, verify=False)
        else:
            asked = dataclasses.replace(asked, quantisation=self._quantisation(source))
        result = export(model, asked, on_step=self._step)
        return {artifact.format: artifact for artifact in result.artifacts}

    def _quantisation(self, source: LoadedModel) -> QuantisationOptions:
        """By the same samples that the stock converter gets, with inputs and outputs of float32 like its own."""
        samples = None
        if self._options.precision in CALIBRATED:
            names = [tensor.name for tensor in source.keras.inputs]
            samples = dict(zip(names, _calibration(source), strict=True))
        # Forced, because what is timed does not depend on how well these samples suit the model.
        return QuantisationOptions(calibration=samples, io="float32", force=True)

    def _naive(self, source: LoadedModel, format_name: str) -> None:
        ways = NAIVE.get((format_name, self._options.precision), ())
        if not ways:
            raise OptionError(f"--against naive: no stock converter writes {format_name} in {self._options.precision}")
        for way in ways:
            self._step(f"converting {source.name} with {way.name}")
            path = self._folder / f"{len(self.candidates)}-naive{FORMATS[format_name].suffix}"
            try:
                artifact = open_artifact(make_naive(way, source.keras, _calibration(source), path))
                runtime(TIMERS[format_name].runtime).open(artifact).close()
            except ConversionError as error:
                told = str(error).removeprefix(f"{path.name}: ")
                self._notes.append(f"{source.name} {format_name}, {way.name}: not timed: {told}")
                continue
            self._add(Candidate(source.name, Role.NAIVE, way.name, artifact))

    def _add(self, candidate: Candidate) -> None:
        labels = {each.label for each in self.candidates}
        while candidate.label in labels:
            candidate = dataclasses.replace(candidate, number=candidate.number + 1)
        self.candidates.append(candidate)


@dataclasses.dataclass(frozen=True)
class _Reference:
    """What outputs are compared with: inputs and outputs in order, samples first."""

    described: str
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]

    @classmethod
    def of(cls, source: LoadedModel) -> _Reference:
        """The Keras model itself."""
        import keras

        inputs = _samples_of(source, SAMPLES)
        given = [keras.ops.convert_to_tensor(value) for value in inputs]
        made = source.keras(given[0] if len(given) == 1 else given, training=False)
        outputs = [np.asarray(keras.ops.convert_to_numpy(out), np.float64) for out in keras.tree.flatten(made)]
        return cls(f"Keras {keras.__version__}", inputs, outputs)


def _samples_of(source: LoadedModel, count: int) -> list[np.ndarray]:
    specs = [
        TensorSpec(tensor.name, tuple(tensor.shape), str(tensor.dtype), "NHWC" if len(tensor.shape) == 4 else None)
        for tensor in source.keras.inputs
    ]
    values, _ = samples(specs, known_range(source), source.zoo)
    return [value[:count] for value in values.values()]


def _samples_for(artifact: Artifact) -> list[np.ndarray]:
    values, _ = samples(real_specs(artifact.inputs), None, None)
    return [value[:SAMPLES] for value in values.values()]


def _calibration(source: LoadedModel) -> Iterable[np.ndarray]:
    if source.zoo is not None:
        return [source.zoo.calibration_images()[:CALIBRATION]]
    return _samples_of(source, CALIBRATION)


def _each(models: Any) -> list[Any]:
    if isinstance(models, list | tuple):
        if not models:
            raise OptionError("nothing to time; give a model or an artifact")
        return list(models)
    return [models]


def _is_artifact(model: Any) -> bool:
    return isinstance(model, str | os.PathLike) and Path(model).suffix.lower() in SUFFIXES


def _check_comparable(found: Sequence[Candidate], notes: list[str]) -> None:
    """Refuse batches that differ; say where inputs do."""
    batches = {each.label: each.artifact.inputs[0].shape[0] or 1 for each in found}
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{label}: {batch}" for label, batch in batches.items())
        raise OptionError(
            f"artifacts of different batch sizes cannot be compared ({told}); export them with one --batch"
        )
    sizes = {
        each.label: sum(int(np.prod([n or 1 for n in spec.shape])) for spec in each.artifact.inputs) for each in found
    }
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{label}: {size:,}" for label, size in sizes.items())
        notes.append(f"the inputs are not of one size (numbers an example: {told})")


def _timing(threads: int, times: Times) -> Timing:
    return Timing(
        threads=threads,
        wall=estimate([median(launch) for launch in times.rounds]),
        quartiles=(quantile(times.inferences, 0.25), quantile(times.inferences, 0.75)),
        cpu=estimate([median(launch) for launch in times.cpu]),
        rounds=sum(map(len, times.rounds)),
        inferences=len(times.inferences),
        peak_bytes=times.peak_bytes,
        model_bytes=times.peak_bytes - times.empty_bytes,
    )


def _compared(found: Sequence[Candidate], taken: dict[int, list[Times]]) -> Iterable[Comparison]:
    for threads, times in taken.items():
        for later in range(len(found)):
            for earlier in range(later):
                wall: Estimate = paired_ratio(times[later].rounds, times[earlier].rounds)
                cpu = paired_ratio(times[later].cpu, times[earlier].cpu)
                yield Comparison(threads, found[later].label, found[earlier].label, wall, cpu, difference(wall))
