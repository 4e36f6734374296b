"""What a benchmark gives."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from converters.artifact import Artifact
from exporter.bench.machine import Machine
from exporter.bench.profile import Structure
from exporter.bench.statistics import Difference, Estimate


class Role(enum.StrEnum):
    """What an artifact is in a comparison."""

    OURS = "ours"
    NAIVE = "naive"
    NONE = "none"
    GIVEN = "given"


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One artifact to be timed.

    Attributes:
        model: the name of the model it was made from; of a given artifact its file's name.
        role: ours; naive: a stock converter's; none: ours of the model without attention; given: a ready file.
        made_by: what tables call it beside others of the same model: `TFLiteConverter`, `cbam-export` ...
        artifact: the file. It is gone after the benchmark, unless it was given.
        number: counts those that would else be called alike.
    """

    model: str
    role: Role
    made_by: str
    artifact: Artifact
    number: int = 1

    @property
    def label(self) -> str:
        """What it is called where others stand around it; no two of a benchmark have the same."""
        name = self.model if self.role is Role.GIVEN else f"{self.model} {self.artifact.format}, {self.made_by}"
        return name if self.number == 1 else f"{name} ({self.number})"


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """One artifact with one number of threads. Times in ms, of one inference.

    Attributes:
        threads: of the runtime's pool.
        wall: the median, with the interval over launches.
        quartiles: of all inferences.
        cpu: processor time over all threads.
        rounds, inferences: how many were timed.
        peak_bytes: largest resident memory of the process that ran it.
        model_bytes: how much of that came with opening and running the artifact.
    """

    threads: int
    wall: Estimate
    quartiles: tuple[float, float]
    cpu: Estimate
    rounds: int
    inferences: int
    peak_bytes: int
    model_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Agreement:
    """How far an artifact's outputs are from those of `reference`, over all of them.

    max_abs: in the output's own units. relative: to the output's spread over the samples. sqnr_db: the smallest of any
    output. top_1: the smallest share of samples of the same class. A figure that does not exist is None.
    """

    reference: str
    samples: int
    max_abs: float
    relative: float | None
    sqnr_db: float | None
    top_1: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """All that was found out about one artifact. `agreement` is None where nothing could be compared."""

    candidate: Candidate
    runtime: str
    structure: Structure
    timings: tuple[Timing, ...]
    agreement: Agreement | None


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """How many times as long one artifact takes as another.

    Attributes:
        threads: of each.
        label, against: of the two candidates.
        wall, cpu: ratios of wall and processor time, paired by rounds.
        difference: what the ratio of wall times allows to say of the first.
    """

    threads: int
    label: str
    against: str
    wall: Estimate
    cpu: Estimate
    difference: Difference


@dataclasses.dataclass(frozen=True, slots=True)
class BenchReport:
    """The result.

    Attributes:
        machine: measured on.
        versions: of the runtimes, converters and Python.
        seconds, launches: as asked for.
        measured: the artifacts, in the order of tables.
        comparisons: each pair, for each number of threads; the later artifact beside the earlier one.
        warnings: what makes the figures worth less.
        notes: what was left out, and why.
        other_cores: cores that other work kept busy meanwhile; None where not told.
    """

    machine: Machine
    versions: Mapping[str, str | None]
    seconds: float
    launches: int
    measured: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    other_cores: float | None

    def comparison(self, label: str, against: str, threads: int) -> Comparison:
        """The comparison of two candidates.

        Raises:
            KeyError: there is none.
        """
        for each in self.comparisons:
            if (each.label, each.against, each.threads) == (label, against, threads):
                return each
        raise KeyError(f"no comparison of {label!r} with {against!r} on {threads} threads")
