"""Convolutions over small images in ONNX: without a transposition where that is equal, and nowhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from keras import layers

from exporter import ExportOptions, export
from exporter.parity.verdict import Verdict


def _exported(body: Callable[[Any], Any], shape: tuple[int, ...], folder: Path, **options: Any) -> Any:
    keras.utils.set_random_seed(2)
    image = keras.Input(shape, name="image")
    model = keras.Model(image, body(image), name="net")
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    result = export(model, ExportOptions(("onnx",), output=folder, **options))
    assert {verdict.verdict for report in result.reports for verdict in report.outputs.values()} == {Verdict.PASSED}
    return onnx.load(result.artifacts[0].path)


def _counts(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _scores(x: Any) -> Any:
    return layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize(
    ("shape", "conv"),
    [
        ((24, 20, 3), {"kernel_size": 3, "padding": "same"}),
        ((23, 21, 3), {"kernel_size": 7, "strides": 2, "padding": "same", "use_bias": False}),
        ((24, 20, 4), {"kernel_size": (3, 5), "strides": (1, 2)}),
        ((24, 20, 2), {"kernel_size": (4, 2), "strides": (3, 2), "padding": "same", "activation": "relu"}),
        ((24, 20, 3), {"kernel_size": 1}),
    ],
)
@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_an_image_is_read_as_it_lies(shape: tuple[int, ...], conv: dict[str, Any], batch: Any, tmp_path: Path) -> None:
    def body(image: Any) -> Any:
        return _scores(layers.BatchNormalization()(layers.Conv2D(16, **conv)(image)))

    model = _exported(body, shape, tmp_path, batch=batch)
    (node,) = (node for node in model.graph.node if node.op_type == "Conv")
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    assert weight.dims[1] == 1
    assert weight.dims[3] % shape[2] == 0
    assert _counts(model)["Transpose"] == 0


def test_paddings_of_either_side_and_two_convolutions_go_along(tmp_path: Path) -> None:
    def body(image: Any) -> Any:
        padded = layers.ZeroPadding2D(((1, 2), (3, 0)))(image)
        return _scores(layers.Add()([layers.Conv2D(16, 3, strides=2)(padded), layers.Conv2D(16, 3, strides=2)(padded)]))

    model = _exported(body, (24, 20, 3), tmp_path)
    assert _counts(model)["Transpose"] == _counts(model)["Pad"] == 0
    pads = [list(each.ints) for node in model.graph.node for each in node.attribute if each.name == "pads"]
    assert pads == [[1, 9, 2, 0]] * 2


def _dilated(image: Any) -> Any:
    return _scores(layers.Conv2D(16, 3, dilation_rate=2)(image))


def _depthwise(image: Any) -> Any:
    return _scores(layers.DepthwiseConv2D(3)(image))


def _pooled_too(image: Any) -> Any:
    small = layers.MaxPooling2D()(image)
    return _scores(layers.Concatenate()([layers.Conv2D(16, 3, strides=2, padding="same")(image), small]))


@pytest.mark.parametrize(
    ("body", "shape", "options"),
    [
        (_dilated, (24, 20, 3), {}),
        (_depthwise, (24, 20, 3), {}),
        (_pooled_too, (24, 20, 3), {}),
        (lambda image: _scores(layers.Conv2D(16, 3)(image)), (24, 20, 5), {}),
        (lambda image: _scores(layers.Conv2D(16, 3)(image)), (160, 160, 3), {}),
        (lambda image: _scores(layers.Conv2D(16, 3)(image)), (24, 20, 3), {"lower": False}),
        (lambda image: _scores(layers.Conv2D(16, 3)(image)), (24, 20, 3), {"inputs_as_nchw": True}),
    ],
)
def test_other_convolutions_stay(
    body: Callable[[Any], Any], shape: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    model = _exported(body, shape, tmp_path, **options)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.attribute:
            groups = next((each.i for each in node.attribute if each.name == "group"), 1)
            assert weights[node.input[1]].dims[1] * groups == shape[2]
