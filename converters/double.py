"""A Keras model -> the same model in float64: the truth that float32 runs are measured against."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.errors import ModelError

_FLOATS = frozenset({"float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16"})


def float64_twin(model: Any) -> Any:
    """A copy of a Functional or Sequential Keras model that computes in float64, with the same weights.

    Raises:
        ModelError: the model cannot be rebuilt from its config (a subclassed model, a layer without one), or its copy
            has other weights.
    """
    try:
        twin = type(model).from_config(_doubled(model.get_config()))
        weights = model.get_weights()
        if [w.shape for w in twin.get_weights()] != [w.shape for w in weights]:
            raise ModelError(f"a copy of {model.name!r} from its config has other weights")
        twin.set_weights([_as_double(weight) for weight in weights])
    except ModelError:
        raise
    except Exception as error:  # layers raise many kinds for a config they cannot be rebuilt from
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelError(f"model {model.name!r} cannot be rebuilt in float64: {first}") from error
    return twin


def _doubled(config: Any) -> Any:
    """The config with every floating dtype and dtype policy made float64."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config.get("config", {}).get("name") in _FLOATS:
            return {**config, "config": {"name": "float64"}}
        return {
            key: "float64" if key == "dtype" and isinstance(value, str) and value in _FLOATS else _doubled(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_doubled(value) for value in config)
    return config


def _as_double(weight: Any) -> Any:
    array = np.asarray(weight)
    return array.astype(np.float64) if array.dtype.kind == "f" or array.dtype.name == "bfloat16" else array
