"""The named, trained models that the package ships, with their calibration and test images. No heavy import."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class ZooModel:
    """One shipped model.

    Attributes:
        file: its `.keras` file in exporter/models/data.
        images: the `.npz` of its images there: `calibration`, `test` (uint8, NHWC) and `labels` of the test images.
        labels: class names, in output order.
        summary: one line for help and README.
    """

    name: str
    file: str
    images: str
    labels: tuple[str, ...]
    summary: str

    def path(self) -> Traversable:
        """The model file."""
        return data(self.file)

    def calibration_images(self) -> np.ndarray:
        """200 images, float32 NHWC in 0..1, none of them among the test images."""
        return self._images("calibration")

    def test_images(self) -> np.ndarray:
        """1,000 images that the model was not trained on, float32 NHWC in 0..1."""
        return self._images("test")

    def test_labels(self) -> np.ndarray:
        """The classes of the test images, int."""
        with resources.as_file(data(self.images)) as path, np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["labels"])

    def _images(self, part: str) -> np.ndarray:
        with resources.as_file(data(self.images)) as path, np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[part], np.float32) / np.float32(255)


def data(name: str) -> Traversable:
    """A file of exporter/models/data."""
    return resources.files("exporter.models").joinpath("data", name)


_DIGITS: Final = tuple("0123456789")

DEFAULT_MODEL: Final = "cbam-mnist"

ZOO: Final[Mapping[str, ZooModel]] = {
    row.name: row
    for row in (
        ZooModel(
            "cbam-mnist",
            "cbam-mnist.keras",
            "mnist.npz",
            _DIGITS,
            "small CBAM CNN, handwritten digits, 28x28x1 in 0..1",
        ),
        ZooModel(
            "cbam-mobilenet-mnist",
            "cbam-mobilenet-mnist.keras",
            "mnist.npz",
            _DIGITS,
            "depthwise CBAM CNN in MobileNetV1's manner, handwritten digits, 28x28x1 in 0..1",
        ),
    )
}
