"""What a converter is told: one frozen value, checked by the caller against its format's row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from converters.artifact import Precision

DEFAULT_OPSET: Final = 17
"""Old enough for the runtimes in the field, new enough for one LayerNormalization node; every tool of 2023 reads it."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConversionSettings:
    """One conversion.

    Attributes:
        metadata: JSON-able; stored inside the artifact. `labels`, if any, is a list of class names.
        precision: the arithmetic asked for.
        opset: ONNX operator set.
        inputs_as_nchw: ONNX only: image inputs that the model takes as NHWC are taken as NCHW.
        flat_images: ONNX only: a convolution over an image of few channels takes it without a transposition.
        select_tf_ops: TFLite only: allow operations that need the TensorFlow runtime on the device.
    """

    metadata: Mapping[str, Any]
    precision: Precision = Precision.FP32
    opset: int = DEFAULT_OPSET
    inputs_as_nchw: bool = False
    flat_images: bool = False
    select_tf_ops: bool = False
