"""`exporter.reference`: a model's inputs and outputs, their float64 truth, and where they were computed, in one file.

No TensorFlow is needed here unless Keras runs on it or the model is a SavedModel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import ModelError, OptionError, OutputError
from exporter.environment import choose_device, environment
from exporter.indices import index_counts
from exporter.model_run import MIXING, known_range
from exporter.parity.cases import FACTORS, SCALED_CASE, edge_cases, join, scaled, worst
from exporter.parity.check import run_in_batches
from exporter.parity.prediction import largest
from exporter.parity.record import BlockGates, Record, write
from exporter.parity.verdict import Workload
from exporter.samples import Range, samples
from exporter.source import LoadedModel, load_source
from exporter.truth import Truth, distances, make_truth

if TYPE_CHECKING:
    from converters.calls import Call
    from converters.execution import Runner

Step = Callable[[str], None]
Arrays = Mapping[str, np.ndarray]

CALL: Final = 64  # samples a call, where the model leaves the batch open
GATED: Final = 8  # real samples for which the gates are kept


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceOptions:
    """One recording.

    Attributes:
        device: cpu or gpu; None: a GPU where Keras sees one.
        samples: of the real case at most; None: all.
        inputs: a file or folder of the user's own (`exporter.inputs`); None: those that an export is verified on.
        input_shapes: sizes per sample by input name, for what the model leaves open.
        input_range: smallest and largest value the model expects; None: what is known of the model.
        overwrite: replace the file if it exists.

    Raises:
        OptionError: on construction, for a value that is not valid.
    """

    device: str | None = None
    samples: int | None = None
    inputs: Path | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    input_range: Range | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.device not in (None, "cpu", "gpu"):
            raise OptionError(f"--device takes cpu or gpu; got {self.device!r}")
        if self.samples is not None and self.samples < 2:
            raise OptionError(f"--samples takes a number of at least 2, or nothing can vary; got {self.samples}")
        if self.input_range is not None and not self.input_range[0] < self.input_range[1]:
            low, high = self.input_range
            raise OptionError(f"--input-range takes MIN,MAX with MIN below MAX; got {low:g},{high:g}")


def reference(
    model: Any = None,
    output: str | Path | None = None,
    options: ReferenceOptions | None = None,
    *,
    on_step: Step = lambda step: None,
) -> Record:
    """Record what a model gives, in the Keras backend at hand, and its float64 truth on the CPU.

    Args:
        model: as for `exporter.export`.
        output: the `.npz` file to write; None writes nothing.
        options: device, samples, inputs.
        on_step: told what is being done, before it is done.

    Raises:
        ModelError: the model cannot be opened or run, or gives NaN or infinity on its real inputs.
        OutputError: the file exists, or cannot be written.
        RuntimeUnavailableError: there is no such device.
    """
    options = options or ReferenceOptions()
    path = None if output is None else Path(output)
    if path is not None:
        _check_target(path, options.overwrite)
    on_step("starting Keras")
    device = choose_device(options.device)
    from converters.execution import on

    with on(device):
        source = load_source(model, options.input_shapes, on_step)
    record = _record(source, device, options, on_step)
    if path is not None:
        on_step(f"writing {path.name}")
        write(record, path)
    return record


def _record(source: LoadedModel, device: Any, options: ReferenceOptions, on_step: Step) -> Record:
    from converters.calls import keras_call, layout, saved_model_call
    from converters.execution import Runner, on

    with on(device):
        if source.keras is not None:
            call = keras_call(source.keras, options.input_shapes)
        else:
            call = saved_model_call(source.saved, options.input_shapes)
    specs = tuple(_closed(spec, call) for spec in call.inputs)
    specs = tuple(dataclasses.replace(s, layout=layout(s.shape, call.data_format)) for s in specs)
    real, described = _real(source, specs, options)
    runner = Runner(call, [spec.name for spec in specs], call.output_names, device)
    on_step("looking for its float64 truth")
    truth, remarks = _truth(call, runner, real)
    indices = index_counts(source.keras, specs)
    edges = edge_cases(real, options.input_range or known_range(source), indices)
    parts = [("inputs", described, real), *edges]
    adversarial = _scaled(runner, truth, scaled(real, indices))
    if adversarial is not None:
        parts.append(adversarial)
    inputs, cases = join(parts)
    batch, repeatable = _behaviour(runner, {name: array[:CALL] for name, array in real.items()}, call.own_batch)
    size = batch or min(CALL, len(next(iter(inputs.values()))))
    on_step(f"running the model on {device}")
    outputs = run_in_batches(runner, inputs, size)
    _check_finite(outputs, cases[0].count)
    exact, noise, work = None, {}, _workload(source, call)
    if truth is not None:
        on_step("running it in float64 and in lower precision on the CPU")
        exact = truth.run(inputs, size)
        noise = {"reference": distances(outputs, exact), **truth.noise(inputs, exact, cases[0].count, size)}
        work = dataclasses.replace(work, averaged=truth.averaged(_first(inputs, size)))
    on_step("evaluating the gates of its CBAM blocks")
    gates, unproved = truth.gates(_first(real, GATED)) if truth is not None else ((), ())
    remarks += [f"the gates of {name} are left out: CBAM's equations do not give what it gives" for name in unproved]
    policies = _policies(call)
    outs = (
        TensorSpec(name, (call.own_batch, *a.shape[1:]), a.dtype.name, layout(a.shape, call.data_format))
        for name, a in outputs.items()
    )
    return Record(
        name=source.name,
        input_specs=specs,
        output_specs=tuple(outs),
        cases=cases,
        inputs=inputs,
        outputs=outputs,
        truth=exact,
        noise=noise,
        gates=tuple(BlockGates(each.block.name, each.block.kind, each.channel, each.spatial) for each in gates),
        workload=work,
        fingerprint=weights_fingerprint(source),
        batch=batch,
        environment=environment(device, policies, repeatable),
        remarks=tuple(remarks),
    )


def _check_target(path: Path, overwrite: bool) -> None:
    if path.suffix != ".npz":
        raise OutputError(f"{path}: a reference is a .npz file; give a name that ends so")
    if path.is_dir() or path.is_symlink():
        raise OutputError(f"{path}: is a folder or a symbolic link; give another name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; --overwrite replaces it")


def _closed(spec: TensorSpec, call: Call) -> TensorSpec:
    if not spec.shape:
        raise ModelError(f"input {spec.name!r} is a scalar; only inputs with a batch can be recorded")
    if None in spec.shape[1:]:
        raise ModelError(f"input {spec} leaves sizes open; fix them with --input-shape, for example 224x224x3")
    return dataclasses.replace(spec, shape=(call.own_batch, *spec.shape[1:]))


def _real(
    source: LoadedModel, specs: tuple[TensorSpec, ...], options: ReferenceOptions
) -> tuple[dict[str, np.ndarray], str]:
    value_range = options.input_range or known_range(source)
    if options.inputs is not None:
        from exporter.inputs import load_inputs

        arrays, described = load_inputs(options.inputs, specs, value_range)
        _check_indices(arrays, index_counts(source.keras, specs), options.inputs)
    else:
        arrays, described = samples(specs, value_range, source.zoo, index_counts(source.keras, specs))
    have = len(next(iter(arrays.values())))
    if options.samples is None or options.samples == have:
        return arrays, described
    if options.samples > have:
        raise OptionError(f"--samples {options.samples}: there are {have} ({described}); --inputs takes your own")
    return _first(arrays, options.samples), f"the first {options.samples} of {described}"


def _check_indices(arrays: Arrays, counts: Mapping[str, int], path: Path) -> None:
    for name, count in counts.items():
        wrong = arrays[name][(arrays[name] < 0) | (arrays[name] >= count)]
        if wrong.size:
            raise ModelError(
                f"{path}: input {name!r} holds {wrong.flat[0]}; an Embedding reads it, which knows 0..{count - 1}"
            )


def _first(arrays: Arrays, count: int) -> dict[str, np.ndarray]:
    return {name: array[:count] for name, array in arrays.items()}


def _truth(call: Call, runner: Runner, real: Arrays) -> tuple[Truth | None, list[str]]:
    try:
        return make_truth(call, runner, _first(real, CALL)), []
    except ModelError as error:
        return None, [f"no float64 truth: {error}"]


def _scaled(runner: Runner, truth: Truth | None, every: Arrays | None) -> tuple[str, str, dict[str, np.ndarray]] | None:
    """Of scaled samples, those on which the model's own arithmetic does worst; each by another factor where no truth
    tells that."""
    if every is None:
        return None
    count = len(next(iter(every.values())))
    given = run_in_batches(runner, every, runner.own_batch or count)
    if any(len(value) != count for value in given.values()):
        return None
    exact = truth.run(every, runner.own_batch or count) if truth is not None else given
    errors = np.zeros(count)
    for name, value in exact.items():
        flat = np.abs(value.reshape(count, -1).astype(np.float64))
        off = distances({name: given[name]}, {name: value})[name]
        errors = np.maximum(errors, off / np.maximum(flat.max(1), np.finfo(np.float32).tiny))
    per = count // len(FACTORS)
    found = np.all([np.isfinite(value.reshape(count, -1)).all(1) for value in given.values()], axis=0)
    apart = [row for row in ((column % len(FACTORS)) * per + column for column in range(per)) if found[row]]
    rows = worst(errors) if truth is not None else apart
    if not rows:
        return None
    factors = ", ".join(f"{FACTORS[row // per]:g}" for row in rows)
    why = "what makes rounding worst" if truth is not None else "one each, since no truth tells which is worst"
    what = f"{len(rows)} of the inputs times {factors}: of {FACTORS[0]:g}..{FACTORS[-1]:g} {why}"
    return SCALED_CASE, what, {name: array[rows] for name, array in every.items()}


def _behaviour(runner: Runner, few: Arrays, own: int | None) -> tuple[int | None, bool]:
    """The batch to run the model in, None for any, and whether two runs give the same bits.

    Raises:
        ModelError: the model is random at inference.
    """
    count = len(next(iter(few.values())))
    once, again = (run_in_batches(runner, few, own or count) for _ in range(2))
    size = {name: largest(value, np.zeros_like(value)) for name, value in once.items()}
    if any(largest(once[name], again[name]) > MIXING * size[name] for name in once):
        raise ModelError("the model is random at inference: two runs on the same inputs differ; no verdict is possible")
    repeatable = all(np.array_equal(once[name], again[name], equal_nan=True) for name in once)
    if own is not None:
        return own, repeatable
    alone = run_in_batches(runner, _first(few, 4), 1)
    mixes = any(
        alone[name].shape[1:] != value.shape[1:]
        or len(value) != count
        or largest(alone[name], value[:4]) > MIXING * size[name]
        for name, value in once.items()
    )
    return (1 if mixes else None), repeatable


def _check_finite(outputs: Arrays, real: int) -> None:
    for name, value in outputs.items():
        if not np.isfinite(value[:real]).all():
            raise ModelError(f"output {name!r}: the model itself gives NaN or infinity on its real inputs")


def _policies(call: Call) -> set[str]:
    from converters.twin import computes_in

    return {"float32"} if call.model is None else computes_in(call.model)


def _workload(source: LoadedModel, call: Call) -> Workload:
    if call.model is not None:
        from converters.workload import layer_arithmetic

        return Workload(*layer_arithmetic(call.model))
    from converters.calls import SIGNATURE
    from converters.cost import arithmetic

    return Workload(*arithmetic(source.saved.signatures[SIGNATURE]))


def weights_fingerprint(source: LoadedModel) -> str:
    """SHA-256 over a model's weights, in their order."""
    from converters.calls import SIGNATURE, fingerprint

    if source.keras is not None:
        import keras

        return fingerprint([np.asarray(keras.ops.convert_to_numpy(weight)) for weight in source.keras.weights])
    return fingerprint([variable.numpy() for variable in source.saved.signatures[SIGNATURE].graph.variables])
