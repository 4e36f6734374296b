"""Runs an artifact beside its reference and judges every output. Sees NumPy and the `Session` protocol only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from exporter.parity.verdict import OutputVerdict, OwnError, Verdict, Workload, judge

Arrays = Mapping[str, np.ndarray]

OPEN_BATCH = 128  # samples a call at most, where the batch is open


class Runs(Protocol):
    """The part of a session that is needed here."""

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Arrays by input name to arrays by output name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """What the model gives.

    Attributes:
        inputs, outputs: by the model's names, samples first.
        own_error: by output, what rounding does to the model; None where that cannot be had.
        workload: the arithmetic behind the outputs.
        described: how the inputs were chosen, in words.
        source: what computed the outputs, in words.
    """

    inputs: Arrays = dataclasses.field(repr=False)
    outputs: Arrays = dataclasses.field(repr=False)
    own_error: Mapping[str, OwnError] | None
    workload: Workload
    described: str
    source: str

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.inputs.values())))


@dataclasses.dataclass(frozen=True, slots=True)
class ParityReport:
    """The outcome for one artifact in one runtime: a verdict for each output of the reference."""

    artifact: str
    runtime: str
    outputs: Mapping[str, OutputVerdict]

    @property
    def passed(self) -> bool:
        """Whether no output failed."""
        return all(output.verdict is not Verdict.FAILED for output in self.outputs.values())


def run_in_batches(session: Runs, inputs: Arrays, batch: int | None) -> dict[str, np.ndarray]:
    """Run all samples through a session of a fixed batch (the last one filled up by repetition) or an open one.

    An output whose first size is not the batch (a scalar, a map of all samples together) is kept whole, call by call;
    it can be compared only with one that was computed in the same calls.
    """
    parts: dict[str, list[np.ndarray]] = {}
    samples = len(next(iter(inputs.values())))
    for start, size in _slices(samples, batch):
        chunk = {name: array[start : start + size] for name, array in inputs.items()}
        if batch and size < batch:
            chunk = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in chunk.items()}
        for name, value in session.run(chunk).items():
            value = np.atleast_1d(value)
            parts.setdefault(name, []).append(value[:size] if len(value) == (batch or size) else value)
    return {name: _joined(values) for name, values in parts.items()}


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One behind the other; the first part alone where they are of other shapes, so that it is seen to be wrong."""
    return np.concatenate(parts) if len({part.shape[1:] for part in parts}) == 1 else parts[0]


def check(session: Runs, reference: Reference, names: Mapping[str, str], batch: int | None) -> dict[str, OutputVerdict]:
    """Judge an open session against the reference.

    Args:
        names: the reference's input and output names -> the artifact's.
        batch: the artifact's fixed batch, or None.
    """
    given = run_in_batches(session, {names[name]: array for name, array in reference.inputs.items()}, batch)
    return {
        name: judge(
            expected,
            given.get(names[name]),
            reference.own_error[name] if reference.own_error else None,
            reference.workload,
        )
        for name, expected in reference.outputs.items()
    }


def by_position(model: Sequence[str], artifact: Sequence[str]) -> dict[str, str]:
    """The model's names -> the artifact's, which may differ where a format restricts names, never in order."""
    return dict(zip(model, artifact, strict=True))


def _slices(samples: int, batch: int | None) -> Iterator[tuple[int, int]]:
    """Start and size of each call. Where the batch is open, one call is of one sample, as most are on a device, and the
    others are of two sizes, so that resizing is tried as well."""
    first = 0 if batch else 1
    if first:
        yield 0, 1
    size = batch or min(OPEN_BATCH, max(1, 2 * (samples - first) // 3))
    for start in range(first, samples, size):
        yield start, min(size, samples - start)
