"""Backbones: names without Keras, the paper's counts, options and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import pytest

from converters.errors import ModelError, OptionError
from exporter.models.backbones import BACKBONES, build_model
from exporter.models.cbam import CBAM
from exporter.models.summary import ModelSummary, summarise

PARAMETERS = [  # name, trainable, with statistics: Woo et al. 2018, table 4, and PyTorch's models to the unit
    ("resnet18", 11_689_512, 11_699_112),
    ("resnet34", 21_797_672, 21_814_696),
    ("resnet50", 25_557_032, 25_610_152),
    pytest.param("resnet101", 44_549_160, 44_654_504, marks=pytest.mark.slow),
    ("cbam-resnet18", 11_779_392, 11_789_008),
    ("cbam-resnet34", 21_960_468, 21_977_524),
    ("cbam-resnet50", 28_089_624, 28_142_776),
    pytest.param("cbam-resnet101", 49_330_172, 49_435_582, marks=pytest.mark.slow),
    ("cbam-mobilenetv1", 5_074_714, 5_096_654),
    ("cbam-mobilenetv1-0.7", 2_707_194, 2_722_542),
    ("mobilenetv2", 3_504_872, 3_538_984),
]

ROUNDED = [  # the paper's millions of trainable parameters
    ("cbam-wide-resnet18-1.5", 26.08),
    ("cbam-wide-resnet18-2", 45.97),
    ("cbam-resnext50-32x4d", 27.56),
    pytest.param("cbam-resnext101-32x4d", 48.96, marks=pytest.mark.slow),
]

MULTIPLY_ADDS = [  # name, stride, the paper's 10^9 at 224x224, digits; attention's convolutions and dense layers count
    ("cbam-resnet18", None, 1.815, 3),
    ("cbam-resnet34", None, 3.665, 3),
    ("cbam-resnet50", "1x1", 3.864, 3),
    pytest.param("cbam-resnet101", "1x1", 7.581, 3, marks=pytest.mark.slow),
    ("cbam-resnet50", "3x3", 4.0956, 4),
    pytest.param("cbam-resnet101", "3x3", 7.8126, 4, marks=pytest.mark.slow),
]

_summaries: dict[tuple[str, str | None], ModelSummary] = {}


def summary(name: str, stride: str | None = None) -> ModelSummary:
    if stride == "3x3":
        stride = None  # the default
    if (name, stride) not in _summaries:
        options: dict[str, Any] = {} if stride is None else {"bottleneck_stride": stride}
        _summaries[name, stride] = summarise(build_model(name, **options))
        keras.backend.clear_session()
    return _summaries[name, stride]


@pytest.mark.parametrize(("name", "trainable", "total"), PARAMETERS)
def test_parameters_are_the_papers_to_the_unit(name: str, trainable: int, total: int) -> None:
    found = summary(name)
    assert (found.trainable, found.total) == (trainable, total)


@pytest.mark.parametrize(("name", "millions"), ROUNDED)
def test_parameters_round_to_the_papers(name: str, millions: float) -> None:
    assert round(summary(name).trainable / 1e6, 2) == millions


@pytest.mark.parametrize(("name", "stride", "billions", "digits"), MULTIPLY_ADDS)
def test_multiply_adds_round_to_the_papers(name: str, stride: str | None, billions: float, digits: int) -> None:
    assert round(summary(name, stride).multiply_adds / 1e9, digits) == billions


def test_the_table_is_listed_without_keras() -> None:
    code = (
        "import sys; from exporter.models.backbones import BACKBONES; assert BACKBONES; "
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_row_is_frozen() -> None:
    row = BACKBONES["resnet50"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        row.options["bottleneck_stride"] = "1x1"  # type: ignore[index]


def some_slow(names: Iterable[str], fast: Iterable[str]) -> list[Any]:
    """All `names` as parameters, those not in `fast` marked slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize(
    "name", some_slow(BACKBONES, ["small-cnn", "resnet18", "resnext50-32x4d", "mobilenetv1-0.7", "mobilenetv2"])
)
def test_every_backbone_runs_on_a_small_grey_oblong(name: str) -> None:
    model = build_model(f"cbam-{name}", input_shape=(32, 40, 1), classes=3)
    output = model(np.linspace(0, 1, 2 * 32 * 40, dtype="float32").reshape(2, 32, 40, 1), training=False)
    assert output.shape == (2, 3)
    np.testing.assert_allclose(np.sum(output, axis=1), 1, rtol=1e-5)
    assert (model.name, model.layers[0].name, model.output_names) == (f"cbam-{name}", "image", ["predictions"])


