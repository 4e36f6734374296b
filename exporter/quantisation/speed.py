"""Whether a quantised file runs faster than the float one, here: interleaved, so that both meet the same machine."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from exporter.formats import FORMATS
from exporter.runtimes.table import runtime

ROUNDS: Final = 40
SECONDS: Final = 5.0
"""No new round is begun after so long."""


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """Medians over the rounds: milliseconds of one inference of each, and of the ratio within each round."""

    float_ms: float
    quantised_ms: float
    ratio: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in --json."""
        return dataclasses.asdict(self)


def compare(plain: Artifact, quantised: Artifact) -> Speed:
    """Time one float and one quantised file of a format in its own runtime, with zeros for inputs."""
    with (
        runtime(FORMATS[plain.format].runtime).open(plain) as first,
        runtime(FORMATS[quantised.format].runtime).open(quantised) as second,
    ):
        pairs = [(session, _zeros(of)) for session, of in ((first, plain), (second, quantised))]
        for session, inputs in pairs:
            session.run(inputs)  # the first one allocates
        rounds = list[tuple[float, float]]()
        start = time.perf_counter()
        while len(rounds) < ROUNDS and (time.perf_counter() - start < SECONDS or len(rounds) < 3):
            taken = []
            for session, inputs in pairs:
                before = time.perf_counter()
                session.run(inputs)
                taken.append(1e3 * (time.perf_counter() - before))
            rounds.append((taken[0], taken[1]))
    median = statistics.median
    return Speed(
        median(one for one, _ in rounds), median(two for _, two in rounds), median(two / one for one, two in rounds)
    )


def _zeros(artifact: Artifact) -> dict[str, np.ndarray]:
    return {spec.name: np.zeros([size or 1 for size in spec.shape], spec.dtype) for spec in artifact.inputs}
