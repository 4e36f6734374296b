"""How a quantised artifact compares with the float model on given samples, in real numbers."""

from __future__ import annotations

import numpy as np

from converters.artifact import Artifact, TensorSpec
from exporter.parity.check import Arrays, run_in_batches
from exporter.parity.gates import Gates, judge_quantised
from exporter.parity.metrics import compare
from exporter.parity.stored import to_real, to_stored
from exporter.parity.verdict import OutputVerdict
from exporter.runtimes.base import Session


def in_layout(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Images as the artifact takes them: NCHW where the model's NHWC input was asked for so (--inputs-as-nchw)."""
    if spec.layout == "NCHW" and array.ndim == 4 and array.shape[1:] != spec.shape[1:]:
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    return array


def run_real(session: Session, artifact: Artifact, inputs: Arrays) -> dict[str, np.ndarray]:
    """All samples through the artifact: real numbers by the model's input names, in its layouts, to real numbers.

    Names and order are the model's: no format that is quantised changes them.
    """
    stored = {}
    for spec in artifact.inputs:
        stored[spec.name] = to_stored(in_layout(inputs[spec.name], spec), spec)
    given = run_in_batches(session, stored, artifact.inputs[0].shape[0])
    return {spec.name: to_real(given[spec.name], spec) for spec in artifact.outputs if spec.name in given}


def judge(
    session: Session, artifact: Artifact, inputs: Arrays, expected: Arrays, gates: Gates
) -> dict[str, OutputVerdict]:
    """A verdict for each output of the model."""
    given = run_real(session, artifact, inputs)
    return {name: judge_quantised(array, given.get(name), gates) for name, array in expected.items()}


def score(session: Session, artifact: Artifact, inputs: Arrays, expected: Arrays) -> tuple[float, float]:
    """SQNR in dB and agreement as a share, as `score_of`."""
    return score_of(run_real(session, artifact, inputs), expected)


def score_of(given: Arrays, expected: Arrays) -> tuple[float, float]:
    """SQNR in dB and agreement as a share, of the worst output each; what cannot be compared counts as -inf and 0."""
    decibels, shares = [], []
    for name, array in expected.items():
        got = given.get(name)
        if got is None or got.shape != array.shape or not np.isfinite(got).all():
            return float("-inf"), 0.0
        metrics = compare(array, got)
        decibels.append(float("inf") if metrics.sqnr_db is None else metrics.sqnr_db)
        shares.append(1.0 if metrics.agreement is None else metrics.agreement)
    return min(decibels), min(shares)