@pytest.mark.parametrize("name", some_slow(BACKBONES, ["small-cnn", "resnet18"]))
def test_channels_first_computes_the_same(name: str) -> None:
    last = build_model(f"cbam-{name}", input_shape=(32, 24, 3), classes=4)
    first = build_model(f"cbam-{name}", input_shape=(3, 32, 24), classes=4, data_format="channels_first")
    assert first.input_shape == (None, 3, 32, 24)
    assert [w.shape for w in first.weights] == [w.shape for w in last.weights]
    assert all(block.data_format == "channels_first" for block in blocks(first))
    # TensorFlow on CPU has no channels_first convolution to run; the graph shows what it would compute.
    assert summarise(first).multiply_adds == summarise(last).multiply_adds
    shapes = [tensor_shape(layer) for layer in last.layers if layer.name.endswith(("_relu", "_pool"))]
    assert [tensor_shape(first.get_layer(name)) for name, *_ in shapes] == [
        (name, (shape[0], shape[3], shape[1], shape[2])) for name, shape in shapes
    ]


def tensor_shape(layer: Any) -> tuple[str, tuple[int, ...]]:
    return layer.name, layer.output.shape


def test_the_default_input_follows_the_data_format() -> None:
    assert build_model("small-cnn", data_format="channels_first").input_shape == (None, 3, 64, 64)
    assert build_model("small-cnn").input_shape == (None, 64, 64, 3)


def test_an_open_image_size() -> None:
    model = build_model("cbam-small-cnn", input_shape=(None, None, 3), classes=2)
    assert model.input_shape == (None, None, None, 3)
    for side in (9, 30):
        assert model(np.ones((1, side, side + 3, 3), "float32")).shape == (1, 2)
    with pytest.raises(ModelError, match=r"'image' leaves sizes open"):
        summarise(model)


def test_the_prefix_is_a_default_only() -> None:
    shape = (32, 32, 3)
    plain = build_model("small-cnn", input_shape=shape)
    assert not blocks(plain)
    assert [block.name for block in blocks(build_model("small-cnn", attention="cbam", input_shape=shape))] == [
        "stage1_cbam",
        "stage2_cbam",
        "stage3_cbam",
    ]
    assert build_model("cbam-small-cnn", attention="none", input_shape=shape).count_params() == plain.count_params()


def blocks(model: keras.Model) -> list[CBAM]:
    return [layer for layer in model.layers if isinstance(layer, CBAM)]


def producer(layer: Any) -> str:
    tensor = layer.input[-1] if isinstance(layer.input, list) else layer.input
    return str(tensor._keras_history.operation.name)


def test_cbam_in_a_resnet_stands_between_the_last_norm_and_the_add() -> None:
    model = build_model("cbam-resnet50", input_shape=(32, 32, 3))
    assert len(blocks(model)) == 16
    assert producer(model.get_layer("stage2_block1_cbam")) == "stage2_block1_conv3_bn"
    assert producer(model.get_layer("stage2_block1_add")) == "stage2_block1_cbam"


def test_cbam_in_mobilenet_stands_after_both_parts() -> None:
    model = build_model("cbam-mobilenetv1", input_shape=(32, 32, 3))
    assert len(blocks(model)) == 26
    assert producer(model.get_layer("block3_depthwise_cbam")) == "block3_depthwise_relu"
    assert producer(model.get_layer("block3_pointwise_cbam")) == "block3_pointwise_relu"


def test_cbam_in_mobilenetv2_stands_before_the_add() -> None:
    model = build_model("cbam-mobilenetv2", input_shape=(32, 32, 3))
    assert len(blocks(model)) == 17
    assert producer(model.get_layer("block3_cbam")) == "block3_project_bn"
    assert producer(model.get_layer("block3_add")) == "block3_cbam"


def test_the_stride_of_a_bottleneck_is_where_it_is_asked_for() -> None:
    for stride, strided in (("3x3", "conv2"), ("1x1", "conv1")):
        model = build_model("resnet50", input_shape=(32, 32, 3), bottleneck_stride=stride)
        found = {n: model.get_layer(f"stage2_block1_{n}").strides for n in ("conv1", "conv2", "conv3")}
        assert found == {n: (2, 2) if n == strided else (1, 1) for n in found}


