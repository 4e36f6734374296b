"""The layer at fault of artifacts that failed: what `cbam verify` says beyond the verdict where it has the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from converters.artifact import Artifact
from converters.errors import CbamError
from exporter.locating import LayerSearch
from exporter.parity.record import Record
from exporter.runtimes.table import runtime
from exporter.source import load_source

READABLE: Final = {"tflite": "litert", "onnx": "onnxruntime"}
"""By format, the runtime whose inner tensors can be read."""


def find_faults(
    model: Any, record: Record, failed: Sequence[Artifact], on_step: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of `divergence`, and remarks for the artifacts whose layer at fault cannot be told.

    Args:
        model: that the artifacts were made from, as for `exporter.export`.
        record: whose real inputs are used.
        failed: the artifacts.
    """
    source = load_source(model, {spec.name: _sizes(spec.shape) for spec in record.input_specs}, on_step)
    real = record.cases[0].rows
    search = LayerSearch(source, {name: array[real] for name, array in record.inputs.items()})
    found, remarks = [], []
    for artifact in failed:
        name = str(artifact.path)
        if artifact.format not in READABLE:
            remarks.append({"artifact": name, "remark": f"the layer at fault is told of {' and '.join(READABLE)} only"})
            continue
        on_step(f"looking for the layer at fault in {artifact.path.name}")
        try:
            with runtime(READABLE[artifact.format]).open(artifact) as session:
                profile = search.profile(artifact, session)
        except CbamError as error:  # the verdict stands without it
            remarks.append({"artifact": name, "remark": f"the layer at fault cannot be told: {error}"})
            continue
        if profile.divergence is None:
            remarks.append({"artifact": name, "remark": f"the layer at fault was not found: {profile.note}"})
        else:
            found.append(profile.divergence.to_json())
    return found, remarks


def _sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(size for size in shape[1:] if size is not None)
