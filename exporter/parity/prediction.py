"""What each tensor of the model must be, given the artifact's own values of those before it, and what error is due.

An artifact's tensor is compared with what the model computes in float64 from the *artifact's* values of the tensors in
front of it. So an error counts once, where it arises, and what merely hands it on agrees. The same is done with the
model's own float32 values in the artifact's place: what is left then is what float32 arithmetic does to each tensor.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from exporter.parity.layers import Arrays, InnerReference, LayerTensor, Rounding
from exporter.parity.verdict import LAST_ROUNDINGS, SAFETY_FP32, UNIT_ROUNDOFF_FP32

SAFETY_ROUNDED: Final = 5.0
"""Between the error that rounding the weights gave, and the largest that is taken for such rounding. It is a sample of
the very error, of as many elements. Measured: up to 3.0 in sound artifacts, where a normalisation is folded into the
weights in a way that the graph does not show."""

CORRECTED: Final = 0.1
"""Of the spread of a product with weights, what its bias may be moved by in an int8 artifact, so that rounding leaves
the mean of the calibration samples as it was. The samples searched need not show that rounding, since a unit that is 0
in all of them hides it. Measured: up to 0.053."""

CLIPPED: Final = 0.05
"""Share of a quantised tensor's elements that may lie beyond its range, which was chosen on other samples, by least
squared error also so that it does not hold all of those. More is a range that does not fit. Measured: up to 3.1% in
sound files."""

ROUNDINGS: Final[Mapping[str, tuple[Rounding, ...]]] = {
    "fp32": (),
    "fp16": ("half",),
    "dynamic": ("8 bits, scale a channel", "8 bits, one scale"),
    "int8": ("8 bits, scale a channel", "8 bits, one scale", "8 bits, apart"),
    "int16x8": ("8 bits, scale a channel", "8 bits, one scale", "8 bits, apart"),
}
"""How the weights of each precision may be rounded; the files do not tell which."""

_SOFTMAXES: Final = ("Softmax", "LogSoftmax")
"""They sum over the last axis."""

_FOLDED: Final = ("Mul", "Add", "AddV2", "Sub", "BiasAdd")
"""Of constants, behind a product: a normalisation."""

_LAID: Final = ("BatchToSpaceND",)
"""Of a dilated convolution, which TensorFlow computes on every other pixel: puts its result together."""

_RESIZES: Final = ("ResizeBilinear", "ResizeBicubic", "ScaleAndTranslate")
"""Operations that interpolate between pixels. Their coordinates are rounded in float32, also in TensorFlow's float64
run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """By tensor of the model: its value, the largest error that is due to arithmetic, and its spread.

    `spread` is the deviation over all elements of the model's own value.
    """

    values: Arrays
    allowed: Mapping[str, float]
    spread: Mapping[str, float]


