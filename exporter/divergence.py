"""Where artifacts that failed leave their model: the search along the layers, for `exporter.verify`.

It needs the model itself and TensorFlow, so `exporter.verification` imports it only where a model is at hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from converters.errors import CbamError, ModelError
from exporter.breakdown import NOT_RUN, Kept
from exporter.locating import LayerSearch
from exporter.parity.fitting import Fitting, fit
from exporter.parity.locate import Profile
from exporter.parity.record import Record
from exporter.parity.verdict import Verdict
from exporter.runtimes.table import runtime
from exporter.source import LoadedModel, load_source

Step = Callable[[str], None]

TRACEABLE: Final = {"tflite": "litert", "onnx": "onnxruntime"}
"""By format, the runtime whose inner tensors can be read."""

WORST: Final = 4
"""Samples of those searched that are chosen for their error; the others are there so that each layer varies."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What the search says of one artifact.

    Attributes:
        profile: of its tensors along the layers; None where that could not be had.
        reason: why no layer is named; empty where one is.
        rows: rows of the record that were searched with, in order, more than were needed.
    """

    artifact: Artifact
    profile: Profile | None
    reason: str
    rows: np.ndarray


def open_model(model: Any, record: Record, on_step: Step) -> LoadedModel:
    """The model that a reference was recorded of.

    Raises:
        ModelError: it cannot be opened, or has other weights than the record's.
    """
    from exporter.recording import weights_fingerprint

    source = load_source(model, {name: array.shape[1:] for name, array in record.inputs.items()}, on_step)
    if weights_fingerprint(source) != record.fingerprint:
        raise ModelError(
            f"--locate {source.origin}: has other weights than the reference of {record.name} was recorded with; "
            "give the model that was recorded"
        )
    return source


class Divergences:
    """Searches artifacts of one model. Its layers are traced when the first one is searched."""

    def __init__(self, source: Callable[[], LoadedModel], record: Record, on_step: Step) -> None:
        self._open, self._record, self._on_step = source, record, on_step
        self._search: LayerSearch | None = None

    def find(self, artifact: Artifact, rows: Sequence[Mapping[str, Any]], kept: Sequence[Kept]) -> Found:
        """Search one artifact on the samples that it failed on, else on real ones.

        Args:
            rows: of `verification`, those of this artifact; kept: what it gave, in each runtime.
        """
        chosen = _chosen(self._record, rows, kept)
        if not kept:
            return Found(artifact, None, NOT_RUN, chosen)
        name = TRACEABLE.get(artifact.format)
        if name is None:
            return Found(
                artifact,
                None,
                f"inner tensors of {artifact.format} cannot be read, those of tflite and onnx can",
                chosen,
            )
        self._on_step(f"searching {artifact.path.name} along the layers")
        try:
            profile = self._profile(artifact, name, chosen)
        except CbamError as error:
            return Found(artifact, None, str(error), chosen)
        except Exception as error:  # a model that cannot be taken apart leaves its verdict as it is, and is told
            text = " ".join(str(error).split())[:300]
            return Found(artifact, None, f"the search itself failed: {type(error).__name__}: {text}", chosen)
        return Found(artifact, profile, "" if profile.divergence else profile.note, chosen)

    def _profile(self, artifact: Artifact, name: str, chosen: np.ndarray) -> Profile:
        inputs = {key: array[chosen] for key, array in self._record.inputs.items()}
        if self._search is None:
            self._search = LayerSearch(self._open(), inputs)
        with runtime(name).open(artifact) as session:
            return self._search.profile(_in_order(artifact, fit(self._record, artifact)), session, inputs)


def to_json(found: Sequence[Found], failed: Collection[str], profiles: bool) -> dict[str, list[dict[str, Any]]]:
    """What the result tells of the search: `divergence`, `not_located` of what failed; `artifact_gates`; `profiles`.

    Args:
        failed: paths of the artifacts that failed. What is found of others stands in their profiles alone.
        profiles: whether these are asked for.
    """
    bad = [each for each in found if str(each.artifact.path) in failed]
    places = [each.profile.divergence.to_json() for each in bad if each.profile and each.profile.divergence]
    told: dict[str, list[dict[str, Any]]] = {
        "divergence": places,
        "not_located": [{"artifact": str(each.artifact.path), "reason": each.reason} for each in bad if each.reason],
        "artifact_gates": [],
    }
    whole = [each.profile.to_json() for each in found if each.profile]
    for each in whole:
        what = {"artifact": each["artifact"], "runtime": each["runtime"]}
        told["artifact_gates"] += [{**what, **line} for line in each["gates"]]
    return {**told, "profiles": whole} if profiles else told


def _in_order(artifact: Artifact, fitting: Fitting) -> Artifact:
    """The artifact with its inputs in the order of the record's, and the layout that was found out."""
    specs = []
    for each in fitting.inputs:
        turned = each.spec if not each.turn else dataclasses.replace(each.spec, layout=each.turn.split()[-1])
        specs.append(turned)
    return dataclasses.replace(artifact, inputs=tuple(specs))


def _chosen(record: Record, rows: Sequence[Mapping[str, Any]], kept: Sequence[Kept]) -> np.ndarray:
    """All rows of the record: the worst of the case that failed first, then the rest of it, then the real ones."""
    failed = next((each for each in rows if each["verdict"] == Verdict.FAILED), None)
    real = record.cases[0]
    case = next((each for each in record.cases if failed and each.name == failed["case"]), real)
    first = np.arange(case.start, case.start + case.count)
    if failed is not None:
        run = next((each for each in kept if each.runtime == failed["runtime_name"]), None)
        first = np.concatenate([_worst(record, failed["output"], case.start, first, run), first])
    order = np.concatenate([first, np.arange(real.start, real.start + real.count), np.arange(record.samples)])
    _, places = np.unique(order, return_index=True)
    return np.asarray(order[np.sort(places)])


def _worst(record: Record, output: str, start: int, rows: np.ndarray, run: Kept | None) -> np.ndarray:
    """The rows of a case with the largest errors, at most WORST."""
    if run is None or output not in run.outputs:
        return rows[:0]
    shift = record.cases[0].count - run.real if start else 0  # of the real case fewer may have been run
    given, expected = run.outputs[output], record.expected[output]
    rows = rows[: run.real] if not start else rows
    if len(expected) != record.samples or len(given) != record.samples - (record.cases[0].count - run.real):
        return rows[:0]
    if given.shape[1:] != expected.shape[1:]:
        return rows[:0]
    off = np.abs(given[rows - shift].astype(np.float64) - expected[rows]).reshape(len(rows), -1).max(1)
    return rows[np.argsort(-np.where(np.isfinite(off), off, np.inf), kind="stable")[:WORST]]
