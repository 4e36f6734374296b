"""What a model's first BatchNormalization recorded of its training data, against the calibration data.

Its moving mean and variance are, channel by channel, those of what the layers before it made of the training images.
Data in another range, or with red and blue swapped, give other ones.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from exporter.quantisation.samples import SampleSet

_SAMPLES: Final = 64

SPREAD_LIMIT: Final = 10.0
"""By what factor the standard deviations may differ, in the median of the channels. 0..255 for 0..1 is 255; another
data set of the same kind stays below 2, photographs for digits below 4."""

SWAP_GAIN: Final = 4.0
"""How many times nearer to the record the swapped channels must come to be taken for the right ones."""

SWAP_DISTANCE: Final = 0.02
"""Below this distance (mean squared, in deviations) the data fit as they are, and a better fit means nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """How the data compare with the record of one layer.

    Attributes:
        layer: its name.
        factor: median over the channels of the data's standard deviation over the recorded one.
        distance: mean over the channels of the squared distance of the means, in recorded deviations.
        swapped: the same with the first and the last of three channels exchanged; None where there are not three.
    """

    layer: str
    factor: float
    distance: float
    swapped: float | None

    def faults(self) -> list[str]:
        """What is unlike the record, in words."""
        said = []
        if not 1 / SPREAD_LIMIT <= self.factor <= SPREAD_LIMIT:
            said.append(
                f"behind the first layers the data vary {self.factor:.3g} times as much as the training data did, by "
                f"the record of {self.layer!r}; expected a factor near 1: their range is not the training's"
            )
        elif self.swapped is not None and self.distance > max(SWAP_DISTANCE, SWAP_GAIN * self.swapped):
            said.append(
                f"with red and blue exchanged the data are {self.distance / max(self.swapped, 1e-12):.3g} times nearer "
                f"to the training data, by the record of {self.layer!r}; expected the other order of channels"
            )
        return said


def compare(model: Any, samples: SampleSet, layout: str | None) -> Record | None:
    """Compare the data of a model's one image input with its first BatchNormalization; None where there is none.

    Args:
        model: a Functional or Sequential Keras model, or None.
        layout: of its input.
    """
    if model is None or len(samples.arrays) != 1 or not getattr(model, "inputs", None):
        return None
    import keras

    norm = next((layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"), None)
    if norm is None or len(norm._inbound_nodes) != 1:
        return None
    before = keras.Model(model.inputs[0], norm.input)
    (array,) = samples.arrays.values()
    few = array[:_SAMPLES]
    mean, deviation = np.asarray(norm.moving_mean), np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    axis = norm.axis if isinstance(norm.axis, int) else norm.axis[0]

    def distance(images: np.ndarray) -> tuple[float, float]:
        value = np.asarray(before(images, training=False))
        flat = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis]).astype(np.float64)
        factor = float(np.median(flat.std(axis=0) / deviation))
        return factor, float(np.mean(((flat.mean(axis=0) - mean) / deviation) ** 2))

    factor, own = distance(few)
    channels = {"NHWC": -1, "NCHW": 1}.get(layout or "")
    swapped = None
    if channels is not None and few.shape[channels] == 3:
        swapped = distance(np.ascontiguousarray(np.flip(few, channels)))[1]
    return Record(norm.name, factor, own, swapped)
