"""Is a recognised block equal to CBAM? Its own operations in float64 against the formula in NumPy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.flat import Flat
from converters.deploy.formula import Array, Values
from converters.deploy.makers import TwinMaker
from converters.deploy.wiring import Wiring

__all__ = ["check", "example", "random_values"]

_TOLERANCE: Final = {"float64": 1e-12, "float32": 1e-6}
"""Largest difference, relative to the largest result: float64 rounding (1.1e-16) of sums of up to 1e5 terms keeps well
below 1e-12. float32 is met only on a Keras backend without float64."""

_LARGE: Final = 200_000
"""Numbers in a map above which one example is enough."""

_OPEN: Final = (7, 6)
"""Height and width where those are open: not alike, so that a swap shows."""


def check(block: Block) -> str:
    """Why the block is not equal to CBAM, or `` if it is.

    Runs the block's calls on random maps with random weights in place of its own, so that neither a gamma of 0 nor a
    dead unit can hide a difference; weights that are one variable stay one.
    """
    random = np.random.default_rng(0)
    values = random_values(block, random)
    x = example(block, random)
    expected = block.formula(x, values)
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


def random_values(block: Block, random: np.random.Generator) -> Values:
    """A random value for each of a block's weights that may have any; of any other weight its own."""
    free = {id(weight) for weight in block.free}
    drawn = {id(weight): _random(weight, random) for weight in block.weights if id(weight) in free}
    return lambda weight: drawn.get(id(weight), np.asarray(weight, np.float64))


def example(block: Block, random: np.random.Generator, *, width: int | None = None, height: int | None = None) -> Array:
    """Random maps for a block, (N, H, W, C). width, height: for what takes only these."""
    own = block.height or _OPEN[0], block.width or _OPEN[1]
    if width is not None:
        own = height or min(own[0], 9), width
    elif block.layer is not None:  # our own layers are of no fixed size
        own = min(own[0], 9), min(own[1], 8)
    height, width = own
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


def _run(block: Block, x: Array, values: Values) -> tuple[Array, str]:
    import keras

    given = x if block.data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    tensor = keras.ops.convert_to_tensor(given, dtype="float64")
    flat = Flat(block.calls, (block.input,), (block.output,), {})
    # Channels last, because TensorFlow cannot run every layer channels first on a CPU.
    (out,) = Wiring(flat, turn=True).run([tensor], TwinMaker(values))
    result = np.asarray(keras.ops.convert_to_numpy(out), np.float64)
    if block.output_format == "channels_first":
        result = result.transpose(0, 2, 3, 1)
    return result, keras.backend.standardize_dtype(out.dtype)
