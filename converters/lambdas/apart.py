"""Gives each model its own layers where a layer belongs to several models, one of them within another.

Keras 3 (3.0 to 3.15) writes such a layer's weights once and cannot open the file again: "Layer 'dense' expected 2
variables, but received 0". With a copy of equal weights for each model, the file opens and computes the same; what is
lost is that training would change the copies together.
"""

from __future__ import annotations

from typing import Any

__all__ = ["set_apart"]


def set_apart(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model with no layer in two models, and the names of the models within it that became copies.

    The model itself is given back if there is no such layer.
    """
    copied: list[str] = []
    return _apart(model, set(), copied), tuple(dict.fromkeys(copied))


def _apart(model: Any, seen: set[int], copied: list[str]) -> Any:
    import keras

    within = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    seen |= {id(layer) for layer in model.layers if layer not in within}
    instead: dict[int, Any] = {}
    for inner in within:
        made = inner
        if any(id(layer) in seen for layer in _all_layers(inner)):
            made = type(inner).from_config(inner.get_config())
            made.set_weights(inner.get_weights())
            copied.append(inner.name)
        made = _apart(made, seen, copied)
        if made is not inner:
            instead[id(inner)] = made
        seen |= {id(layer) for layer in _all_layers(made)}
    if not instead:
        return model
    if isinstance(model, keras.Sequential):
        layers = [instead.get(id(layer), layer) for layer in model.layers]
        return keras.Sequential([keras.Input(batch_shape=model.input_shape), *layers], name=model.name)
    return keras.models.clone_model(model, clone_function=lambda layer: instead.get(id(layer), layer))


def _all_layers(model: Any) -> list[Any]:
    """The layers of a model and of those within it, and the model itself; wrappers count with what they wrap."""
    return [model, *model._flatten_layers(include_self=False)]
