"""What a report draws of a quantised file: SQNR along the operations, the gates' values, the ranges of the tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from exporter.quantisation.candidates import Candidate
from exporter.quantisation.search import PROBES
from exporter.quantisation.sensitivity import layers, traced
from exporter.runtimes.base import Arrays

BINS: Final = 48


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """JSON-able.

    Attributes:
        samples: that it is of.
        layers: every operation: `key`, `label`, `tensor`, `sqnr_db` and `loss_db` (null where infinite).
        gates: of each: `label`, `low` and `high` of the histograms, `float` and `quantised` shares by bin.
        ranges: of each tensor: `label`, `seen` and `stored` ([low, high]; null where not known), `widened`.
    """

    samples: int
    layers: tuple[Mapping[str, Any], ...]
    gates: tuple[Mapping[str, Any], ...]
    ranges: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the report's JSON."""
        return {
            "samples": self.samples,
            "layers": [dict(each) for each in self.layers],
            "gates": [dict(each) for each in self.gates],
            "ranges": [dict(each) for each in self.ranges],
        }


def profile(chosen: Candidate, quantised: Artifact, inputs: Arrays) -> Profile:
    """Look into a quantised file.

    Args:
        chosen: how it was made.
        quantised: the file, of which inner tensors are read.
        inputs: samples, of which the first PROBES are used.
    """
    assert chosen.recipe is not None
    probes = {name: array[:PROBES] for name, array in inputs.items()}
    every = layers(chosen.recipe.plain, quantised, probes)
    gates = [each for each in every if each.label.endswith(" gate")]
    names = {each.tensor for each in gates}
    values = [traced(artifact, probes, names) for artifact in (chosen.recipe.plain, quantised)]
    labels = {each.tensor: each.label for each in every}
    seen, stored = chosen.recipe.seen, chosen.recipe.ranges
    return Profile(
        len(next(iter(probes.values()))),
        tuple({**each.to_json(), "tensor": each.tensor} for each in every),
        tuple(_histograms(each.label, *(part[each.tensor] for part in values)) for each in gates),
        tuple(
            {
                "label": labels.get(name, name),
                "seen": list(seen[name]),
                "stored": list(stored[name]) if name in stored else None,
                "widened": name in chosen.floored,
            }
            for name in seen
        ),
    )


def _histograms(label: str, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    both = np.concatenate([first.reshape(-1), second.reshape(-1)])
    low, high = min(0.0, float(both.min())), max(1.0, float(both.max()))
    shares = {}
    for name, value in (("float", first), ("quantised", second)):
        counts = np.histogram(value, BINS, (low, high))[0]
        shares[name] = [round(float(count) / value.size, 6) for count in counts]
    return {"label": label, "low": low, "high": high, **shares}
