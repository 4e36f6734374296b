"""What is like CBAM and not equal to it is not recognised, and the reason is told."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.deploy.recognise import check, recognise
from exporter.models.inspection import inspect_keras

C = 16
Head = Callable[[Any], Any]


def mlp(hidden: int = 4, between: str | None = "relu", last: str | None = None) -> Head:
    first, second = layers.Dense(hidden, activation=between), layers.Dense(C, activation=last)
    return lambda vector: second(first(vector))


def avg(x: Any, axes: Any = (1, 2)) -> Any:
    return ops.mean(x, axis=axes, keepdims=True)


def high(x: Any, axes: Any = (1, 2)) -> Any:
    return ops.max(x, axis=axes, keepdims=True)


def channel(x: Any, f: Head | None = None) -> Any:
    f = f or mlp()
    return ops.sigmoid(f(avg(x)) + f(high(x)))


def pair(x: Any, axis: int = 3) -> Any:
    return ops.concatenate([ops.max(x, axis=axis, keepdims=True), ops.mean(x, axis=axis, keepdims=True)], axis=axis)


def conv(size: int = 7, activation: str | None = "sigmoid", **more: Any) -> Head:
    return layers.Conv2D(1, size, padding="same", activation=activation, **more)


def cube(x: Any) -> Any:
    """As high and as wide as it has channels."""
    return layers.Conv2D(C, 3, padding="same")(layers.ZeroPadding2D(((3, 3), (4, 4)))(x))


def se(x: Any) -> Any:
    return x * ops.sigmoid(mlp()(avg(x)))


def se_conv(x: Any) -> Any:
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()(
        [x, layers.Conv2D(C, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(pooled))]
    )


def eca(x: Any) -> Any:
    vector = layers.Reshape((C, 1))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv1D(1, 3, padding="same", activation="sigmoid", use_bias=False)(vector)
    return x * layers.Reshape((1, 1, C))(gate)


def eca_of_both(x: Any) -> Any:
    scan = layers.Conv1D(1, 3, padding="same", use_bias=False)
    vectors = [layers.Reshape((C, 1))(kind()(x)) for kind in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)]
    gate = ops.sigmoid(scan(vectors[0]) + scan(vectors[1]))
    return x * layers.Reshape((1, 1, C))(gate)


def bam(x: Any) -> Any:
    squeezed = layers.Dense(C)(layers.BatchNormalization()(layers.Dense(4, activation="relu")(avg(x))))
    dilated = layers.Conv2D(1, 1)(layers.Conv2D(4, 3, padding="same", dilation_rate=4)(layers.Conv2D(4, 1)(x)))
    return x * (1.0 + ops.sigmoid(squeezed + dilated))


def bam_of_cbam_gates(x: Any) -> Any:
    f = mlp()
    return x * (1.0 + ops.sigmoid(f(avg(x)) + f(high(x)) + conv(activation=None)(pair(x))))


def coordinate(x: Any) -> Any:
    rows, columns = ops.mean(x, axis=2, keepdims=True), ops.transpose(ops.mean(x, axis=1, keepdims=True), (0, 2, 1, 3))
    both = layers.Conv2D(4, 1, activation="relu")(ops.concatenate([rows, columns], axis=1))
    row_gate = layers.Conv2D(C, 1, activation="sigmoid")(both[:, :10])
    column_gate = layers.Conv2D(C, 1, activation="sigmoid")(both[:, 10:])
    return x * row_gate * ops.transpose(column_gate, (0, 2, 1, 3))


def strips(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(ops.mean(x, axis=1, keepdims=True))) * ops.sigmoid(f(ops.max(x, axis=2, keepdims=True)))


def scse(x: Any) -> Any:
    return ops.maximum(se(x), x * layers.Conv2D(1, 1, activation="sigmoid")(x))


def global_context(x: Any) -> Any:
    weights = ops.softmax(layers.Reshape((80, 1))(layers.Conv2D(1, 1)(x)), axis=1)
    context = ops.sum(layers.Reshape((80, C))(x) * weights, axis=1)
    return x + layers.Reshape((1, 1, C))(mlp()(context))


def simam(x: Any) -> Any:
    off = ops.square(x - avg(x))
    return x * ops.sigmoid(off / (4 * (ops.sum(off, axis=(1, 2), keepdims=True) / 79 + 1e-4)) + 0.5)


def triplet_branch(x: Any) -> Any:
    turned = layers.Permute((3, 2, 1))(x)  # pooled over the height
    return layers.Permute((3, 2, 1))(turned * conv()(pair(turned)))


def gated_linear(x: Any) -> Any:
    return x * layers.Conv2D(C, 1, activation="sigmoid")(x)


def swish(x: Any) -> Any:
    return x * ops.sigmoid(x)


def unshared(x: Any) -> Any:
    return x * ops.sigmoid(mlp()(avg(x)) + mlp()(high(x)))


def half_shared(x: Any) -> Any:
    last, ends = layers.Dense(C), [layers.Dense(4, activation="relu") for _ in range(2)]
    return x * ops.sigmoid(last(ends[0](avg(x))) + last(ends[1](high(x))))


def over(axes: tuple[int, int], pool_axes: tuple[int, int] | None = None) -> Head:
    def head(x: Any) -> Any:
        if pool_axes is not None:
            x = cube(x)
        f = layers.Dense(8, activation="relu"), layers.Dense(int(x.shape[6 - sum(axes)]))
        out = [f[1](f[0](kind(x, axis=where))) for kind, where in ((ops.mean, axes), (ops.max, pool_axes or axes))]
        gate = ops.sigmoid(out[0] + out[1])
        return x * ops.expand_dims(gate, axes)

    return head


def means_twice(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(avg(x)) + f(layers.GlobalAveragePooling2D(keepdims=True)(x)))


def maxima_twice(x: Any) -> Any:
    top = ops.max(x, axis=3, keepdims=True)
    return x * conv()(ops.concatenate([top, top], axis=3))


def three_pools(x: Any) -> Any:
    return x * conv()(ops.concatenate([pair(x), layers.Conv2D(1, 1)(x)], axis=3))


def min_pool(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(avg(x)) + f(ops.min(x, axis=(1, 2), keepdims=True)))


def weighted(x: Any) -> Any:  # timm's LightCbam
    f = mlp()
    return x * ops.sigmoid(f(0.5 * avg(x) + 0.5 * high(x)))


def halved_sum(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(0.5 * (f(avg(x)) + f(high(x))))


def sum_of_squares(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(avg(ops.square(x))) + f(high(x)))


def sum_not_mean(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(ops.sum(x, axis=(1, 2), keepdims=True)) + f(high(x)))


def wrong_count(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(ops.sum(x, axis=(1, 2), keepdims=True) / 100.0) + f(high(x)))


def product_of_branches(x: Any) -> Any:
    f = mlp()
    return x * ops.sigmoid(f(avg(x)) * f(high(x)))


def no_relu(x: Any) -> Any:
    return x * channel(x, mlp(between=None))


def other_relu(x: Any) -> Any:
    return x * channel(x, mlp(between="swish"))


def one_layer(x: Any) -> Any:
    return x * channel(x, layers.Dense(C))


def normalised_mlp(x: Any) -> Any:
    first, norm, second = layers.Dense(4), layers.BatchNormalization(), layers.Dense(C)
    return x * channel(x, lambda vector: second(ops.relu(norm(first(vector)))))


def another_map(x: Any) -> Any:
    return ops.relu(x) * channel(x)


def gate_of_activated(x: Any) -> Any:
    return x * channel(ops.relu(x))


def added_gate(x: Any) -> Any:
    return x + channel(x)


def one_plus_gate(x: Any) -> Any:
    return x * (1.0 + channel(x))


def softmax_gate(x: Any) -> Any:
    f = mlp()
    return x * ops.softmax(f(avg(x)) + f(high(x)), axis=-1)


def tanh_gate(x: Any) -> Any:
    return x * conv(activation="tanh")(pair(x))


def no_gate_function(x: Any) -> Any:
    f = mlp()
    return x * (f(avg(x)) + f(high(x)))


def near_hard_sigmoid(x: Any) -> Any:
    return x * ops.clip(0.25 * conv(activation=None)(pair(x)) + 0.5, 0.0, 1.0)


def two_convolutions(x: Any) -> Any:
    return x * conv()(layers.Conv2D(2, 3, padding="same")(pair(x)))


def relu_before_sigmoid(x: Any) -> Any:
    return x * ops.sigmoid(conv(activation="relu")(pair(x)))


def many_filters(x: Any) -> Any:
    return x * layers.Conv2D(C, 7, padding="same", activation="sigmoid")(pair(x))


def dilated(x: Any) -> Any:
    return x * conv(3, dilation_rate=2)(pair(x))


def oblong(x: Any) -> Any:
    return x * layers.Conv2D(1, (1, 7), padding="same", activation="sigmoid")(pair(x))


def shifted(x: Any) -> Any:
    padded = layers.ZeroPadding2D(((4, 2), (3, 3)))(pair(x))
    return x * layers.Conv2D(1, 7, activation="sigmoid")(padded)


def no_convolution(x: Any) -> Any:
    return x * ops.sigmoid(ops.mean(x, axis=3, keepdims=True) + ops.max(x, axis=3, keepdims=True))


def pooled_rows(x: Any) -> Any:
    return x * conv(data_format="channels_first")(pair(x, axis=1))


def middle_axis(x: Any) -> Any:
    turned = ops.transpose(pair(x, axis=2), (0, 1, 3, 2))
    return x * ops.transpose(conv()(turned), (0, 1, 3, 2))


def gate_along_the_width(x: Any) -> Any:
    x = cube(x)
    return x * ops.transpose(channel(x), (0, 1, 3, 2))


def flipped_gate(x: Any) -> Any:
    return x * ops.flip(conv()(pair(x)), axis=1)


def moved_norm(x: Any) -> Any:
    return x * ops.sigmoid(conv(activation=None)(layers.BatchNormalization()(pair(x))))


def training_norm(x: Any) -> Any:
    return x * ops.sigmoid(layers.BatchNormalization()(conv(activation=None)(pair(x)), training=True))


def scaled_map(x: Any) -> Any:
    return (x * 2.0) * channel(x)


def whole_numbers(x: Any) -> Any:
    return ops.cast(ops.cast(x, "int32"), "float32") * channel(x)


def noisy_map(x: Any) -> Any:
    return layers.GaussianNoise(0.5)(x, training=True) * channel(x)


class MyDense(layers.Dense):
    """A subclass may compute anything."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        return super().call(inputs) ** 3


