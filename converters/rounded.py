"""What lower precision does to a model, by rounding its own numbers in a float64 run of it.

The figures are predictions for arithmetic that is not at hand: TF32 of a GPU, half precision of a device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

TF32_BITS: Final = 11
"""Bits of a TF32 significand, the implicit one included (NVIDIA A100 whitepaper, 2020: 10 stored bits)."""

_CONTRACTIONS: Final = frozenset(
    {
        *(f"Conv{n}D{transposed}" for n in (1, 2, 3) for transposed in ("", "Transpose")),
        *(f"{kind}Conv{n}D" for kind in ("Depthwise", "Separable") for n in (1, 2)),
        *("Dense", "EinsumDense"),
    }
)
"""Layers that multiply and sum, by the name of their class; subclasses count too."""

_FLOAT64_BITS: Final = 53
_UNIT_FP16: Final = 2.0**-11


@contextlib.contextmanager
def tf32_operands(model: Any) -> Iterator[None]:
    """Inside, a float64 model rounds both operands of its convolutions and dense layers to TF32, and nothing else.

    The products and sums stay exact, as on the hardware, which accumulates in float32. Matrix products that are written
    as operations (`keras.ops.matmul`, attention layers) are not rounded. The model's weights are put back at the end.
    """
    kept = model.get_weights()
    rounded = {
        id(weight)
        for layer in _leaves(model)
        if _is_contraction(layer)
        for weight in layer.weights
        if "kernel" in weight.name
    }
    model.set_weights(
        [
            significand(value, TF32_BITS) if id(weight) in rounded else value
            for weight, value in zip(model.weights, kept, strict=True)
        ]
    )
    try:
        with _before(filter(_is_contraction, _leaves(model)), lambda tensor: significand(tensor, TF32_BITS)):
            yield
    finally:
        model.set_weights(kept)


@contextlib.contextmanager
def half_weights(model: Any, seed: int | None = None) -> Iterator[None]:
    """Inside, a float64 model has its weights rounded to float16, as a file of half precision stores them.

    With a seed, each weight is moved at random by up to a unit of roundoff instead: another rounding of the same size,
    such as a file has whose weights were folded before they were rounded.
    """
    kept = model.get_weights()
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):  # a weight beyond 65,504 becomes infinite there as here
        model.set_weights([_half(value) if seed is None else _moved(value, random) for value in kept])
    try:
        yield
    finally:
        model.set_weights(kept)


@contextlib.contextmanager
def half_arithmetic(model: Any) -> Iterator[None]:
    """Inside, a float64 model has weights of float16 and rounds what each layer and operation gives to float16."""
    import keras

    def half(tensor: Any) -> Any:
        return keras.ops.cast(keras.ops.cast(tensor, "float16"), "float64")

    with half_weights(model), _after(_leaves(model), half):
        yield


def significand(value: Any, bits: int) -> Any:
    """float64 numbers rounded to nearest at `bits` significant bits, by Veltkamp's splitting (Dekker 1971).

    Takes NumPy arrays and tensors of any backend: there is no bit operation in it.
    """
    scaled = value * (2.0 ** (_FLOAT64_BITS - bits) + 1.0)
    return scaled - (scaled - value)


def _half(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float16).astype(value.dtype) if value.dtype.kind == "f" else value


def _moved(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return value * (1 + random.uniform(-_UNIT_FP16, _UNIT_FP16, value.shape)) if value.dtype.kind == "f" else value


def _is_contraction(layer: Any) -> bool:
    return any(cls.__name__ in _CONTRACTIONS for cls in type(layer).__mro__)


def _leaves(model: Any) -> list[Any]:
    """Every layer and operation that holds no other, each once, in models inside the model too."""
    import keras

    found: dict[int, Any] = {}
    for layer in (model, *model._flatten_layers(include_self=False)):
        inner = list(layer._flatten_layers(include_self=False, recursive=False))
        if not inner and not isinstance(layer, keras.layers.InputLayer):
            found[id(layer)] = layer
        for operation in getattr(layer, "operations", ()):
            if not isinstance(operation, keras.layers.Layer):
                found[id(operation)] = operation
    return list(found.values())


@contextlib.contextmanager
def _wrapped(layers: Any, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    changed = list(layers)
    for layer in changed:
        object.__setattr__(layer, "call", wrap(layer.call))  # not Keras's own, which would track it
    try:
        yield
    finally:
        for layer in changed:
            object.__delattr__(layer, "call")


def _before(layers: Any, change: Callable[[Any], Any]) -> contextlib.AbstractContextManager[None]:
    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: call(*_floats(change, args), **_floats(change, kwargs))

    return _wrapped(layers, wrap)


def _after(layers: Any, change: Callable[[Any], Any]) -> contextlib.AbstractContextManager[None]:
    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: _floats(change, call(*args, **kwargs))

    return _wrapped(layers, wrap)


def _floats(change: Callable[[Any], Any], values: Any) -> Any:
    """`values` with every float tensor in it changed."""
    import keras

    return keras.tree.map_structure(
        lambda value: change(value) if "float" in str(getattr(value, "dtype", "")) else value, values
    )
