"""Does a rewritten graph compute what the model computes? Both are run in float64 on the same numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from converters.deploy.blocks import Block
from converters.deploy.flat import Flat, Tensor
from converters.deploy.forms import Weigh
from converters.deploy.formula import Array, Values
from converters.deploy.fragment import Fragment
from converters.deploy.makers import TwinMaker
from converters.deploy.proof import example, random_values
from converters.deploy.wiring import Replacement, Wiring
from converters.errors import ModelError

__all__ = ["LIMIT", "Compared", "Difference", "compare_block", "compare_fragment", "compare_graph", "examples"]

LIMIT: Final = 1e-12
"""Largest difference, relative to the largest result. A sum of n terms in another order differs by about sqrt(n) units
of float64 roundoff (1.1e-16); 1e-12 leaves room for sums of 1e6 terms and for what Winograd's transformations add. A
whole graph may differ by what its parts do, each by itself, as far as the net hands that on."""

_ROUNDOFF: Final = 2.0**-52

_DIRECTIONS: Final = 10
"""Between what random differences grow to and what those of parts may, which are not random: the safety that float32
has elsewhere (`exporter.parity.verdict`). Measured: 0.75 at most, in two nets made for it; 0.01 in a ResNet-50."""

_CLEAR: Final = 1e-6
"""What is never allowed, whatever a net does to differences: seventeen roundings of float32, in which the file will
compute. Measured: limits of up to 4e-9."""

_OPSET: Final = 17
"""Of the nodes that are proved; only how axes are given depends on it."""

_OPEN: Final = 32
"""For sizes that the model leaves open."""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference relative to the largest result, and why it is too much, or ``."""

    error: float
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """A rewritten graph beside the model: by its outputs and its parts'; and each part alone on what reached it."""

    error: float
    reason: str
    parts: tuple[Difference, ...]


def compare_block(block: Block, replacement: Replacement) -> Difference:
    """The replacement of a block against the paper's formula, on random maps with random weights."""
    import keras

    random = np.random.default_rng(1)
    x, values = example(block, random, width=block.width), random_values(block, random)
    found = replacement.build(keras.ops.convert_to_tensor(x, dtype="float64"), Weigh(values, "float64"))
    return _differs(_array(found), block.formula(x, values))


def compare_fragment(block: Block) -> Difference:
    """The block's ONNX nodes, run by onnx's own reference in float64, against the formula, with random weights; those
    for the mean of its result too."""
    random = np.random.default_rng(3)
    x, values = example(block, random, width=block.width, height=block.height)[:1], random_values(block, random)
    expected = block.formula(x, values)
    found = _differs(_run_fragment(block, x, values, mean=False), expected)
    if found.reason:
        return found
    mean = _differs(_run_fragment(block, x, values, mean=True), expected.mean((1, 2)))
    return Difference(max(found.error, mean.error), mean.reason)


def _run_fragment(block: Block, x: Array, values: Values, *, mean: bool) -> Array:
    import onnx
    from onnx.reference import ReferenceEvaluator

    how = "float64", _OPSET
    nodes, initialisers = Fragment(block).nodes(("first", "last", "made"), values, how, mean=mean)
    tensor = onnx.helper.make_tensor_value_info
    given = {"first": x.transpose(0, 3, 1, 2), "last": x}
    ends = [tensor(name, onnx.TensorProto.DOUBLE, array.shape) for name, array in given.items()]
    made = tensor("made", onnx.TensorProto.DOUBLE, (1, x.shape[3]) if mean else x.shape)
    graph = onnx.helper.make_graph(nodes, "block", ends, [made], initialisers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)])
    (found,) = ReferenceEvaluator(model).run(None, given)
    return np.asarray(found, np.float64)


