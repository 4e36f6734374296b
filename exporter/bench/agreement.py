"""Do artifacts that are timed side by side compute the same? A fast one that does not is no find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.artifact import Artifact, TensorSpec
from converters.errors import ModelError
from exporter.bench.result import Agreement
from exporter.bench.timing import TIMERS
from exporter.parity.check import run_in_batches
from exporter.parity.metrics import compare
from exporter.parity.stored import to_real, to_stored
from exporter.runtimes.table import runtime

Values = Sequence[np.ndarray]


def run_artifact(artifact: Artifact, inputs: Values) -> list[np.ndarray]:
    """Its outputs as real numbers, in order, for float inputs in order, samples first.

    Raises:
        ModelError: it takes inputs of another shape, or its file has no signature that names them.
        ConversionError: the runtime refuses it.
    """
    given = {}
    for spec, value in zip(artifact.inputs, inputs, strict=True):
        given[spec.name] = to_stored(_fitted(value, spec, artifact), spec)
    with runtime(TIMERS[artifact.format].runtime).open(artifact) as session:
        outputs = run_in_batches(session, given, _batch(artifact))
    return [np.asarray(to_real(outputs[spec.name], spec), np.float64) for spec in artifact.outputs]


def agreement(reference: Values, outputs: Values, described: str) -> Agreement:
    """Over all outputs, the worst of each figure.

    Raises:
        ModelError: there are other outputs, of other shapes, or some that are not finite.
    """
    if [value.shape for value in reference] != [value.shape for value in outputs]:
        raise ModelError("its outputs have other shapes")
    if not all(np.isfinite(value).all() for value in (*reference, *outputs)):
        raise ModelError("an output holds NaN or infinity")
    found = [compare(mine, other) for mine, other in zip(reference, outputs, strict=True)]
    return Agreement(
        reference=described,
        samples=len(reference[0]),
        max_abs=max(metrics.max_abs for metrics in found),
        relative=max((each.relative for each in found if each.relative is not None), default=None),
        sqnr_db=min((each.sqnr_db for each in found if each.sqnr_db is not None), default=None),
        top_1=min((each.agreement for each in found if each.agreement is not None), default=None),
    )


def _fitted(value: np.ndarray, spec: TensorSpec, artifact: Artifact) -> np.ndarray:
    """The samples in the artifact's layout."""
    sizes = tuple(spec.shape[1:])
    if value.shape[1:] == sizes:
        return value
    if value.ndim == 4:
        for turned in (value.transpose(0, 3, 1, 2), value.transpose(0, 2, 3, 1)):
            if turned.shape[1:] == sizes:
                return np.ascontiguousarray(turned)
    raise ModelError(f"{artifact.path.name} takes {spec}, not {'x'.join(map(str, value.shape[1:]))}")


def _batch(artifact: Artifact) -> int | None:
    return artifact.inputs[0].shape[0]


def real_specs(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Inputs as the real numbers that a quantised artifact's integers stand for."""
    return [
        TensorSpec(spec.name, spec.shape, "float32" if spec.scale is not None else spec.dtype, spec.layout)
        for spec in specs
    ]
