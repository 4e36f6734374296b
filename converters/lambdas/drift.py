"""What changed between the configs that Keras 2 wrote and those that Keras 3 reads, layer by layer.

Each row of `_MENDS` brings one layer's config to today's form without changing what the layer computes; what cannot be
brought over is refused. A setting that Keras 3 does not know and that no row takes care of is refused, not dropped.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas.limits import show

__all__ = ["RENAMED", "input_shape", "mend"]

Config = dict[str, Any]

RENAMED: Final[Mapping[str, str]] = {
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization", "UnifiedLSTM": "LSTM", "UnifiedGRU": "GRU",
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
    "SeparableConvolution2D": "SeparableConv2D", "Conv2DTransposeV1": "Conv2DTranspose",
    "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU",
}  # fmt: skip

# Settings that Keras 3 has no word for, and the values with which they change nothing that the layer computes.
# None stands for every value.
_DROPPED: Final[Mapping[str, Mapping[str, tuple[Any, ...] | None]]] = {
    "*": {"batch_input_shape": None, "batch_shape": None, "input_shape": None, "input_dtype": None, "input_dim": None,
          "input_length": None, "build_config": None, "autocast": None, "_is_graph_network": None, "dynamic": (False,),
          "quantization_config": (None,), "shared_object_id": None},
    "BatchNormalization": {"renorm": (False, None), "fused": None, "virtual_batch_size": (None,), "adjustment": (None,),
                           "trainable_fraction": None, "mode": (0,), "beta_init": None, "gamma_init": None},
    "DepthwiseConv": {"groups": (1, None), "kernel_initializer": None, "kernel_regularizer": (None,),
                      "kernel_constraint": (None,), "filters": None},
    "SeparableConv": {"groups": (1, None), "kernel_initializer": None, "kernel_regularizer": (None,),
                      "kernel_constraint": (None,)},
    "Conv2DTranspose": {"groups": (1, None)}, "Conv1DTranspose": {"groups": (1, None)},
    "Conv3DTranspose": {"groups": (1, None)},
    "RNN": {"time_major": None, "implementation": None, "zero_output_for_mask": (False, None),
            "unit_forget_bias": None, "cell": None},
    "ConvLSTM": {"time_major": (False, None), "implementation": None, "zero_output_for_mask": (False, None),
                 "groups": (1, None)},
    "Cell": {"implementation": None, "batch_input_shape": None},
    "Embedding": {"input_length": None, "sparse": (False, None), "lora_rank": (None,)},
    "InputLayer": {"sparse": (False, None), "ragged": (False, None), "type_spec": (None,), "optional": (False, None)},
    "MultiHeadAttention": {"query_shape": None, "key_shape": None, "value_shape": None},
    "Resizing": {"crop_to_aspect_ratio": (False, None)},
    "LayerNormalization": {"rms_scaling": (False, None)},
    "SpatialDropout": {"trainable": None, "noise_shape": (None,)},
}  # fmt: skip


_BEGINNINGS: Final = ("DepthwiseConv", "SeparableConv", "ConvLSTM", "SpatialDropout")


def mend(name: str, config: Mapping[str, Any], keras_major: int) -> tuple[str, Config]:
    """A built-in layer's class and config as Keras 3 reads them; nothing of the input is changed.

    keras_major: of the Keras that wrote the file.

    Raises:
        ModelError: the layer has a setting that Keras 3 cannot express.
    """
    mended: Config = {key: _mend_value(key, value) for key, value in copy.deepcopy(dict(config)).items()}
    if name.startswith("CuDNN"):  # which could compute nothing else, and so did not write it
        mended |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
        mended |= {"reset_after": True} if name == "CuDNNGRU" else {}
    name = RENAMED.get(name, name)
    if keras_major < 3:
        for families, row in _MENDS:
            if _family(name, families):
                row(name, mended)
    _drop_unknown(name, mended)
    return name, mended


def input_shape(config: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    """The batch shape that a layer's own config gives for its input, or None.

    Raises:
        ModelError: it is no shape.
    """
    for key in ("batch_input_shape", "batch_shape"):
        value = config.get(key)
        if isinstance(value, dict):
            value = value.get("items")
        if isinstance(value, list | tuple):
            if not all(size is None or (type(size) is int and 0 <= size < 1 << 31) for size in value):
                raise ModelError(f"layer {show(config.get('name'))} has the input shape {show(value)}, which is none")
            return tuple(value)
    return None


def _family(name: str, families: str) -> bool:
    """Whether a class belongs to one of the families: by its own name, its beginning, or its end."""
    for family in families.split():
        if family in ("*", name) or (family in _BEGINNINGS and name.startswith(family)):
            return True
        if (family == "RNN" and name in ("LSTM", "GRU", "SimpleRNN")) or (family == "Cell" and name.endswith("Cell")):
            return True
    return False


def _mend_value(key: str, value: Any) -> Any:
    """What changed in values wherever they stand: initializers and dtype policies."""
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        inner = value.get("config")
        if key.endswith("initializer") and isinstance(inner, dict):
            kept = {name: each for name, each in inner.items() if name != "dtype"}
            return {"class_name": value["class_name"].replace("V2", "").replace("V1", ""), "config": kept}
        if value["class_name"] in ("Policy", "AutoPolicy", "DTypePolicy") and isinstance(inner, dict):
            return inner.get("name", "float32")
        if (
            value["class_name"] == "__numpy__"
            and isinstance(inner, dict)
            and isinstance(inner.get("value"), int | float)
        ):
            return inner["value"]  # how Keras 2.12 wrote plain numbers
        if key == "axis" and value["class_name"] == "ListWrapper":
            return inner
    return value


# --- one row a layer ---------------------------------------------------------------------------------------------


def _axis(name: str, config: Config) -> None:
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    elif isinstance(axis, list) and name == "BatchNormalization":
        raise ModelError(f"{name} {show(config.get('name'))} normalises over the axes {axis}, and Keras 3's takes one")


def _leaky(name: str, config: Config) -> None:
    del name
    if "alpha" in config:
        alpha = config.pop("alpha")
        config["negative_slope"] = alpha["value"] if isinstance(alpha, dict) else alpha


def _number(name: str, config: Config) -> None:
    """Keras 2.0 to 2.2 wrote some plain numbers as arrays."""
    del name
    for key, value in config.items():
        if isinstance(value, dict) and set(value) == {"type", "value"}:
            config[key] = value["value"]


def _gru(name: str, config: Config) -> None:
    del name
    # Before Keras 2.1.5 there was no such setting; absent, it means False, and Keras 3 would take True.
    config.setdefault("reset_after", False)


def _upsampling(name: str, config: Config) -> None:
    del name
    config.setdefault("interpolation", "nearest")


def _bidirectional(name: str, config: Config) -> None:
    del name
    if config.get("backward_layer") is None:
        config.pop("backward_layer", None)


_MENDS: Final[tuple[tuple[str, Callable[[str, Config], None]], ...]] = (
    ("BatchNormalization LayerNormalization Softmax", _axis),
    ("LeakyReLU", _leaky),
    ("*", _number),
    ("GRU GRUCell", _gru),
    ("UpSampling2D", _upsampling),
    ("Bidirectional", _bidirectional),
)


def _drop_unknown(name: str, config: Config) -> None:
    known = _accepted(name)
    for key in [key for key in config if key not in known]:
        for family, rows in _DROPPED.items():
            if key in rows and _family(name, family):
                allowed = rows[key]
                value = config[key]
                if allowed is not None and not any(value is each or value == each for each in allowed):
                    raise ModelError(
                        f"{name} {show(config.get('name'))} has {key}={show(value)}, which Keras 3 cannot express"
                    )
                del config[key]
                break
        else:
            what = f"{name} {show(config.get('name'))} has the setting {key}={show(config[key])}"
            raise ModelError(f"{what}, which Keras 3 does not know")


@functools.cache
def _accepted(name: str) -> frozenset[str]:
    """The settings that Keras's class of this name takes."""
    import keras

    found = set()
    for cls in getattr(keras.layers, name).__mro__:
        if cls is keras.layers.Layer:
            break
        if "__init__" not in vars(cls):
            continue
        parameters = inspect.signature(cls.__init__).parameters.values()
        found |= {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            return frozenset(found - {"self"})
    return frozenset(found - {"self"} | {"name", "trainable", "dtype", "activity_regularizer"})
