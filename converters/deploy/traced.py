"""A traced model -> the same model lowered for a target and traced again, under the same names."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from converters.calls import keras_call, sized
from converters.deploy.lower import Lowered, Target, lower
from converters.errors import ModelError
from converters.trace import TracedModel, retrace

__all__ = ["lower_traced"]


def lower_traced(
    traced: TracedModel,
    target: Target,
    samples: Mapping[str, np.ndarray] | None = None,
    without: Collection[str] = (),
    left: Collection[str] = (),
) -> tuple[TracedModel, Lowered]:
    """Lower what a traced model was traced from.

    Args:
        traced: what it refers to as the original stays the original, so that a lowered model is verified against that.
        samples: real inputs by name, examples first; the proof runs one call of them besides random numbers.
        without, left: as in `lower`.

    Returns:
        The traced lowered model, and what was done. Where nothing can be lowered, the traced model as it was given, and
        the reason in `Lowered.reason`.
    """
    call = traced.traced
    if call.model is None:
        return traced, Lowered(None, target, (), (), reason="a SavedModel is a program, not a graph of layers")
    batch = next((spec.shape[0] for spec in traced.inputs if spec.shape), None)
    given = []
    if samples is not None:
        own = call.own_batch or 1
        given.append([np.resize(samples[spec.name], (own, *samples[spec.name].shape[1:])) for spec in traced.inputs])
    try:
        made = lower(sized(call), target, batch=batch, samples=given, without=without, left=left)
    except ModelError as error:
        return traced, Lowered(call.model, target, (), (), reason=str(error))
    if not made.rewrites:
        return traced, made
    return dataclasses.replace(retrace(traced, keras_call(made.model, {})), fragments=made.fragments), made
