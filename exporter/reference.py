"""What an artifact is measured against: the model itself on samples that suit it, and the same in float64."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from converters.errors import ModelError
from exporter.parity.check import Arrays, Reference, run_in_batches
from exporter.parity.verdict import OwnError, Workload
from exporter.samples import Range, samples
from exporter.source import LoadedModel


def make_reference(source: LoadedModel, traced: Any, value_range: Range | None) -> Reference:
    """Run the model itself, eagerly, and its float64 twin where it has one.

    Args:
        source, traced: the model, and its trace (`converters.trace.TracedModel`), for names and shapes.
        value_range: of image inputs; 0..1 if None.

    Raises:
        ModelError: no samples can be made for an input.
    """
    from converters.cost import arithmetic

    inputs, described = samples(traced.inputs, value_range, source.zoo)
    run = functools.partial(_run, traced=traced, inputs=inputs)
    outputs = run(traced.original)
    by = f"TensorFlow {version('tensorflow')}"
    by = by if source.keras is None else f"Keras {version('keras')} on {by}"
    own_error = None
    try:
        own_error = _own_error(traced, outputs, run)
    except ModelError as error:
        by += f" ({error})"
    return Reference(inputs, outputs, own_error, Workload(*arithmetic(traced.function)), described, by)


def _own_error(traced: Any, outputs: Arrays, run: Callable[[Any], Arrays]) -> dict[str, OwnError]:
    """By output, what rounding does to the model: measured against its float64 twin."""
    from converters.calls import first_line
    from converters.trace import float64_call

    try:
        truth = run(float64_call(traced))
    except ModelError:
        raise
    except Exception as error:  # layers raise many kinds for a type they do not know
        raise ModelError(f"its float64 twin does not run: {first_line(error)}") from error
    single = run(traced.traced) if traced.recast else outputs

    def distance(name: str, arrays: Arrays) -> float:
        return float(np.max(np.abs(arrays[name].astype(np.float64) - truth[name]), initial=0.0))

    return {name: OwnError(distance(name, outputs), distance(name, single)) for name in truth}


def _run(call: Any, traced: Any, inputs: Arrays) -> dict[str, np.ndarray]:
    from converters.trace import run_call

    class Eager:
        def run(self, batch: Arrays) -> dict[str, np.ndarray]:
            return run_call(call, traced, batch)

    return run_in_batches(Eager(), inputs, call.own_batch)


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
