"""Which inputs of a model are indices, and how many each may tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from converters.artifact import TensorSpec
from converters.errors import ModelError


def index_counts(model: Any, specs: Sequence[TensorSpec]) -> Mapping[str, int]:
    """By the name of an input that embeddings read, the size of the smallest of them.

    Args:
        model: in Keras; None, or one whose calls are Python code, tells nothing.
        specs: its inputs, in its order.
    """
    if model is None:
        return {}
    import keras

    from converters.deploy.flat import flatten

    try:
        flat = flatten(model)
    except ModelError:
        return {}
    names = {tensor: spec.name for tensor, spec in zip(flat.inputs, specs, strict=False)}
    found: dict[str, int] = {}
    for call in flat.calls:
        if isinstance(call.operation, keras.layers.Embedding):
            for name in (names[tensor] for tensor in call.inputs if tensor in names):
                found[name] = min(found.get(name, call.operation.input_dim), call.operation.input_dim)
    return found
