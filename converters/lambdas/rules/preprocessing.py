"""The preprocess_input functions of keras.applications: pixels 0 to 255 to what each network was trained on."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import floating, layout, rank_of, shape_of
from converters.lambdas.rules.table import rule
from converters.lambdas.values import Tensor, Value, describe

_NETWORKS: Final[dict[str, str]] = {
    "caffe": "vgg16 vgg19 resnet50 resnet",
    "tf": "xception inception_v3 inception_resnet_v2 mobilenet mobilenet_v2 nasnet resnet_v2",
    "torch": "densenet",
    "none": "efficientnet efficientnet_v2 mobilenet_v3 convnext regnet resnet_rs",
}
_MEAN: Final = {"caffe": [103.939, 116.779, 123.68], "torch": [0.485, 0.456, 0.406]}
_DEVIATION: Final = [0.229, 0.224, 0.225]


def _preprocess(builder: Builder, x: Value, data_format: Value, mode: Value) -> Value:
    tensor = floating(builder, x)
    if mode == "none":
        return tensor
    if mode == "tf":
        return builder.op("subtract", builder.op("true_divide", tensor, 127.5), 1.0)
    if mode not in _MEAN:
        builder.refuse(f"its mode is {describe(mode)}, where 'caffe', 'tf' or 'torch' is needed")
    axis = -3 if layout(builder, data_format) == "channels_first" else -1
    if rank_of(tensor) not in (3, 4) or shape_of(tensor)[axis] != 3:
        builder.refuse("its images have not three channels")

    def by_channel(numbers: list[float]) -> np.ndarray:
        return np.array(numbers, str(tensor.dtype)).reshape(-1, *([1] * (-axis - 1)))

    if mode == "torch":
        scaled: Any = builder.op("true_divide", tensor, 255.0)
        centred = builder.op("subtract", scaled, by_channel(_MEAN["torch"]))
        return builder.op("true_divide", centred, by_channel(_DEVIATION))
    key: Any = (Ellipsis, slice(None, None, -1), *([slice(None)] * (-axis - 1)))
    turned = builder.index(tensor, key) if isinstance(tensor, Tensor) else tensor[key]
    return builder.op("subtract", turned, by_channel(_MEAN["caffe"]))


def _network(mode: str, names: str) -> None:
    def build(builder: Builder, x: Value, data_format: Value) -> Value:
        return _preprocess(builder, x, data_format, mode)

    paths = " ".join(f"keras.applications.{name}.preprocess_input" for name in names.split())
    rule(f"{paths} (x, data_format=None)")(build)


for _mode, _names in _NETWORKS.items():
    _network(_mode, _names)


@rule("keras.applications.imagenet_utils.preprocess_input (x, data_format=None, mode='caffe')")
def preprocess_input(builder: Builder, x: Value, data_format: Value, mode: Value) -> Value:
    if mode == "none":
        builder.refuse("its mode is 'none'")
    return _preprocess(builder, x, data_format, mode)


@rule("preprocess_input (x, data_format=None, mode=None)")
def unknown_network(builder: Builder, x: Value, data_format: Value, mode: Value) -> Value:
    del x, data_format, mode
    builder.refuse("the file does not tell which network's preprocess_input it is")
