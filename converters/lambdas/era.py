"""Which libraries wrote a model file, as far as its config tells, and what a user says where it does not.

tf.keras of TensorFlow 1.13 to 2.1 writes one version, 2.2.4-tf. Measured with files of all five, these tell them apart:
the order of the keys of a layer in a graph (2.x puts the class first), the dtype in an initializer's config (1.x), and
the order of a Lambda's keys (1.13). A Sequential model of Lambdas alone has none of these: files of 1.15, 2.0 and 2.1
are then equal byte for byte. So are files of standalone Keras 2.3 on TensorFlow 1.15 and on 2.0.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Final

from converters.errors import ModelError, OptionError
from converters.lambdas import masks
from converters.lambdas.archive import ModelArchive, iter_layers
from converters.lambdas.values import Era

__all__ = ["RescueOptions", "data_format_of", "era_of", "era_said", "unsaid"]

_TF_SUFFIX: Final = "-tf"
_SHARED: Final = "2.2.4-tf"
_IN_GRAPH: Final[dict[tuple[str, ...], int]] = {
    ("name", "class_name", "config", "inbound_nodes"): 1,
    ("class_name", "config", "name", "inbound_nodes"): 2,
}
_INITIALIZERS: Final = (
    "Zeros", "Ones", "Constant", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal",
    "GlorotUniform", "GlorotNormal",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class RescueOptions:
    """What is done with a file beyond its Lambdas, and what a user knows of it that it does not tell.

    keep_optimizer: keep loss, metrics and the optimizer's state where Keras can. tensorflow: 1 or 2, under which the
    model was written. float32: compute in float32 a model that was trained under a mixed policy which its file, of
    TensorFlow below 2.2, does not hold.

    Raises:
        OptionError: tensorflow is neither 1 nor 2.
    """

    keep_optimizer: bool = True
    tensorflow: int | None = None
    float32: bool = False

    def __post_init__(self) -> None:
        if self.tensorflow not in (None, 1, 2):
            raise OptionError(f"tensorflow is {self.tensorflow!r}; it is 1 or 2")


def era_of(config: dict[str, Any], keras_version: str | None) -> Era:
    """Which libraries wrote a file, as far as it tells.

    tf.keras writes its version with `-tf` until 2.3.0; Keras 2.4 on is tf.keras. Standalone Keras 2.3 ran on
    TensorFlow 1 and 2.
    """
    version = keras_version or ""
    found = re.match(r"(\d+)\.(\d+)", version)
    major, minor = (int(found[1]), int(found[2])) if found else (2, 0)
    if found and version.startswith(_SHARED):
        return _shared(config)
    of_tensorflow = version.endswith(_TF_SUFFIX) or (major, minor) >= (2, 4)
    if of_tensorflow and (major, minor) >= (2, 3):
        tensorflow: int | None = 2
    elif (major, minor) >= (2, 3) or not found:
        tensorflow = None
    else:
        tensorflow = 1
    centred = tensorflow == 2 if found else None
    alone = found is not None and not of_tensorflow and major < 3
    return Era(
        3 if major >= 3 else 2,
        tensorflow,
        data_format_of(config),
        centred,
        masks.keeps(keras_version),
        alone,
        alone and minor == 3,
        zeroes_masked=not alone and not version.startswith("2.3.0-tf"),  # TensorFlow 2.2 was not measured
    )


def _shared(config: dict[str, Any]) -> Era:
    """One of TensorFlow 1.13, 1.14, 1.15, 2.0 and 2.1. The first two sample images at corners of pixels."""
    layers = [layer for _, layer in iter_layers(config) if isinstance(layer.get("config"), dict)]
    first = any(map(_is_of_1_13, layers))
    votes: set[int | None] = {*_orders(layers), *_initializers(config), *([1] if first else [])}
    tensorflow = votes.pop() if len(votes) == 1 else None
    inputs = [layer["config"] for layer in layers if layer["class_name"] == "InputLayer"]
    enlarging = [layer["config"] for layer in layers if layer["class_name"] == "UpSampling2D"]
    centred: bool | None = None
    if (
        tensorflow == 2
        or any("ragged" in each for each in inputs)
        or any("interpolation" in each for each in enlarging)
    ):
        centred = True  # 1.15 is the first to write these two down
    elif first or (tensorflow == 1 and inputs):
        centred = False
    keeps = None if tensorflow is None else tensorflow == 2  # measured with all five
    return Era(2, tensorflow, data_format_of(config), centred, keeps, zeroes_masked=tensorflow == 1)


def _orders(layers: list[dict[str, Any]]) -> Iterator[int | None]:
    """What the orders of keys say. Python below 3.6 has no order to go by."""
    placed = [layer for layer in layers if "inbound_nodes" in layer]
    if any(list(layer["config"])[:2] == ["name", "trainable"] for layer in layers):
        yield from {_IN_GRAPH.get(tuple(layer)) for layer in placed}


def _initializers(config: Any) -> Iterator[int]:
    stack = [config]
    while stack:
        each = stack.pop()
        if isinstance(each, list):
            stack += each
        elif isinstance(each, dict):
            stack += each.values()
            for key, value in each.items():
                if str(key).endswith("_initializer") and isinstance(value, dict):
                    inner = value.get("config")
                    if value.get("class_name") in _INITIALIZERS and isinstance(inner, dict):
                        yield 1 if "dtype" in inner else 2


def _is_of_1_13(layer: dict[str, Any]) -> bool:
    """By the order of a Lambda's keys."""
    keys = list(layer["config"])
    known = [key for key in keys if key in ("function", "module", "function_type")]
    ordered = layer["class_name"] == "Lambda" and keys[:2] == ["name", "trainable"]
    return ordered and known == ["function", "module", "function_type"]


