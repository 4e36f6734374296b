"""The named inputs of a reference: real ones, and those at the edges of what the model may be given. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

Arrays = Mapping[str, np.ndarray]
Range = tuple[float, float]

NOISE: Final = 16  # samples
SCALED: Final = 4  # real samples that are scaled
SCALED_CASE: Final = "scaled"
FACTORS: Final = (2.0**-10, 2.0**-4, 4.0, 16.0, 64.0)
"""What they are scaled by: contrast lost below the steps of 8 bits, and activations far beyond those of training."""

SEED: Final = 1

EXTREMES: Final = "extremes"
"""The case with constant images in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """Samples `start` to `start + count` of a reference, under one name.

    real: inputs such as the model is for; the others are there for their extremity. described: what they are, in words.
    """

    name: str
    start: int
    count: int
    described: str
    real: bool = False

    @property
    def rows(self) -> slice:
        """Where they stand along the first axis."""
        return slice(self.start, self.start + self.count)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def edge_cases(
    real: Arrays, value_range: Range | None, indices: Collection[str] = ()
) -> list[tuple[str, str, dict[str, np.ndarray]]]:
    """Zeros, extremes and noise, of the shapes and types of real inputs: name, description and arrays of each.

    The range is `value_range`, or what the real inputs take; always that for `indices`, inputs of which only some whole
    numbers mean anything. All inputs of a model take the same part at once.
    """
    random = np.random.default_rng(SEED)
    taken = {name: (float(array.min()), float(array.max())) for name, array in real.items()}
    ranges = {name: own if name in indices else value_range or own for name, own in taken.items()}
    said = " and ".join(dict.fromkeys(f"{low:g}..{high:g}" for low, high in ranges.values()))
    zeros = {name: np.zeros_like(array[:1]) for name, array in real.items()}
    extremes = {name: _extremes(array, *ranges[name], random) for name, array in real.items()}
    noise = {name: _noise(array, *ranges[name], random, name in indices) for name, array in real.items()}
    return [
        ("zeros", "all zeros", zeros),
        (EXTREMES, f"all least, all largest, every other one, any at random of {said}", extremes),
        ("noise", f"{NOISE} samples of uniform noise in {said}", noise),
    ]


def scaled(real: Arrays, indices: Collection[str] = ()) -> dict[str, np.ndarray] | None:
    """SCALED real samples times each of FACTORS, factor by factor; None where nothing can be scaled.

    Inputs of a float type are, but for `indices`; the others stay as they are.
    """
    sizes = {name for name, array in real.items() if array.dtype.kind == "f" and name not in indices}
    if not sizes:
        return None
    with np.errstate(over="ignore"):  # half precision ends early; what is not finite is not taken
        return {
            name: np.concatenate(
                [array[:SCALED] * array.dtype.type(f) if name in sizes else array[:SCALED] for f in FACTORS]
            )
            for name, array in real.items()
        }


def worst(errors: np.ndarray) -> list[int]:
    """For each sample that was scaled, the row of `scaled` at which the arithmetic does worst.

    errors: (SCALED * FACTORS,) errors relative to the size of the output, NaN where the model gives nothing finite.
    """
    table = np.where(np.isfinite(errors), errors, -1.0).reshape(len(FACTORS), -1)
    columns = range(table.shape[1])
    best = table.argmax(0)
    return [int(best[column]) * table.shape[1] + column for column in columns if table[best[column], column] >= 0]


def join(parts: Sequence[tuple[str, str, Arrays]]) -> tuple[dict[str, np.ndarray], tuple[Case, ...]]:
    """Cases one behind the other, the first the real one: arrays by input, and where each case stands."""
    cases, start = [], 0
    for index, (name, described, arrays) in enumerate(parts):
        count = len(next(iter(arrays.values())))
        cases.append(Case(name, start, count, described, real=index == 0))
        start += count
    names = parts[0][2]
    return {name: np.concatenate([arrays[name] for _, _, arrays in parts]) for name in names}, tuple(cases)


def _extremes(like: np.ndarray, low: float, high: float, random: np.random.Generator) -> np.ndarray:
    shape = like.shape[1:]
    every = np.indices(shape).sum(0) % 2 if shape else np.zeros(())
    picks = [np.zeros(shape), np.ones(shape), every, random.integers(0, 2, shape)]
    return np.stack([np.where(pick > 0, high, low) for pick in picks]).astype(like.dtype)


def _noise(like: np.ndarray, low: float, high: float, random: np.random.Generator, whole: bool) -> np.ndarray:
    size = (NOISE, *like.shape[1:])
    if like.dtype.kind == "f" and not whole:
        return random.uniform(low, high, size).astype(like.dtype)
    return random.integers(int(low), int(high) + 1, size).astype(like.dtype)
