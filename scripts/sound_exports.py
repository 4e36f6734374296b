"""Sound artifacts of one model, in every format and precision, and how it is made ready to be measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from converters.artifact import Artifact, Precision
from converters.errors import CbamError
from exporter import ExportOptions, export
from exporter.formats import FORMATS
from exporter.parity.gates import Gates
from exporter.quantisation.options import QuantisationOptions

ANY = Gates(agreement=0.0, sqnr_db=-1000.0)
"""With random weights eight bits may lose much; what is asked here is where, not how much."""


def sound_exports(
    model: Any,
    images: np.ndarray | None,
    folder: Path,
    *,
    formats: tuple[str, ...] = tuple(FORMATS),
    precisions: tuple[str, ...] = tuple(Precision),
    told: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Iterator[Artifact]:
    """Each format in each precision that it has, as the commands make them by default.

    Args:
        images: to calibrate with; None: the model's own.
        told: what is refused, with the reason.
        options: of `ExportOptions`.
    """
    for name in formats:
        for precision in (each for each in FORMATS[name].precisions if each in precisions):
            more: dict[str, Any] = {"verify": False}
            if precision is not Precision.FP32:
                quantisation = QuantisationOptions(calibration=images, force=True, methods=("minmax",), gates=ANY)
                if precision not in (Precision.INT8, Precision.INT16X8):
                    quantisation = QuantisationOptions(calibration=images, force=True, gates=ANY)
                more = {"quantisation": quantisation}
            try:
                made = export(
                    model, ExportOptions((name,), precision=precision, output=folder, **more, **options)
                ).artifacts
            except CbamError as error:
                told(f"{name} {precision}: not made: {error}")
                continue
            yield from made


def as_if_trained(model: Any, images: np.ndarray) -> None:
    """Give an untrained model values of a usual size from end to end, in place.

    As it is drawn, a deep net gives nearly the same for every image, and a gate whose scale begins at 0 is constant:
    little could be seen to be wrong, and LiteRT's reference kernels end their process in an int8 softmax over a
    thousand scores that are alike. Each normalisation divides by the root mean square that the images give there; its
    mean stays 0, since nets with random weights that subtract it make any rounding large. Scales that are 0 become
    0.2, and the last layer is scaled to scores that deviate by 3.

    Args:
        model: functional, in Keras on TensorFlow, ends in a dense layer.
        images: (samples, height, width, channels).
    """
    norms = [layer for layer in model._flatten_layers() if hasattr(layer, "moving_variance")]
    for norm in norms:
        if norm.gamma is not None and not np.any(norm.gamma.numpy()):
            norm.gamma.assign(np.full(norm.gamma.shape, _SCALE))
        norm.call = _measuring(norm)
    model(images)
    for norm in norms:
        del norm.call
    last = model.layers[-1]
    kernel, bias = last.get_weights()
    scores = keras.Model(model.input, last.input)(images).numpy() @ kernel
    last.set_weights([kernel * _DEVIATION / float(np.std(scores)), bias])


def _measuring(norm: Any) -> Callable[..., Any]:
    """A call of a normalisation that sets its variance by what it is given first."""

    def call(inputs: Any, **_: Any) -> Any:
        norm.moving_variance.assign(keras.ops.mean(inputs**2, tuple(range(len(inputs.shape) - 1))))
        return type(norm).call(norm, inputs, training=False)

    return call


_SCALE: Final = 0.2
_DEVIATION: Final = 3.0
