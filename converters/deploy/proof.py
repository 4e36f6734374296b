"""Is a recognised block equal to CBAM? Its own operations in float64 against the formula in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.flat import Call, Tensor
from converters.deploy.formula import Array
from converters.twin import recast

__all__ = ["check", "filled"]

_TOLERANCE: Final = {"float64": 1e-12, "float32": 1e-6}
"""Largest difference, relative to the largest result: float64 rounding (1.1e-16) of sums of up to 1e5 terms keeps well
below 1e-12. float32 is met only on a Keras backend without float64."""

_LARGE: Final = 200_000
"""Numbers in a map above which one example is enough."""

_OPEN: Final = (7, 6)
"""Height and width where those are open: not alike, so that a swap shows."""

_FLIPPED: Final = ("layers.Conv2D", "layers.MaxPooling2D", "layers.AveragePooling2D")
"""Layers that TensorFlow cannot run channels first on a CPU; they are run channels last between two transpositions."""


def check(block: Block) -> str:
    """Why the block is not equal to CBAM, or `` if it is.

    Runs the block's calls on random maps with random weights in place of its own, so that neither a gamma of 0 nor a
    dead unit can hide a difference; weights that are one variable stay one.
    """
    random = np.random.default_rng(0)
    values = {id(weight): _random(weight, random) for weight in block.weights}
    x = _example(block, random)
    expected = block.formula(x, lambda weight: values.get(id(weight), np.asarray(weight, np.float64)))
    try:
        found, kind = _run(block, x, values)
    except Exception as error:  # layers raise many kinds for what they cannot run
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return f"it cannot be run alone: {first}"
    if found.shape != expected.shape or not np.isfinite(found).all():
        return f"it gives {found.shape} instead of {expected.shape}, or numbers that are not finite"
    worst = float(np.abs(found - expected).max() / np.abs(expected).max())
    limit = _TOLERANCE.get(kind, 0.0)
    return "" if worst <= limit else f"it differs from the formula by {worst:.1e} of its largest result in {kind}"


def _example(block: Block, random: np.random.Generator) -> Array:
    height, width = block.height or _OPEN[0], block.width or _OPEN[1]
    if block.layer is not None:  # our own layers are of no fixed size
        height, width = min(height, 9), min(width, 8)
    large = height * width * block.channels > _LARGE
    count = block.input.shape[0] or (1 if large else 2)
    spread = random.uniform(0.5, 2, block.channels)  # or all means would be alike, and all maxima
    return random.normal(random.normal(0, 1, block.channels), spread, (count, height, width, block.channels))


def _random(weight: Any, random: np.random.Generator) -> Array:
    shape = tuple(weight.shape)
    if weight.name in ("moving_variance", "gamma"):
        return random.uniform(0.5, 1.5, shape)
    fan_in = int(np.prod(shape[:-1])) if len(shape) > 1 else 4
    return random.normal(0, 1 / np.sqrt(max(fan_in, 1)), shape)


def _run(block: Block, x: Array, values: Mapping[int, Array]) -> tuple[Array, str]:
    import keras

    twins = _Twins(values)
    given = x if block.data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    known: dict[Tensor, Any] = {block.input: keras.ops.convert_to_tensor(given, dtype="float64")}
    for call in block.calls:
        args, kwargs = filled(call.args, known), filled(dict(call.kwargs), known)
        made = keras.tree.flatten(twins.run(call, args, kwargs))
        known.update(zip(call.outputs, made, strict=True))
    out = known[block.output]
    result = np.asarray(keras.ops.convert_to_numpy(out), np.float64)
    if block.output_format == "channels_first":
        result = result.transpose(0, 2, 3, 1)
    return result, keras.backend.standardize_dtype(out.dtype)


class _Twins:
    """Float64 copies of layers, each made once, with the given weights."""

    def __init__(self, values: Mapping[int, Array]) -> None:
        self._values = values
        self._made: dict[int, Any] = {}

    def run(self, call: Call, args: Any, kwargs: Any) -> Any:
        import keras

        operation = call.operation
        if not args and len(kwargs) == 1:  # called by the name of its argument
            args, kwargs = tuple(kwargs.values()), {}
        if not isinstance(operation, keras.layers.Layer):
            # `call` and not the operation itself: that would write a node into the model's graph if it were symbolic.
            return args[0] if call.kind == "ops.Cast" else operation.call(*args, **kwargs)
        flip = call.kind in _FLIPPED and operation.data_format == "channels_first"
        if flip:
            args = (keras.ops.transpose(args[0], (0, 2, 3, 1)), *args[1:])
        if id(operation) not in self._made:
            config = recast(operation.get_config(), "float64")
            copy = type(operation).from_config({**config, "data_format": "channels_last"} if flip else config)
            if operation.weights:
                copy.build(tuple(args[0].shape))
                copy.set_weights([self._values[id(weight)] for weight in operation.weights])
            self._made[id(operation)] = copy
        made = self._made[id(operation)](*args, **kwargs)
        return keras.ops.transpose(made, (0, 3, 1, 2)) if flip else made


def filled(value: Any, known: Mapping[Tensor, Any]) -> Any:
    """Arguments of a call with every `Tensor` replaced by what it stands for."""
    if isinstance(value, Tensor):
        return known[value]
    if isinstance(value, list | tuple):
        return type(value)(filled(each, known) for each in value)
    if isinstance(value, dict):
        return {key: filled(each, known) for key, each in value.items()}
    return value
