"""The way from a model to an artifact that can be trusted: load, trace, convert, check, publish, verify."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact, Precision, fingerprint_path
from converters.deploy.lower import Lowered
from converters.deploy.targets import Target
from converters.deploy.winograd import RULE as WINOGRAD
from converters.errors import CbamError, ConversionError, ModelError, OutputError, RuntimeUnavailableError
from converters.settings import DEFAULT_OPSET, ConversionSettings
from exporter.formats import FORMATS
from exporter.indices import index_counts
from exporter.model_run import known_range, make_reference, version
from exporter.options import ExportOptions
from exporter.parity.check import ParityReport, Reference, by_position, check
from exporter.publish import check_target, disk_errors, publish, workspace
from exporter.runtimes.base import Runtime, Session
from exporter.runtimes.table import runtime
from exporter.samples import Range, samples, takes_range
from exporter.source import LoadedModel, load_source

Step = Callable[[str], None]

_VERSIONED: Final = ("cbam-export", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What an export gave: artifacts in the order of the formats asked for, and a report for each that was verified.

    `reference` is what they were verified against, None with `verify=False`. `unopened` are artifacts that no runtime
    here can open, which are written only with `verify=False`. `lowered` is what was done to the model for each format
    that it was lowered for.
    """

    artifacts: tuple[Artifact, ...]
    reports: tuple[ParityReport, ...]
    reference: Reference | None
    unopened: tuple[Path, ...] = ()
    lowered: Mapping[str, Lowered] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no verification failed; an output that is NOT INFORMATIVE has not."""
        return all(report.passed for report in self.reports)


def export(
    model: Any = None, options: ExportOptions | None = None, *, on_step: Step = lambda step: None
) -> ExportResult:
    """Export a model to one or more formats and verify each in its own runtime.

    Args:
        model: a Keras model, a `.keras`/`.h5` file, a SavedModel folder, a zoo name or a backbone name; `cbam-mnist` if
            None. It is not changed.
        options: what to write, and how; ONNX of `cbam-mnist` into `exported/` by default.
        on_step: told what is being done, before it is done.

    Raises:
        UsageError: the model cannot be opened or exported as asked, or the output not written.
        ConversionError: a converter failed, or its result does not pass its own checker.
        RuntimeUnavailableError: the format's runtime is not installed.

    All formats are published or, where one of these is raised, none, and what stood there before stands there still;
    only a disk that fails during the last renames can leave some of several formats published, each of them whole.
    """
    options = options or ExportOptions()
    if options.precision is not Precision.FP32:
        from exporter.quantisation.flow import quantize

        return quantize(model, options, on_step=on_step)
    runtimes = {name: [runtime(each) for each in options.runtimes_of(name)] for name in options.formats}
    for opener in (each for openers in runtimes.values() for each in openers):
        opener.version()  # raises, before anything slow, if it is not there
    if options.output.exists() and not options.output.is_dir():
        raise OutputError(f"{options.output}: is a file; --output takes a folder")
    source = load_source(model, options.input_shapes, on_step)
    targets = {
        name: options.output / FORMATS[name].file_name(source.name, options.precision) for name in options.formats
    }
    for target in targets.values():
        check_target(target, source.path)
    on_step("tracing the model for inference")
    traced = trace(source, options)
    value_range = options.input_range or known_range(source)
    common = _settings(source, traced, options, value_range)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(workspace(options.output))
        complete: dict[str, Artifact] = {}
        lowered: dict[str, Lowered] = {}
        sessions: dict[str, list[Session]] = {}
        for name in options.formats:
            ready, settings = traced, common
            if options.lower and options.precision in FORMATS[name].targets:
                fast = FORMATS[name].targets[options.precision][0]
                on_step(f"lowering the model for {fast}")
                left_out = () if options.winograd else (WINOGRAD,)
                ready, lowered[name] = lower_for(fast, source, traced, value_range, left_out)
                told = {**settings.metadata, "lowered": lowered[name].summary()}
                settings = dataclasses.replace(settings, metadata=told)
            on_step(f"converting to {name}")
            with disk_errors(options.output):
                complete[name] = _convert(name, ready, folder / targets[name].name, settings)
            sessions[name] = []
            for opener in runtimes[name]:
                on_step(f"opening it in {opener.version()}")
                session = _open(opener, complete[name], options)
                sessions[name] += [] if session is None else [stack.enter_context(session)]
        reference = None
        if options.verify:
            on_step("running the model itself")
            reference = make_reference(source, traced, value_range)
        # From here on nothing of the request can be at fault: all formats are published, or none was.
        artifacts = {name: dataclasses.replace(complete[name], path=targets[name]) for name in options.formats}
        for name in options.formats:
            with disk_errors(options.output):
                publish(complete[name], targets[name])
        reports = []
        for name, session in ((name, each) for name, opened in sessions.items() for each in opened):
            if reference is not None:
                on_step(f"running {name} on {reference.samples} samples in {session.description}")
                reports.append(_verify(session, artifacts[name], reference, traced))
        unopened = tuple(artifacts[name].path for name, opened in sessions.items() if not opened)
    return ExportResult(tuple(artifacts.values()), tuple(reports), reference, unopened, lowered)


def trace(source: LoadedModel, options: ExportOptions) -> Any:
    """The one inference function that every format is converted from (`converters.trace.TracedModel`)."""
    from converters.trace import trace_keras, trace_saved_model

    if source.keras is not None:
        # A backbone was built on the shapes that were asked for; to apply them again would change nothing.
        return trace_keras(source.keras, options.batch, options.input_shapes)
    return trace_saved_model(source.saved, options.batch, options.input_shapes)


def lower_for(
    target: Target, source: LoadedModel, traced: Any, value_range: Range | None, without: Collection[str] = ()
) -> tuple[Any, Lowered]:
    """The traced model lowered for a target, proved on real samples too where there are any; and what was done.

    without: rules that are not to be applied.

    Raises:
        ConversionError: the lowering itself failed.
    """
    from converters.deploy.traced import lower_traced

    try:
        given, _ = samples(traced.inputs, value_range, source.zoo, index_counts(source.keras, traced.inputs))
    except ModelError:
        given = {}
    try:
        return lower_traced(traced, target, given or None, without)
    except CbamError:
        raise
    except Exception as error:  # Keras and TensorFlow raise many kinds
        text = " ".join(str(error).split())[:300]
        raise ConversionError(f"lowering for {target} failed: {text}; --no-lower exports the plain graph") from error


def metadata(source: LoadedModel, traced: Any, options: ExportOptions, value_range: Range | None) -> dict[str, Any]:
    """What is stored inside the artifact: no path, no user name, no time, so that equal input gives equal bytes."""
    labels = options.labels or (source.zoo.labels if source.zoo else None)
    classes = {spec.shape[1] for spec in traced.outputs if len(spec.shape) == 2}
    if options.labels and len(options.labels) not in classes:
        have = " and ".join(str(spec) for spec in traced.outputs)
        raise ModelError(f"{len(options.labels)} labels were given; the model has the outputs {have}")
    if source.zoo and options.input_range not in (None, known_range(source)):
        raise ModelError(f"{source.name} takes values in 0..1; it was trained so, and --input-range cannot change that")
    return {
        "name": source.name,
        "description": source.zoo.summary if source.zoo else f"exported by cbam-export from {source.origin}",
        "labels": list(labels) if labels else None,
        "preprocessing": {
            spec.name: {
                "layout": spec.layout,
                "range": list(value_range) if value_range and takes_range(spec) else None,
                "dtype": spec.dtype,
            }
            for spec in traced.inputs
        },
        "provenance": {
            "source": source.origin,
            "kind": source.kind,
            "weights_sha256": traced.fingerprint,
            "versions": {name: version(name) for name in _VERSIONED} | {"python": platform.python_version()},
        },
    }


def _settings(
    source: LoadedModel, traced: Any, options: ExportOptions, value_range: Range | None
) -> ConversionSettings:
    return ConversionSettings(
        metadata=metadata(source, traced, options, value_range),
        precision=options.precision,
        opset=options.opset or DEFAULT_OPSET,
        inputs_as_nchw=options.inputs_as_nchw,
        flat_images=options.lower,
        select_tf_ops=options.select_tf_ops,
    )


def _open(opener: Runtime, artifact: Artifact, options: ExportOptions) -> Session | None:
    """The open session, or None where that is not possible here and verification was not asked for."""
    try:
        return opener.open(artifact)
    except RuntimeUnavailableError:
        if options.verify:
            raise
        return None


def _convert(name: str, traced: Any, path: Path, settings: ConversionSettings) -> Artifact:
    row = FORMATS[name]
    try:
        inputs, outputs = row.load_converter()(traced, path, settings)
    except (CbamError, OSError):
        raise
    except Exception as error:  # TensorFlow, tf2onnx and onnx raise many kinds
        text = " ".join(str(error).split())[:300]
        raise ConversionError(f"the {name} converter failed: {type(error).__name__}: {text}") from error
    sha256, size = fingerprint_path(path)
    return Artifact(path, name, settings.precision, inputs, outputs, sha256, size, settings.metadata)


def _verify(session: Session, artifact: Artifact, reference: Reference, traced: Any) -> ParityReport:
    names = by_position(
        [spec.name for spec in (*traced.inputs, *traced.outputs)],
        [spec.name for spec in (*artifact.inputs, *artifact.outputs)],
    )
    turned = dict(reference.inputs)
    for model, declared in zip(traced.inputs, artifact.inputs, strict=True):
        if (model.layout, declared.layout) == ("NHWC", "NCHW"):
            turned[model.name] = np.ascontiguousarray(turned[model.name].transpose(0, 3, 1, 2))
    given = dataclasses.replace(reference, inputs=turned)
    verdicts = check(session, given, names, artifact.inputs[0].shape[0])
    return ParityReport(str(artifact.path), session.description, verdicts)