def era_said(archive: ModelArchive, options: RescueOptions) -> Era:
    """`era_of` a file, with what the user says of it.

    Raises:
        ModelError: the model was trained under a mixed policy that the file does not hold.
        OptionError: the file tells, and something else.
    """
    era, version = era_of(archive.config, archive.keras_version), archive.keras_version or ""
    mixed = archive.loss_scaled and version.startswith(_SHARED)
    if mixed and not options.float32:
        raise ModelError(
            f"{archive.path}: its optimizer scales the loss, so its layers may compute in float16, and TensorFlow "
            "below 2.2 does not write down which; cbam rescue --float32 computes all of them in float32"
        )
    if options.float32 and not mixed:
        raise OptionError(f"--float32: {archive.path} is no file of a mixed policy that it does not hold")
    said = options.tensorflow
    if said is None or said == era.tensorflow:
        return era
    if era.tensorflow is not None or era.keras >= 3:
        raise OptionError(f"--tensorflow {said}: {archive.path} is of TensorFlow {era.tensorflow or 2}")
    if version.startswith(_SHARED):
        centred = True if said == 2 else era.centred
        return dataclasses.replace(era, tensorflow=said, centred=centred, keeps_mask=said == 2, zeroes_masked=said == 1)
    return dataclasses.replace(era, tensorflow=said)


def unsaid(archive: ModelArchive) -> tuple[str, ...]:
    """What files of TensorFlow below 2.2 leave out and this one may have had, one sentence each."""
    if not (archive.keras_version or "").startswith(_SHARED):
        return ()
    notes = ["TensorFlow below 2.2 does not write down a mixed_float16 policy; float32 is taken for granted"]
    enlarging = (
        layer.get("config") for _, layer in iter_layers(archive.config) if layer["class_name"] == "UpSampling2D"
    )
    if any(isinstance(config, dict) and "interpolation" not in config for config in enlarging):
        notes.append("TensorFlow 1.13 and 1.14 do not write down UpSampling2D's interpolation; nearest is taken")
    return tuple(notes)


def data_format_of(config: dict[str, Any]) -> str | None:
    """The one that all layers of the model say, if any says one."""
    inner = (layer.get("config") for _, layer in iter_layers(config))
    found = [each.get("data_format") for each in inner if isinstance(each, dict)]
    said = {each for each in found if each in ("channels_last", "channels_first")}
    return said.pop() if len(said) == 1 else None