def test_the_convolutions_of_resnext_are_grouped() -> None:
    assert summary("cbam-resnext50-32x4d").multiply_adds == resnext50_by_hand()


def resnext50_by_hand() -> int:
    """Multiply-adds of ResNeXt-50 32x4d with CBAM at 224x224, its 3x3 convolutions strided and in 32 groups."""
    total, channels, side = 112**2 * 64 * 49 * 3 + 2048 * 1000, 64, 56
    for stage, depth in enumerate((3, 4, 6, 3)):
        inner, outer = 128 * 2**stage, 256 * 2**stage
        for block in range(depth):
            before = side
            if stage > 0 and block == 0:
                side //= 2
            total += before**2 * channels * inner + side**2 * (inner * 9 * inner // 32 + inner * outer)
            if block == 0:
                total += side**2 * channels * outer
            total += 2 * 2 * outer * (outer // 16) + side**2 * 49 * 2
            channels = outer
    return total


def test_options_reach_the_layers() -> None:
    model = build_model(
        "cbam-small-cnn",
        dialect="blog",
        input_shape=(8, 8, 1),
        classifier_activation=None,
        norm_momentum=0.5,
        name="mine",
        widths=(8, 24),
    )
    assert model.name == "mine"
    assert model.get_layer("predictions").activation is keras.activations.linear
    assert model.get_layer("stage2_conv_bn").momentum == 0.5
    assert [block.dialect.residual for block in blocks(model)] == [True, True]
    assert model.get_layer("stage2_conv").filters == 24


def test_a_model_is_saved_and_loaded(tmp_path: Any) -> None:
    model = build_model("cbam-small-cnn", input_shape=(16, 16, 3), classes=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 16, 16, 3), "float32")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cbam-resnet5", {}, r"unknown backbone 'cbam-resnet5'; did you mean 'resnet50'\?"),
        ("resnet50", {"botleneck_stride": "1x1"}, r"'botleneck_stride'.*did you mean 'bottleneck_stride'\?"),
        ("resnet18", {"bottleneck_stride": "1x1"}, r"unknown option 'bottleneck_stride' for resnet18"),
        ("resnet50", {"bottleneck_stride": "2x2"}, r"bottleneck_stride must be '3x3' .* or '1x1'"),
        ("resnet18", {"attention": "se"}, r"attention must be 'none' or 'cbam'; got 'se'"),
        ("resnet18", {"dialect": "blog"}, r"a dialect needs attention='cbam'"),
        ("cbam-resnet18", {"dialect": "blogg"}, r"did you mean 'blog'\?"),
        ("resnet18", {"classes": 0}, r"classes must be a whole number of at least 1; got 0"),
        ("resnet18", {"classifier_activation": "tanh"}, r"'softmax', 'sigmoid' or None"),
        ("resnet18", {"data_format": "nchw"}, r"'channels_last' or 'channels_first'; got 'nchw'"),
        ("resnet18", {"norm_momentum": 1.5}, r"norm_momentum must be at least 0 and below 1"),
        ("small-cnn", {"widths": ()}, r"widths must name at least one stage"),
    ],
)
def test_a_wrong_option_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        build_model(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet18", (16, 64, 3), r"resnet18 needs an input of at least 17x17 pixels"),
        ("cbam-mobilenetv2", (64, 16, 3), r"cbam-mobilenetv2 needs an input of at least 17x17 pixels"),
        ("small-cnn", (7, 8, 3), r"at least 8x8 pixels"),
        ("small-cnn", (32, 32, None), r"must name its channels"),
        ("small-cnn", (32, 32), r"\(height, width, channels\) without the batch"),
        ("small-cnn", (1, 32, 0, 3), r"\(height, width, channels\) without the batch"),
    ],
)
def test_a_wrong_input_is_refused(name: str, shape: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(name, input_shape=shape)


@pytest.mark.parametrize(("name", "side"), [("cbam-small-cnn", 8), ("cbam-resnet18", 17), ("cbam-mobilenetv2", 17)])
def test_the_smallest_input_works(name: str, side: int) -> None:
    model = build_model(name, input_shape=(side, side, 3), classes=2)
    assert np.all(np.isfinite(model(np.ones((1, side, side, 3), "float32"))))
