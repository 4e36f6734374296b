"""An artifact and its model -> where along the layers they part: what `exporter.parity.locate` needs, put together."""

from __future__ import annotations

from typing import Any, Final

from converters.artifact import Artifact
from converters.errors import ModelError
from exporter.options import ExportOptions
from exporter.parity.layers import Arrays
from exporter.parity.locate import Candidate, Profile, profile
from exporter.runtimes.base import Session, Traceable
from exporter.source import LoadedModel

SAMPLES: Final = 8
"""Enough that each layer varies, and few enough that all tensors of a large model fit into memory."""


def layer_profile(source: LoadedModel, artifact: Artifact, session: Session, inputs: Arrays) -> Profile:
    """Hold an opened artifact against its model, tensor by tensor.

    Args:
        source: the model it was made from.
        session: of a runtime whose inner tensors can be read (`Traceable`): LiteRT, ONNX Runtime.
        inputs: by the model's names, in its layout, samples first; the first `SAMPLES` are used.

    Raises:
        ModelError: the runtime keeps its inner tensors to itself, or the model's graph cannot be run in float64.
    """
    from exporter.inner import InnerModel
    from exporter.pipeline import trace

    if not isinstance(session, Traceable):
        raise ModelError(f"{session.description}: its inner tensors cannot be read; LiteRT's and ONNX Runtime's can")
    batch = artifact.inputs[0].shape[0] or 1
    # The artifact's sizes; a turned input has them in another order, and then the model's own are the same.
    turned = any(spec.layout == "NCHW" for spec in artifact.inputs)
    shapes = {} if turned else {name: array.shape[1:] for name, array in inputs.items() if array.ndim > 1}
    traced: Any = trace(source, ExportOptions(batch=batch, input_shapes=shapes))
    samples = -(-min(SAMPLES, len(next(iter(inputs.values())))) // batch) * batch
    candidate = Candidate(session, str(artifact.path), session.description, str(artifact.precision), artifact.inputs)
    return profile(candidate, InnerModel(traced), {name: array[:samples] for name, array in inputs.items()})