def subclassed(x: Any) -> Any:
    first, second = layers.Dense(4, activation="relu"), MyDense(C)
    return x * channel(x, lambda vector: second(first(vector)))


CASES: dict[str, tuple[Head, str]] = {
    "squeeze-and-excitation": (se, "pools avg alone: squeeze-and-excitation"),
    "squeeze-and-excitation of convolutions": (se_conv, "pools avg alone: squeeze-and-excitation"),
    "ECA": (eca, "Conv1D .* stands in its gate"),
    "ECA of both pools": (eca_of_both, "Conv1D .* stands in its gate"),
    "BAM": (bam, ""),
    "BAM of CBAM's gates": (bam_of_cbam_gates, "stands in its gate"),
    "coordinate attention": (coordinate, "stands in its gate"),
    "strip pooling": (strips, "squeeze|dense|not one convolution"),
    "scSE": (scse, "pools avg alone"),
    "global context": (global_context, ""),
    "SimAM": (simam, ""),
    "triplet attention's branch": (triplet_branch, "its gate takes axis 3 for the channels, which lie on axis 1"),
    "gated linear unit": (gated_linear, ""),
    "swish": (swish, ""),
    "unshared MLPs": (unshared, "MLPs of their own"),
    "half of the MLP unshared": (half_shared, "MLPs of their own"),
    "pools over the height and the channels": (over((1, 3)), "keeps axis 2"),
    "pools over the width and the channels": (over((2, 3)), "takes axis 1 for the channels, which lie on axis 3"),
    "pools over different axes": (over((1, 2), (2, 3)), "pooled over different axes"),
    "the mean twice": (means_twice, "pools avg and avg"),
    "the maximum twice": (maxima_twice, "pools max and max"),
    "a third map": (three_pools, "stands in its gate|"),
    "minimum for maximum": (min_pool, "Min .* stands in its gate"),
    "weighted vectors before the MLP": (weighted, "merged|dense"),
    "half of the sum": (halved_sum, "dense layer|MLP"),
    "the mean of squares": (sum_of_squares, ""),
    "the sum for the mean": (sum_not_mean, "pools by sum"),
    "the sum over a wrong count": (wrong_count, "pools by sum times 0.01"),
    "the product of the branches": (product_of_branches, "merged|dense"),
    "no ReLU": (no_relu, "no ReLU between"),
    "swish between": (other_relu, "stands in its gate"),
    "one dense layer": (one_layer, "no ReLU between"),
    "BatchNorm in the MLP": (normalised_mlp, "BatchNormalization .* stands in its gate"),
    "another map": (another_map, ""),
    "the gate of another map": (gate_of_activated, ""),
    "added, not multiplied": (added_gate, ""),
    "one plus the gate": (one_plus_gate, "scaled or added to after its gate function"),
    "softmax": (softmax_gate, "Softmax .* stands in its gate"),
    "tanh": (tanh_gate, "stands in its gate"),
    "no gate function": (no_gate_function, "has none"),
    "a steeper hard sigmoid": (near_hard_sigmoid, "no sigmoid"),
    "two convolutions": (two_convolutions, "stands in its gate"),
    "ReLU before the sigmoid": (relu_before_sigmoid, "not one convolution"),
    "a filter for each channel": (many_filters, "stands in its gate"),
    "dilated": (dilated, "stands in its gate"),
    "an oblong kernel": (oblong, "stands in its gate"),
    "a kernel that is off its centre": (shifted, "stands in its gate"),
    "no convolution": (no_convolution, "added, not convolved"),
    "pooled over the height": (pooled_rows, "takes axis 1 for the channels, which lie on axis 3"),
    "pooled over the width": (middle_axis, "pools over axis 2"),
    "a gate along another axis": (gate_along_the_width, "across other axes"),
    "a flipped gate": (flipped_gate, "Flip .* stands in its gate"),
    "BatchNorm before the convolution": (moved_norm, "BatchNormalization .* stands in its gate"),
    "BatchNorm of the batch itself": (training_norm, "BatchNormalization .* stands in its gate"),
    "a scaled map": (scaled_map, ""),
    "a map cut to whole numbers": (whole_numbers, ""),
    "a map with noise": (noisy_map, ""),
    "a subclass of Dense": (subclassed, "MyDense .* stands in its gate"),
}


