"""What an artifact is measured against: the model itself on samples that suit it, and the same in float64."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from converters.errors import ModelError
from exporter.parity.check import Reference, run_in_batches
from exporter.parity.verdict import Workload
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
    from converters.trace import Float64Twin

    inputs, described = samples(traced.inputs, value_range, source.zoo)
    outputs = run_in_batches(traced, inputs, traced.own_batch)
    by = f"TensorFlow {version('tensorflow')}"
    by = by if source.keras is None else f"Keras {version('keras')} on {by}"
    truth = None
    try:
        truth = run_in_batches(Float64Twin(traced), inputs, traced.own_batch)
    except ModelError as error:
        by += f" ({error})"
    return Reference(inputs, outputs, truth, Workload(*arithmetic(traced.function)), described, by)


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
