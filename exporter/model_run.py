"""What an artifact is measured against: the model itself on samples that suit it, and the same in float64."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from converters.errors import ModelError
from exporter.indices import index_counts
from exporter.parity.check import Arrays, Reference, run_in_batches
from exporter.parity.verdict import OwnError, Workload
from exporter.samples import Range, samples
from exporter.source import LoadedModel

TWIN_ROUNDINGS: Final = 2.0**-20
"""The same operations on the same weights round alike; 16 units of roundoff are for threads that add in any order."""

MIXING: Final = 1e-3
"""Another batch moves an output by rounding only, unless the model mixes samples; this lies far from both."""


def make_reference(source: LoadedModel, traced: Any, value_range: Range | None) -> Reference:
    """Run the model itself, eagerly, and its float64 twin where it has one.

    Args:
        source, traced: the model, and its trace (`converters.trace.TracedModel`), for names and shapes.
        value_range: of image inputs; 0..1 if None.

    Raises:
        ModelError: no samples can be made for an input.
    """
    from converters.cost import arithmetic

    inputs, described = samples(traced.inputs, value_range, source.zoo, index_counts(source.keras, traced.inputs))
    run = functools.partial(_run, traced=traced, inputs=inputs, batch=_batch(traced, inputs))
    outputs = run(traced.original)
    by = f"TensorFlow {version('tensorflow')}"
    by = by if source.keras is None else f"Keras {version('keras')} on {by}"
    own_error = None
    try:
        own_error = _own_error(traced, outputs, run)
    except ModelError as error:
        by += f" ({error})"
    return Reference(inputs, outputs, own_error, Workload(*arithmetic(traced.function)), described, by)


def run_model(traced: Any, inputs: Arrays) -> dict[str, np.ndarray]:
    """The model itself on all samples: arrays by the traced model's input names to arrays by its output names."""
    return _run(traced.original, traced=traced, inputs=inputs, batch=_batch(traced, inputs))


def _own_error(traced: Any, outputs: Arrays, run: Callable[[Any], Arrays]) -> dict[str, OwnError]:
    """By output, what rounding does to the model: measured against its float64 twin.

    Raises:
        ModelError: there is no such twin, or it does not run, is another model, or gives NaN or infinity.
    """
    from converters.calls import first_line
    from converters.trace import float32_call, float64_call

    try:
        truth = run(float64_call(traced))
        single = run(traced.traced if traced.recast else float32_call(traced))
    except ModelError:
        raise
    except Exception as error:  # layers raise many kinds for a type they do not know
        raise ModelError(f"its float64 twin does not run: {first_line(error)}") from error

    errors = {}
    for name, exact in truth.items():
        if not (np.isfinite(exact).all() and np.isfinite(outputs[name]).all()):
            raise ModelError("it or its float64 twin gives NaN or infinity")
        if exact.shape != outputs[name].shape:
            raise ModelError("its float64 twin gives another shape")
        off = _distance(single[name], outputs[name])
        if not traced.recast and off > TWIN_ROUNDINGS * np.max(np.abs(outputs[name]), initial=0.0):
            # Rebuilt from its config in float32 it must give what it gives; else a layer's config does not hold all of
            # it, and the float64 twin is the truth of another model.
            raise ModelError(
                "a copy of it from its config gives other outputs: a layer's config does not hold all of it"
            )
        errors[name] = OwnError(_distance(outputs[name], exact), _distance(single[name], exact))
    return errors


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.max(np.abs(one.astype(np.float64) - other.astype(np.float64)), initial=0.0))


def _run(call: Any, traced: Any, inputs: Arrays, batch: int | None) -> dict[str, np.ndarray]:
    from converters.trace import run_call

    class Eager:
        def run(self, chunk: Arrays) -> dict[str, np.ndarray]:
            return run_call(call, traced, chunk)

    return run_in_batches(Eager(), inputs, batch)


def _batch(traced: Any, inputs: Arrays) -> int | None:
    """In what batches to run the model: in its own if that is fixed, else in large ones, which are many times faster.

    A model that mixes the samples of a call, by a mean over the batch say, is run in the artifact's own calls.
    """
    own: int | None = traced.original.own_batch
    batch: int | None = traced.inputs[0].shape[0]
    if batch is None or own == batch:
        return batch
    if any(spec.shape[:1] != (batch,) for spec in traced.outputs):
        return batch
    few = {name: array[: 2 * batch + 2] for name, array in inputs.items()}
    alone, together = _run(traced.original, traced, few, batch), _run(traced.original, traced, few, own)
    alike = all(
        _distance(alone[name], together[name]) <= MIXING * np.max(np.abs(together[name]), initial=0.0) for name in alone
    )
    return own if alike else batch


def known_range(source: LoadedModel) -> Range | None:
    """The values a model expects, where that is known: a zoo model's own, or those a first Rescaling layer undoes."""
    if source.zoo is not None:
        return (0.0, 1.0)
    for layer in source.keras.layers if source.keras is not None else ():
        if type(layer).__name__ == "Rescaling":
            # A scale of 1/64 or less is there to undo bytes; 1/255 and 1/127.5 are the usual ones.
            return (0.0, 255.0) if np.all(np.asarray(layer.scale) <= 1 / 64) else None
        if layer.weights:
            return None
    return None


def version(package: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
