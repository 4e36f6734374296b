"""An artifact and its model -> where along the layers they part: what `exporter.parity.locate` needs, put together."""

from __future__ import annotations

from typing import Any, Final

from converters.artifact import Artifact
from converters.errors import ModelError
from exporter.options import ExportOptions
from exporter.parity.layers import Arrays, InnerReference
from exporter.parity.locate import Candidate, Profile, profile
from exporter.runtimes.base import Session, Traceable
from exporter.source import LoadedModel

SAMPLES: Final = 8
"""Enough that each layer varies."""

NUMBERS: Final = 50_000_000
"""In all tensors of a model, for all samples, at most; they are held in float64 some four times over."""


class LayerSearch:
    """Holds artifacts of one model against it, tensor by tensor. Its layers are traced once for each batch.

    Args:
        source: the model that the artifacts were made from.
        inputs: by the model's names, in its layout, samples first; the first `SAMPLES` are used.
    """

    def __init__(self, source: LoadedModel, inputs: Arrays) -> None:
        self._source, self._inputs = source, inputs
        self._inner: dict[int, InnerReference] = {}

    def profile(self, artifact: Artifact, session: Session, inputs: Arrays | None = None) -> Profile:
        """The profile of an artifact that is open in `session`.

        Args:
            inputs: to be used instead of the search's own, of the same shapes.

        Raises:
            ModelError: the runtime keeps its inner tensors to itself (LiteRT's and ONNX Runtime's can be read), or the
                model's graph has no float64 form.
        """
        if not isinstance(session, Traceable):
            raise ModelError(
                f"{session.description}: its inner tensors cannot be read; LiteRT's and ONNX Runtime's can"
            )
        batch = artifact.inputs[0].shape[0] or 1
        if batch not in self._inner:
            self._inner[batch] = self._traced(batch)
        inner = self._inner[batch]
        inputs = self._inputs if inputs is None else inputs
        few = {name: array[:batch] for name, array in inputs.items()}
        each = sum(value.size for value in inner.run(few).values()) // batch
        # Two at least, so that what never varies is told from what does not vary within a sample.
        samples = -(-min(SAMPLES, max(2, NUMBERS // max(1, each))) // batch) * batch
        candidate = Candidate(
            session, str(artifact.path), session.description, str(artifact.precision), artifact.inputs
        )
        return profile(candidate, inner, {name: v[:samples] for name, v in inputs.items()})

    def _traced(self, batch: int) -> InnerReference:
        from exporter.inner import InnerModel
        from exporter.pipeline import trace

        shapes = {name: array.shape[1:] for name, array in self._inputs.items() if array.ndim > 1}
        traced: Any = trace(self._source, ExportOptions(batch=batch, input_shapes=shapes))
        return InnerModel(traced)