class Predictor:
    """Predicts from known values of some tensors. `precision` is the artifact's."""

    def __init__(self, reference: InnerReference, inputs: Arrays, precision: str) -> None:
        self.reference, self._inputs, self.precision = reference, inputs, precision
        self.single = reference.run(inputs)
        self.truth = reference.exact(inputs)
        self.spread = {name: float(np.std(value)) for name, value in self.truth.items()}
        products = {tensor.name for tensor in reference.tensors if tensor.weighted}
        products |= {each.name for each in reference.tensors if each.op in _LAID and {*each.sources} <= products}
        folded = set(products)  # with the normalisation behind it, which has its bias then
        for each in reference.tensors:  # in the order of computation
            if len(each.sources) == 1 and each.op in _FOLDED and each.sources[0] in folded:
                folded.add(each.name)
        self._biased = folded | {
            each.name for each in reference.tensors if {*each.sources} <= products and each.sources
        }
        self._summed = {tensor.name: self._terms(tensor) for tensor in reference.tensors}
        self._moved = {tensor.name: self._coordinates(tensor) for tensor in reference.tensors if tensor.op in _RESIZES}

    def _terms(self, tensor: LayerTensor) -> float:
        """By how much one rounding grows in a mean, or in the sum that a softmax divides by: sqrt(n) for n terms
        (`verdict.derived_tolerance`).

        TensorFlow adds by halves, which hides it; LiteRT's own kernels add one after the other. Measured: 1.4e-6 in a
        softmax over 1,000 classes, where TensorFlow's is 1.4e-7 off.
        """
        if tensor.op in _SOFTMAXES:
            return math.sqrt(max(1, self.truth[tensor.name].shape[-1]))
        if tensor.op not in ("Mean", "Sum") or len(tensor.sources) != 1 or tensor.sources[0] not in self.truth:
            return 1.0
        return math.sqrt(max(1.0, self.truth[tensor.sources[0]].size / max(1, self.truth[tensor.name].size)))

    def _coordinates(self, tensor: LayerTensor) -> float:
        """What rounded coordinates may do to a resize: two roundings of the side that is read, times the largest
        difference there can be between neighbours (`verdict.derived_tolerance`)."""
        read = self.truth.get(tensor.sources[0]) if tensor.sources else None
        read = self._inputs.get(tensor.sources[0]) if read is None and tensor.sources else read
        if read is None or read.ndim != 4:
            return 0.0
        return float(2 * UNIT_ROUNDOFF_FP32 * max(read.shape[1:3]) * np.ptp(read))

    def _computed_by_products(self, known: Arrays) -> set[str]:
        """The tensors between which and the known ones there is a product with weights."""
        found: set[str] = set()
        for each in self.reference.tensors:
            if each.weighted or not found.isdisjoint(source for source in each.sources if source not in known):
                found.add(each.name)
        return found

    def predict(self, known: Arrays, inputs: Arrays) -> Prediction:
        """From `known` values by tensor, and from `inputs` as the artifact took them in."""
        values = self.reference.exact(inputs, known)
        own = self.reference.exact(self._inputs, {name: self.single[name] for name in known})
        allowed = {
            name: SAFETY_FP32 * largest(self.single[name], own[name])
            + LAST_ROUNDINGS * UNIT_ROUNDOFF_FP32 * self._summed[name] * float(np.max(np.abs(own[name]), initial=0.0))
            for name in values
        }
        for name, moved in self._moved.items():
            allowed[name] += SAFETY_FP32 * moved
        if ROUNDINGS[self.precision]:
            found = [self.reference.exact(inputs, known, each) for each in ROUNDINGS[self.precision]]
            read, rounds = values, set(values)
            if self.precision == "dynamic":  # what a product reads is rounded as well as its weights
                rounds = self._computed_by_products(known)
                read = self.reference.exact(inputs, {name: eight_bits(each) for name, each in known.items()})
            elif any(each.dtype == np.float16 for each in known.values()):
                read = self.reference.exact(inputs, {name: unrounded(each) for name, each in known.items()})
            for name, value in values.items():
                rounded = max(largest(each[name], value) for each in found)
                rounded += largest(read[name], value) if name in rounds else 0.0
                allowed[name] += SAFETY_ROUNDED * rounded
        if self.precision == "int8":
            for name in self._biased:
                allowed[name] += CORRECTED * self.spread[name]
        return Prediction(values, allowed, self.spread)


def may_clip(values: int) -> float:
    """How many of so many values may lie beyond a range that fits: CLIPPED, and by chance two deviations more."""
    return CLIPPED * values + 2 * math.sqrt(CLIPPED * values)


def largest(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance of two arrays; infinite where one is finite and the other is not."""
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return np.inf
    if not finite.all():
        one, other = one[finite], other[finite]
    return float(np.max(np.abs(one.astype(np.float64) - other), initial=0.0))


def eight_bits(value: np.ndarray) -> np.ndarray:
    """What a dynamically quantised product reads in place of `value`: 255 steps over the range of each sample."""
    flat = value.reshape(len(value), -1).astype(np.float64)
    step = np.maximum(np.ptp(np.c_[flat, np.zeros(len(flat))], axis=1, keepdims=True) / 255, np.finfo(np.float64).tiny)
    rounded: np.ndarray = (np.rint(flat / step) * step).reshape(value.shape)
    return rounded


def unrounded(value: np.ndarray) -> np.ndarray:
    """What a tensor of half precision may have been before it was rounded. ONNX Runtime computes operations that have
    no such kernel in float32, one after the other, and rounds what is read from between them."""
    if value.dtype != np.float16:
        return value
    within = np.random.default_rng(0).uniform(-_ROUNDOFF_HALF, _ROUNDOFF_HALF, value.shape)
    moved: np.ndarray = value.astype(np.float64) * (1 + within)
    return moved


_ROUNDOFF_HALF: Final = 2.0**-11
