"""JSON of every kind, with the marks by which Keras knows its objects, and configs damaged with it."""

from __future__ import annotations

import json
from typing import Any, Final

from fuzzing.blobs import blob
from fuzzing.case import Config, Draw

NAMES: Final = (
    "odd", "image", "conv", "inner", "", "a/b", "/", "..", "a\0b", "\u202e", "ﬁ", "x" * 5000, "a\nb", "\x1b[31m",
    "\ud800", "__class__", "%s{0}", "self", "layers", "0", "os.system", "evil_module_canary", "/etc/passwd", "name",
    "odd_1",
)  # fmt: skip
SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, -(2**31), 2**63, 2**64, 10**100, 10**300, 0.0, -0.5, 1e308, 1e-320,
    float("nan"), float("inf"), "float32", "int32", "relu", "hard_sigmoid", "channels_first", "same", "nearest", *NAMES,
)  # fmt: skip
CLASSES: Final = (
    "Lambda", "Dense", "Conv2D", "InputLayer", "Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda",
    "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty", "TimeDistributed", "Bidirectional", "RNN",
    "LSTM", "GRU", "Embedding", "StringLookup", "TextVectorization", "Pipeline", "Layer", "Wrapper", "StackedRNNCells",
    "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "function", "__lambda__", "__tuple__", "__slice__", "__ellipsis__",
    "__numpy__", "__tensor__", "__keras_tensor__", "__typespec__", "TensorShape", "ThresholdedReLU", "UpSampling2D",
    "Reshape", "Permute", "RepeatVector", "Add", "Concatenate", "Dot", "Activation", "BatchNormalization",
    "Normalization", "Max", "Subtract", "Rescaling", "Masking", "MultiHeadAttention", "SeparableConv2D", "CuDNNLSTM",
    "Merge", "Discretization", "Hashing", "CategoryEncoding", "RandomFlip", "SpectralNormalization", "Resizing",
    "ZeroPadding2D", "EinsumDense",
)  # fmt: skip
_MODULES: Final = (
    None, "keras", "keras.layers", "keras.models", "keras.src.layers.core.lambda_layer", "builtins", "os", "subprocess",
    "evil_module_canary", "keras.src.ops.numpy", "keras.src.ops.core", "keras.utils", "keras.saving", "keras.config",
    "keras.src.models.functional", "keras.layersx", "tensorflow", "numpy", "tf_keras.layers", "", "..", "a.b.c",
)  # fmt: skip
KEYS: Final = (
    "class_name", "module", "config", "name", "registered_name", "inbound_nodes", "layers", "layer", "function",
    "items", "arguments", "output_shape", "mask", "function_type", "input_layers", "output_layers", "build_config",
    "compile_config", "batch_input_shape", "batch_shape", "dtype", "trainable", "cell", "cells", "node_def",
    "constants", "axis", "activation", "units", "filters", "size", "shared_object_id", "args", "kwargs",
    "keras_history", "value", "start", "stop", "step", "defaults", "closure", "code", "vocabulary", "output_mode",
    "initial_value", "target_shape", "n", "dims", "axes",
)  # fmt: skip


def junk(draw: Draw, depth: int = 3) -> Any:
    """Any JSON, likely with the marks by which Keras knows its objects."""
    kind = draw.randrange(12) if depth else 0
    if kind < 5:
        return draw.choice(SCALARS)
    if kind == 5:
        return [junk(draw, depth - 1) for _ in range(draw.randrange(5))]
    if kind == 6:
        return {draw.choice(KEYS): junk(draw, depth - 1) for _ in range(draw.randrange(5))}
    if kind == 7:
        made = {"class_name": draw.choice(CLASSES), "config": junk(draw, depth - 1)}
        if draw.randrange(2):
            made |= {"module": draw.choice(_MODULES), "registered_name": draw.choice((None, "x>y", *CLASSES[:3]))}
        return made
    if kind == 8:
        return [draw.choice(NAMES[:5]), draw.choice((0, 1, -1, 10**9)), draw.choice((0, 1, -1)), {}]
    if kind == 9:
        value: Any = draw.choice(SCALARS)
        for _ in range(draw.choice((3, 30, 150, 400))):
            value = [value] if draw.randrange(2) else {"a": value}
        return value
    if kind == 10:
        return draw.choice((["a"] * 3000, "y" * 50_000, list(range(2000)), [[]] * 2000, [[["image", 0, 0, {}]]] * 300))
    return {"class_name": "__lambda__", "config": {"code": blob(draw), "defaults": None, "closure": None}}


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(object or list, key) of every value."""
    found, stack = [], [node]
    while stack:
        each = stack.pop()
        inner = each.items() if isinstance(each, dict) else enumerate(each)
        for key, value in inner:
            found.append((each, key))
            if isinstance(value, dict | list):
                stack.append(value)
    return found


def mutate(draw: Draw, config: Config) -> Config:
    """A config with a few values exchanged, doubled, dropped, wrapped or replaced."""
    config = json.loads(json.dumps(config))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        places = _places(config)
        if not places:
            break
        owner, key = draw.choice(places)
        value = owner[key]
        what = draw.randrange(9)
        if what == 0:
            del owner[key]
        elif what == 1:
            owner[key] = draw.choice(SCALARS)
        elif what == 2:
            owner[key] = junk(draw)
        elif what == 3:
            other, name = draw.choice(places)
            owner[key] = json.loads(
                json.dumps(other.get(name) if isinstance(other, dict) else other[name % len(other)] if other else None)
            )
        elif what == 4:
            owner[key] = [value] if draw.randrange(2) else {"class_name": draw.choice(CLASSES), "config": value}
        elif what == 5 and isinstance(value, int | float) and not isinstance(value, bool):
            owner[key] = draw.choice((value + 1, -value, value * 10**6, float(value), str(value), [value], 2**40))
        elif what == 5 and isinstance(value, str):
            owner[key] = draw.choice((*NAMES, *CLASSES))
        elif what == 6 and isinstance(owner, dict):
            owner[draw.choice(KEYS)] = owner.pop(key) if draw.randrange(2) else junk(draw)
        elif what == 6 and isinstance(owner, list):
            owner.insert(draw.randrange(len(owner) + 1), value)
        elif what == 7 and isinstance(value, list):
            draw.shuffle(value)
        elif isinstance(value, list) and value:
            owner[key] = (value * 40)[: draw.choice((1, 2, 40))]
    return config
