"""From an image's bytes to the numbers a model takes: stored with the artifact, so that a device does the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from converters.errors import OptionError, closest

Order = Literal["rgb", "bgr", "grey"]
Resize = Literal["crop", "stretch"]

LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclasses.dataclass(frozen=True, slots=True)
class Preprocessing:
    """value = (pixel * scale - mean) / std, channel by channel, where pixel is 0..255.

    Attributes:
        scale: one factor for all channels.
        mean, std: one number, or one a channel in the order of `order`.
        order: of the channels that the model takes.
        resize: `crop` scales the image until it covers the model's size and cuts out the middle; `stretch` scales both
            sides by themselves. Either by linear interpolation, averaged where it shrinks.
        source: where this is known from, in words.

    Raises:
        OptionError: on construction, for a scale or deviation of 0 or what is not finite.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    order: Order = "rgb"
    resize: Resize = "crop"
    source: str = "asked for"

    def __post_init__(self) -> None:
        for name, values in (("--scale", (self.scale,)), ("--mean", self.mean), ("--std", self.std)):
            if not all(np.isfinite(values)) or (name != "--mean" and not all(values)):
                raise OptionError(f"{name} takes finite numbers{' but 0' if name != '--mean' else ''}; got {values}")
            if len(values) not in (1, 3):
                raise OptionError(f"{name} takes one number, or one for each of three channels; got {len(values)}")

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Numbers 0..255, channels last and in the model's order, as the model takes them, float32."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        made: np.ndarray = (pixels.astype(np.float64) * self.scale - mean) / std
        return made.astype(np.float32)

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest value that can come out."""
        ends = self.apply(np.array([[0.0], [255.0]]) * np.ones(max(len(self.mean), len(self.std))))
        return float(ends.min()), float(ends.max())

    def to_json(self) -> dict[str, Any]:
        """As it stands in the sidecar."""
        return {
            "formula": "(pixel * scale - mean) / std, pixel in 0..255",
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
            "order": self.order,
            "resize": self.resize,
            "source": self.source,
        }


PRESETS: Final[Mapping[str, Preprocessing]] = {
    "unit": Preprocessing(scale=1 / 255, source="preset unit"),
    "bytes": Preprocessing(source="preset bytes"),
    "tf": Preprocessing(scale=1 / 127.5, mean=(1.0,), source="preset tf"),
    "torch": Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), source="preset torch"),
    "caffe": Preprocessing(mean=(103.939, 116.779, 123.68), order="bgr", source="preset caffe"),
}
"""unit: 0..1. bytes: 0..255. tf, torch and caffe: as `keras.applications.imagenet_utils` has them."""


def preset(name: str) -> Preprocessing:
    """The preset of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in PRESETS:
        raise OptionError(f"unknown --preprocess {name!r}{closest(name, PRESETS)}")
    return PRESETS[name]


def chosen(formula: Mapping[str, Any], changes: Mapping[str, str | None]) -> Preprocessing | None:
    """What a user's options ask for; None if they ask for nothing that says how pixels become numbers.

    Args:
        formula: `preprocess` (a preset's name), `scale`, `mean` and `std`, each None where it was not given.
        changes: `order` and `resize`, likewise.

    Raises:
        OptionError: a preset and a formula of one's own at once, or changes to nothing.
    """
    name = formula["preprocess"]
    own = {key: formula[key] for key in ("scale", "mean", "std") if formula[key] is not None}
    if name is not None and own:
        raise OptionError(f"--preprocess {name} sets scale, mean and std; leave out {', '.join('--' + k for k in own)}")
    if name is None and not own:
        if any(changes.values()):
            raise OptionError("--channels and --resize go with --preprocess or --scale, which say what pixels become")
        return None
    made = preset(name) if name is not None else Preprocessing(**own)
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(made, **given)


def known(keras_model: Any, zoo: bool) -> Preprocessing | None:
    """What the model itself tells: a zoo model, or one that begins with Rescaling or Normalization; else None."""
    if zoo:
        return Preprocessing(scale=1 / 255, source="the zoo model's training")
    for layer in keras_model.layers if keras_model is not None else ():
        kind = type(layer).__name__
        if kind == "Rescaling" and np.all(np.asarray(layer.scale) <= 1 / 64):
            return Preprocessing(source="the model's own Rescaling layer, which takes 0..255")
        if kind == "Normalization" and not layer.invert:
            # A deviation of bytes is some tens; of numbers in 0..1 it is below 0.5.
            deviation = float(np.sqrt(np.max(np.asarray(layer.variance))))
            if deviation > 8:
                return Preprocessing(source="the model's own Normalization layer, whose statistics are of 0..255")
            if 1 / 64 < deviation <= 0.5:
                return Preprocessing(
                    scale=1 / 255, source="the model's own Normalization layer, whose statistics are of 0..1"
                )
        if layer.weights or kind not in ("InputLayer", "Resizing", "CenterCrop", "ZeroPadding2D", "Identity"):
            return None
    return None
