"""What `benchmark_performance.py` measures: models with CBAM as people write it by hand, and kinds of artifacts.

To add a model or a kind of artifact, add a row to MODELS or KINDS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
from keras import layers, ops

import exporter
from converters.artifact import Precision
from exporter.models.backbones import BACKBONES
from exporter.models.cbam import CBAM


@dataclasses.dataclass(frozen=True, slots=True)
class Spelling:
    """How the block is written by hand; all of it with Dense on (N, 1, 1, C).

    hidden: by the channel count. kernel: of the spatial convolution. relu_twice: behind both dense layers. residual:
    the input is added.
    """

    hidden: Callable[[int], int]
    kernel: int
    relu_twice: bool = False
    residual: bool = False


SPELLINGS: Final[Mapping[str, Spelling]] = {
    "popular": Spelling(lambda channels: max(1, channels // 8), 7),
    "blog": Spelling(lambda channels: max(1, channels // 2), 3, relu_twice=True, residual=True),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One model: a backbone of ours, whose blocks are replaced by handwritten ones.

    backbone: a key of BACKBONES. size: of the image, in pixels. keep: which blocks are kept, by name.
    """

    name: str
    backbone: str
    title: str
    size: int = 224
    keep: Callable[[str], bool] = lambda name: True


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artifact.

    goals: the largest ratio to the stock converter on one thread, by model. tax: the largest attention tax of
    MobileNetV1.
    """

    name: str
    title: str
    format: str
    precision: Precision
    goals: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tax: float | None = None


_WITH_GOALS: Final = (
    Model("small-cnn", "small-cnn", "small CNN 64x64", 64),
    Model("mobilenetv1", "mobilenetv1", "MobileNetV1 + 13 CBAM 224", keep=lambda name: "pointwise" in name),
    Model("resnet18", "resnet18", "ResNet-18 + CBAM 224"),
    Model("resnet50", "resnet50", "ResNet-50 + CBAM 224"),
)
_SMALL: Final = 96
"""Pixels of the others: what may be slower is told sooner there, since a block's fixed cost weighs more."""

MODELS: Final[Mapping[str, Model]] = {
    row.name: row
    for row in (
        *_WITH_GOALS,
        *(Model(f"{name}-{_SMALL}", name, f"{name} {_SMALL}x{_SMALL}", _SMALL) for name in BACKBONES),
    )
}
"""Those with goals, and every backbone, which must not be slower than the stock converter's file."""


def _goals(*figures: float) -> Mapping[str, float]:
    return {model.name: figure for model, figure in zip(_WITH_GOALS, figures, strict=True)}


KINDS: Final[Mapping[str, Kind]] = {
    row.name: row
    for row in (
        Kind("litert-f32", "LiteRT f32", "tflite", Precision.FP32, _goals(0.70, 0.82, 0.97, 0.95), 0.25),
        Kind("litert-int8", "LiteRT int8", "tflite", Precision.INT8, _goals(0.65, 0.78, 0.95, 0.90), 0.45),
        Kind("onnxruntime-f32", "ONNX Runtime f32", "onnx", Precision.FP32, _goals(0.50, 0.85, 0.97, 0.95), 0.60),
        Kind("litert-fp16", "LiteRT fp16", "tflite", Precision.FP16),
        Kind("litert-dynamic", "LiteRT dynamic", "tflite", Precision.DYNAMIC),
        Kind("litert-int16x8", "LiteRT int16x8", "tflite", Precision.INT16X8),
        Kind("onnxruntime-fp16", "ONNX Runtime fp16", "onnx", Precision.FP16),
        Kind("onnxruntime-dynamic", "ONNX Runtime dynamic", "onnx", Precision.DYNAMIC),
        Kind("onnxruntime-int8", "ONNX Runtime int8", "onnx", Precision.INT8),
    )
}
TAXED: Final = "mobilenetv1"


def handwritten(x: Any, spelling: Spelling) -> Any:
    """CBAM as the widespread Keras code has it."""
    channels = x.shape[-1]
    # A hidden unit that never fires, as some do with random weights, makes the stock int8 file one that does not open.
    alive = {"kernel_initializer": "he_normal", "bias_initializer": "ones"}
    squeeze = layers.Dense(spelling.hidden(channels), activation="relu", **alive)
    excite = layers.Dense(channels, activation="relu" if spelling.relu_twice else None, **alive)
    vectors = []
    for pool in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D):
        vectors.append(excite(squeeze(layers.Reshape((1, 1, channels))(pool()(x)))))
    refined = layers.Multiply()([x, layers.Activation("sigmoid")(layers.Add()(vectors))])
    pools = [ops.mean(refined, axis=3, keepdims=True), ops.max(refined, axis=3, keepdims=True)]
    convolution = layers.Conv2D(
        1, spelling.kernel, padding="same", activation="sigmoid", kernel_initializer="he_normal", use_bias=False
    )
    result = layers.Multiply()([refined, convolution(layers.Concatenate(axis=3)(pools))])
    return layers.Add()([result, x]) if spelling.residual else result


def build(model: Model, spelling: Spelling) -> Any:
    """The model, as a user would have it."""
    keras.utils.set_random_seed(0)
    ours = exporter.build_model(
        f"cbam-{model.backbone}", classifier_activation=None, input_shape=(model.size, model.size, 3)
    )

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, CBAM):
            return layer(*args, **kwargs)
        return handwritten(args[0], spelling) if model.keep(layer.name) else args[0]

    built = keras.models.clone_model(
        ours, clone_function=lambda layer: type(layer).from_config(layer.get_config()), call_function=call
    )
    return keras.Model(built.inputs, built.outputs, name=model.name)