def _net(head: Head) -> keras.Model:
    image = keras.Input((10, 8, 3))
    return keras.Model(image, head(layers.Conv2D(C, 3, padding="same")(image)))


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_recognised(name: str) -> None:
    head, reason = CASES[name]
    found = recognise(_net(head), proved=False)  # by its structure alone, without the help of the proof
    assert found.blocks == ()
    if reason:
        assert len(found.lookalikes) >= 1
        assert re.search(reason, found.lookalikes[0].reason), found.lookalikes


def cbam(x: Any) -> Any:
    y = x * channel(x)
    return y * conv()(pair(y))


@pytest.mark.parametrize(
    "head",
    [
        lambda x: cbam(x) + ops.relu(x),
        lambda x: cbam(x) + 0.5 * x,
        lambda x: cbam(x) + cbam(x),
        lambda x: ops.relu(cbam(x)) + x,
        lambda x: layers.Add()([cbam(x), x, x]),
        lambda x: cbam(x) - x,
        lambda x: (lambda y: [y + x, ops.relu(y)])(cbam(x)),
    ],
)
def test_a_wrong_residual_is_none(head: Head) -> None:
    blocks = recognise(_net(head)).blocks
    assert blocks
    assert not any(block.residual for block in blocks)


def test_dropout_that_stays_on_stands_between_two_blocks() -> None:
    def head(x: Any) -> Any:
        y = layers.Dropout(0.5)(x * channel(x), training=True)
        return y * conv()(pair(y))

    found = recognise(_net(head))
    assert [block.kind for block in found.blocks] == ["channel", "spatial"], found


