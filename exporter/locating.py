"""An artifact and its model -> where along the layers they part: what `exporter.parity.locate` needs, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from converters.artifact import Artifact
from converters.deploy.targets import PREFERENCES, Target
from converters.deploy.winograd import RULE as WINOGRAD
from converters.errors import ModelError
from exporter.formats import FORMATS
from exporter.options import ExportOptions
from exporter.parity.layers import Arrays
from exporter.parity.locate import Candidate, Finding, Profile, profile
from exporter.runtimes.base import Session, Traceable
from exporter.source import LoadedModel

SAMPLES: Final = 8
"""Enough that each layer varies."""

NUMBERS: Final = 50_000_000
"""In all tensors of a model, for all samples, at most; they are held in float64 some four times over."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """How a model is lowered: for a target, without the rules that were declined, and but for what was left."""

    target: Target
    without: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class LayerSearch:
    """Holds artifacts of one model against it, tensor by tensor. Its layers are traced once for each batch and form.

    A lowered artifact is held against the lowered model, which is proved equal to the model when it is made.

    Args:
        source: the model that the artifacts were made from.
        inputs: by the model's names, in its layout, samples first; the first `SAMPLES` are used.
    """

    def __init__(self, source: LoadedModel, inputs: Arrays) -> None:
        self._source, self._inputs = source, inputs
        self._inner: dict[tuple[int, _Way | None, bool], Any] = {}  # by the batch, and whether it was left open
        self._traced: dict[int, Any] = {}
        self._done: dict[tuple[int, _Way, bool], Any] = {}

    def profile(self, artifact: Artifact, session: Session, inputs: Arrays | None = None) -> Profile:
        """The profile of an artifact that is open in `session`.

        Args:
            inputs: to be used instead of the search's own, of the same shapes.

        Raises:
            ModelError: the runtime keeps its inner tensors to itself (LiteRT's and ONNX Runtime's can be read), the
                model's graph has no float64 form, or the artifact was lowered in a way that this version does not know.
        """
        if not isinstance(session, Traceable):
            raise ModelError(
                f"{session.description}: its inner tensors cannot be read; LiteRT's and ONNX Runtime's can"
            )
        batch = artifact.inputs[0].shape[0] or 1
        inputs = self._inputs if inputs is None else inputs
        candidate = Candidate(
            session, str(artifact.path), session.description, str(artifact.precision), artifact.inputs
        )
        found = []
        for way in _ways(artifact):
            inner = self._reference(batch, way, artifact)
            if inner is None:
                continue
            few = {name: array[:batch] for name, array in inputs.items()}
            each = sum(value.size for value in inner.run(few).values()) // batch
            # Two at least, so that what never varies is told from what does not vary within a sample.
            samples = -(-min(SAMPLES, max(2, NUMBERS // max(1, each))) // batch) * batch
            found.append(profile(candidate, inner, {name: v[:samples] for name, v in inputs.items()}))
            inner.close()  # of each way there are weights in several types
        return min(found, key=_unlike)

    def _reference(self, batch: int, way: _Way | None, artifact: Artifact) -> Any:
        """The model's inner tensors as they are, or lowered; None where it has no such form."""
        left_open = way is not None and artifact.inputs[0].shape[:1] == (None,)
        key = batch, way, left_open
        if key not in self._inner:
            self._inner[key] = self._plain(batch) if way is None else self._lowered(batch, way, left_open)
        told = artifact.metadata.get("lowered")
        done = {} if way is None else self._done[batch, way, left_open]
        if way is not None and told is not None:
            # What was not lowered so in the artifact, as a layer whose setting is the fault, is left as it is here.
            forms, given = _forms(done), _forms(told)
            left = tuple(name for name, rules in done["rewrites"].items() if (_own(name), tuple(rules)) not in given)
            if left and not way.left:
                return self._reference(batch, dataclasses.replace(way, left=left), artifact)
            if left or {name for name, _ in given - forms} - set(map(_own, way.left)):
                raise ModelError(
                    f"{artifact.path.name}: its blocks were lowered in another way than those of the model now are "
                    "(it is of another model, or another version), so that its tensors have no names"
                )
        return self._inner[key]

    def _plain(self, batch: int) -> Any:
        from exporter.inner import InnerModel

        self._traced[batch] = self._trace(batch)
        return InnerModel(self._traced[batch])

    def _trace(self, batch: int | Literal["dynamic"]) -> Any:
        from exporter.pipeline import trace

        shapes = {name: array.shape[1:] for name, array in self._inputs.items() if array.ndim > 1}
        return trace(self._source, ExportOptions(batch=batch, input_shapes=shapes))

    def _lowered(self, batch: int, way: _Way, left_open: bool) -> Any:
        from converters.calls import keras_call
        from converters.deploy.traced import lower_traced
        from converters.trace import retrace
        from exporter.inner_lowered import lowered_inner

        if (batch, None, False) not in self._inner:
            self._inner[batch, None, False] = self._plain(batch)
        plain = self._inner[batch, None, False]
        given = self._trace("dynamic") if left_open else self._traced[batch]
        traced, lowered = lower_traced(given, way.target, self._inputs, way.without, way.left)
        self._done[batch, way, left_open] = lowered.summary()
        if not lowered.rewrites:
            return None
        if left_open:  # other forms are taken then; they are read at a fixed batch all the same
            traced = retrace(self._traced[batch], keras_call(lowered.model, {}))
        return lowered_inner(plain, traced, self._inputs)


def _forms(summary: Mapping[str, Any]) -> set[tuple[str, tuple[str, ...]]]:
    """What was done to which block, without the models it is nested in: a copy with a fault may be nested."""
    return {(_own(name), tuple(rules)) for name, rules in summary["rewrites"].items()}


def _own(name: str) -> str:
    return name.rpartition("/")[2]


def _ways(artifact: Artifact) -> Sequence[_Way | None]:
    """How the artifact's graph may have been lowered, None being the model as it is."""
    if "described_by" in artifact.metadata:  # a bare file does not tell; the form that it is most like is taken
        known = dict.fromkeys(each for row in FORMATS[artifact.format].targets.values() for each in row)
        optional = [each for each in known if PREFERENCES[each].winograd_from is not None]
        return (None, *map(_Way, known), *(_Way(each, (WINOGRAD,)) for each in optional))
    told = artifact.metadata.get("lowered") or {}
    if not told.get("rewrites"):
        return (None,)
    optional_used = any(WINOGRAD in rules for rules in told["rewrites"].values())
    return (_Way(Target(told["target"]), () if optional_used else (WINOGRAD,)),)


def _unlike(found: Profile) -> int:
    """How many tensors of the file are none of the model's, or leave it."""
    return len(found.unmatched) + sum(row.finding is Finding.LEAVES for row in found.rows)
