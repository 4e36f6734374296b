"""A Keras model -> the same model with the same weights in another type: float32 to export, float64 as truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.errors import ModelError

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"})


def twin(model: Any, dtype: str) -> Any:
    """A copy of a Functional or Sequential Keras model that computes in `dtype`, with the same weights.

    Raises:
        ModelError: the model cannot be rebuilt from its config (a subclassed model, a layer without one), or its copy
            has other weights.
    """
    try:
        copy = type(model).from_config(_blank(recast(model.get_config(), dtype)))
        weights = model.get_weights()
        if [w.shape for w in copy.get_weights()] != [w.shape for w in weights]:
            raise ModelError(f"a copy of {model.name!r} from its config has other weights")
        copy.set_weights([_cast(weight, dtype) for weight in weights])
    except ModelError:
        raise
    except Exception as error:  # layers raise many kinds for a config they cannot be rebuilt from
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"model {model.name!r} cannot be rebuilt in {dtype}: {first}") from error
    return copy


def recast(config: Any, dtype: str) -> Any:
    """The config with every floating dtype and dtype policy made `dtype`."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config.get("config", {}).get("name") in _FLOATS:
            return {**config, "config": {"name": dtype}}
        return {
            key: dtype if key == "dtype" and isinstance(value, str) and value in _FLOATS else recast(value, dtype)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(recast(value, dtype) for value in config)
    return config


def _blank(config: Any) -> Any:
    """The config with zeros for every initializer: the weights are set afterwards, and drawing them first is slow."""
    if isinstance(config, dict):
        if config.get("module") == "keras.initializers":
            return {**config, "class_name": "Zeros", "config": {}}
        return {key: _blank(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_blank(value) for value in config)
    return config


def _cast(weight: Any, dtype: str) -> Any:
    array = np.asarray(weight)
    return array.astype(dtype) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array


def computes_in(model: Any) -> set[str]:
    """The floating types in which the layers of a Keras model compute; float32 where none has weights or a type."""
    layers = model._flatten_layers(include_self=False)
    found = {layer.compute_dtype for layer in layers if getattr(layer, "compute_dtype", None) in _FLOATS}
    return found or {"float32"}