def test_a_spatial_gate_of_the_first_map_is_parallel_and_of_a_third_is_nothing() -> None:
    (block,) = recognise(_net(lambda x: (x * channel(x)) * conv()(pair(x)))).blocks
    assert block.order == "parallel"
    found = recognise(_net(lambda x: (x * channel(x)) * conv()(pair(ops.relu(x)))))
    assert [block.kind for block in found.blocks] == ["channel"]


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("", {"residual": True}),
        ("", {"order": "spatial_channel"}),
        ("", {"order": "parallel"}),
        ("channel", {"activation": "relu"}),
        ("channel", {"gate": "hard_sigmoid"}),
        ("channel", {"pools": ("avg", "avg")}),
        ("channel", {"pools": ("max", "max")}),
        ("spatial", {"pools": ("avg", "max")}),
        ("spatial", {"gate": "hard_sigmoid_keras2"}),
        ("spatial", {"norm": None}),
    ],
)
def test_the_proof_finds_every_wrong_fact(part: str, change: dict[str, Any]) -> None:
    def head(x: Any) -> Any:
        y = x * channel(x)
        norm = layers.BatchNormalization(gamma_initializer="zeros")  # its gate is one half everywhere at the start
        return y * ops.sigmoid(norm(conv(activation=None)(pair(y))))

    (block,) = recognise(_net(head)).blocks
    assert check(block) == ""
    wrong = {part: dataclasses.replace(getattr(block, part), **change)} if part else change
    assert "differs from the formula by" in check(dataclasses.replace(block, **wrong))