def compare_graph(
    flat: Flat, replacements: Sequence[Replacement], inputs: Sequence[Sequence[Array]], *, turn: bool
) -> Compared:
    """The graph with replacements against the graph itself.

    Raises:
        ModelError: a layer cannot be made in float64.
    """
    watch = [tensor for each in replacements for tensor in (each.source, each.output)]
    plain = Wiring(flat, turn=True, watch=watch)
    inner = watch[1::2]  # a saturated output would hide a difference; these would not
    rewritten = Wiring(flat, replacements, turn=turn, watch=inner)
    twins = TwinMaker()
    worst, reason = 0.0, ""
    parts = [Difference(0.0) for _ in replacements]
    for arrays in inputs:
        given = [_tensor(array, tensor) for array, tensor in zip(arrays, flat.inputs, strict=True)]
        try:
            expected, found = plain.run(given, twins), rewritten.run(given, twins)
        except Exception as error:  # layers raise many kinds for a type or a config that they cannot take
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ModelError(
                f"the model cannot be run in float64, so no rewrite of it can be proved: {first}"
            ) from error
        ends = _arrays([*expected, *(plain.seen[tensor] for tensor in inner)])
        made = _arrays([*found, *(rewritten.seen[tensor] for tensor in inner)])
        alone = [_differs(_alone(each, plain.seen, twins), _array(plain.seen[each.output])) for each in replacements]
        parts = [
            max(pair, key=lambda difference: (bool(difference.reason), difference.error))
            for pair in zip(parts, alone, strict=True)
        ]
        limits = [LIMIT] * len(ends)
        if any(_differs(one, other).reason for one, other in zip(made, ends, strict=True)):
            limits = _handed_on(plain, given, twins, inner, ends, sum(each.error for each in alone))
        for one, other, limit in zip(made, ends, limits, strict=True):
            difference = _differs(one, other, limit)
            worst, reason = max(worst, difference.error), reason or difference.reason
    return Compared(worst, reason, tuple(parts))


def _handed_on(
    plain: Wiring, given: Sequence[Any], twins: TwinMaker, inner: Sequence[Tensor], ends: Sequence[Array], parts: float
) -> list[float]:
    """How far each of `ends` may be off where the parts, each on what reached it, are off by `parts` together.

    A net hands differences on, smaller or larger, and rounds otherwise what differs at all: how much comes of that is
    measured, by inputs that are off by as much.
    """
    import keras

    random = np.random.default_rng(4)
    moved = []
    for tensor in given:
        array = _array(tensor)
        noise = max(parts, _ROUNDOFF) * float(np.abs(array).max(initial=0.0)) * random.normal(0, 1, array.shape)
        exact = "float" in keras.backend.standardize_dtype(tensor.dtype)
        moved.append(keras.ops.convert_to_tensor(array + noise, dtype="float64") if exact else tensor)
    found = plain.run(moved, twins)
    off = _arrays([*found, *(plain.seen[tensor] for tensor in inner)])
    came = [_differs(one, other).error for one, other in zip(off, ends, strict=True)]
    return [min(max(LIMIT, _DIRECTIONS * each), _CLEAR) for each in came]


def examples(flat: Flat, samples: Sequence[Sequence[Any]]) -> list[list[Array]]:
    """Random numbers for each input, and what is given besides."""
    random = np.random.default_rng(2)
    drawn = []
    for tensor in flat.inputs:
        shape = tuple(size or (1 if axis == 0 else _OPEN) for axis, size in enumerate(tensor.shape))
        whole = not str(tensor.keras.dtype).startswith(("float", "bfloat"))
        drawn.append(random.integers(0, 2, shape).astype(np.float64) if whole else random.normal(0, 1, shape))
    return [drawn, *([np.asarray(array, np.float64) for array in arrays] for arrays in samples)]


def _tensor(array: Array, tensor: Tensor) -> Any:
    import keras

    dtype = str(tensor.keras.dtype)
    return keras.ops.convert_to_tensor(array, dtype="float64" if dtype.startswith(("float", "bfloat")) else dtype)


def _alone(each: Replacement, seen: dict[Tensor, Any], twins: TwinMaker) -> Array:
    import keras

    x = seen[each.source]
    if each.source_first:
        x = keras.ops.transpose(x, (0, 2, 3, 1))
    found = _array(each.build(x, twins.weigh(each.name)))
    return found.transpose(0, 3, 1, 2) if each.output_first else found


def _array(value: Any) -> Array:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(value), np.float64)


def _arrays(values: Sequence[Any]) -> list[Array]:
    return [_array(each) for each in values]


def _differs(found: Array, expected: Array, limit: float = LIMIT) -> Difference:
    if found.shape != expected.shape:
        return Difference(float("inf"), f"it gives {found.shape} instead of {expected.shape}")
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return Difference(float("inf"), "it or what it replaces gives numbers that are not finite")
    largest = float(np.abs(expected).max(initial=0.0))
    error = float(np.abs(found - expected).max(initial=0.0)) / (largest or 1.0)
    return Difference(error, "" if error <= limit else f"it differs by {error:.1e} of the largest result in float64")
