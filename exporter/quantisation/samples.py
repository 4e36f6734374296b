"""The calibration data in memory, whatever they came from, and their division into three parts."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

Arrays = Mapping[str, np.ndarray]

CALIBRATE: Final = 200
"""Samples to calibrate on unless others are asked for; more than 100 gave no more (docs/quantisation.md)."""

VERIFY: Final = 1000
"""Samples to verify on at most."""

CHOOSE: Final = 200
"""Samples to choose between candidates on, at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class SampleSet:
    """Samples of every input.

    Attributes:
        arrays: by input name, samples first, as the model takes them.
        described: what they are, in words.
        names: of each sample, for messages (a file's name, or its number).
        pixels: whether they were made from images here, by a known formula.
        targets: what the model should say to each, samples first; None where that is not known.
    """

    arrays: Arrays = dataclasses.field(repr=False)
    described: str
    names: tuple[str, ...] = dataclasses.field(repr=False)
    pixels: bool = False
    targets: np.ndarray | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, places: np.ndarray) -> SampleSet:
        """Those samples only."""
        arrays = {name: array[places] for name, array in self.arrays.items()}
        targets = None if self.targets is None else self.targets[places]
        names = tuple(self.names[place] for place in places)
        return dataclasses.replace(self, arrays=arrays, names=names, targets=targets)

    def to_json(self) -> dict[str, Any]:
        """Hash, count and ranges, as they stand in the sidecar."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name}\0{array.shape}\0{array.dtype}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        ranges = {name: [float(array.min()), float(array.max())] for name, array in self.arrays.items()}
        return {
            "described": self.described,
            "samples": len(self),
            "sha256": digest.hexdigest(),
            "ranges": ranges,
            "means": {name: float(array.mean(dtype=np.float64)) for name, array in self.arrays.items()},
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Division:
    """Three sets without a sample in common: `calibrate` gives the ranges, `choose` decides between candidates,
    `verify` gives the figures that are reported."""

    calibrate: SampleSet
    choose: SampleSet
    verify: SampleSet


def divide(every: SampleSet, samples: int | None, seed: int, verify: SampleSet | None = None) -> Division:
    """Divide by a draw with `seed`: a fifth to verify, a fifth to choose, the rest to calibrate.

    Args:
        samples: at most so many to calibrate; None: CALIBRATE.
        verify: other samples to hold out: a fifth of them chooses, the others verify, and all of `every` calibrate.
    """
    order = np.random.default_rng(seed).permutation(len(every))
    most = samples or CALIBRATE
    if verify is not None:
        fifth = len(verify) // 5
        chosen, verified = np.split(np.arange(len(verify)), [fifth])
        return Division(every.take(np.sort(order[:most])), verify.take(chosen), verify.take(verified))
    for_verdict = min(VERIFY, max(1, len(every) // 5))
    for_choice = min(CHOOSE, max(1, len(every) // 5))
    verified, chosen, rest = np.split(order, [for_verdict, for_verdict + for_choice])
    return Division(every.take(np.sort(rest[:most])), every.take(np.sort(chosen)), every.take(np.sort(verified)))