def test_a_block_that_fails_its_proof_is_a_lookalike(monkeypatch: pytest.MonkeyPatch) -> None:
    import converters.deploy.gates

    monkeypatch.setitem(converters.deploy.gates._POOLS, "mean", "max")
    monkeypatch.setitem(converters.deploy.gates._POOLS, "max", "avg")
    found = recognise(_net(lambda x: x * channel(x) * 1.0))
    assert [block.kind for block in found.blocks] == ["channel"], "a shared MLP takes both vectors alike"
    found = recognise(_net(lambda x: x * conv()(pair(x))))
    assert found.blocks == ()
    assert "differs from the formula" in found.lookalikes[0].reason


@pytest.mark.parametrize(
    "build",
    [
        lambda: keras.applications.MobileNetV3Small(input_shape=(32, 32, 3), weights=None, classes=3),
        lambda: keras.applications.ResNet50V2(input_shape=(32, 32, 3), weights=None, classes=3),
    ],
    ids=["MobileNetV3", "ResNetV2"],
)
def test_models_of_keras_have_none(build: Any) -> None:
    found = recognise(build())
    assert found.blocks == ()
    assert all(
        "squeeze-and-excitation" in each.reason or "ReLU" in each.reason or "stands" in each.reason
        for each in found.lookalikes
    )


def test_inspection_of_a_subclassed_model_still_works() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 4), "float32"))
    assert inspect_keras("own", model).blocks == ()


def test_what_inspect_prints_and_its_json() -> None:
    from exporter.report.schema import inspection_json
    from exporter.report.table import console, print_inspection

    found = inspect_keras("net", _net(lambda x: se(ops.relu(cbam(x)))))
    (row,) = inspection_json(found)["blocks"]
    assert {"name", "dialect", "differs", "channels", "height", "width"} <= row.keys()
    assert (row["kind"], row["hidden"], row["reduction"], row["kernel_size"]) == ("cbam", 4, 4.0, 7)
    assert (row["parameters"], row["macs"]) == (247, 8096)
    assert row["placement"] == "after Conv2D, before ReLU"
    assert len(row["layers"]) == 14
    (look,) = inspection_json(found)["lookalikes"]
    assert look["reason"].endswith("squeeze-and-excitation")
    stream = io.StringIO()
    print_inspection(console(stream), found)
    for word in (
        "CBAM blocks    1",
        row["name"],
        "paper but for ratio",
        "8,096",
        "not CBAM: ",
        "squeeze-and-excitation",
    ):
        assert word in stream.getvalue()
