"""Lowering: every rewritten model computes the same, in the form its target was measured to run fastest."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.deploy.blocks import Block
from converters.deploy.equality import compare_block
from converters.deploy.flat import flatten
from converters.deploy.forms import Form, build
from converters.deploy.lower import Lowered, Target, lower
from converters.deploy.recognise import blocks_of, recognise
from converters.deploy.toeplitz import Blocking, blocked_kernel
from converters.deploy.wiring import Replacement
from converters.errors import ModelError
from drawn_weights import drawn
from exporter import CBAM, Dialect, build_model
from exporter.models.cbam import ChannelAttention, SpatialAttention
from steep_net import steep

LIMIT = 1e-12
DIALECTS: dict[str, Any] = {
    "paper": "paper",
    "blog": "blog",
    "timm": "timm",
    "parallel": Dialect(order="parallel", ratio=4, gate="hard_sigmoid", spatial_bias=True),
    "reversed": Dialect(order="spatial_channel", ratio=4, shared_mlp=False, mlp_bias=False, kernel_size=4),
    "pointwise": Dialect(ratio=4, kernel_size=1, mlp_activation="sigmoid", residual=True),
}


def _net(dialect: Any = "paper", size: tuple[int, int] = (12, 20), channels: int = 16, **options: Any) -> Any:
    """A convolution, a block with a shortcut around it, and a head."""
    keras.utils.set_random_seed(1)
    first = options.get("data_format") == "channels_first"
    image = keras.Input((3, *size) if first else (*size, 3), name="image")
    x = layers.Conv2D(channels, 3, padding="same", activation="relu", **options)(image)
    x = layers.Add()([CBAM(dialect, name="attention", **options)(x), x])
    x = layers.GlobalAveragePooling2D(**options)(x)
    return drawn(keras.Model(image, layers.Dense(4, name="scores")(x), name="net"), offsets=0.2)


def _differ(lowered: Lowered, model: Any) -> float:
    """Largest difference in float32, relative to the largest result."""
    random = np.random.default_rng(3)
    given = [random.normal(0, 1, (2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    one, other = (keras.tree.flatten(each(given if len(given) > 1 else given[0])) for each in (lowered.model, model))
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_stays_equal(dialect: str, target: Target) -> None:
    model = _net(DIALECTS[dialect])
    lowered = lower(model, target)
    assert [rewrite.name for rewrite in lowered.rewrites] == ["attention"]
    assert lowered.error <= LIMIT
    assert lowered.rewrites[0].error <= LIMIT
    assert _differ(lowered, model) < 1e-5
    assert not [layer for layer in lowered.model.layers if isinstance(layer, CBAM)]


@pytest.mark.parametrize("kind", [ChannelAttention, SpatialAttention])
def test_half_a_block_is_lowered_too(kind: Any) -> None:
    image = keras.Input((10, 8, 16))
    model = drawn(keras.Model(image, kind("paper", name="gate")(image)), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert [rewrite.name for rewrite in lowered.rewrites] == ["gate"]
    assert _differ(lowered, model) < 1e-5


def test_augmentation_inside_the_model_is_off_in_the_proof() -> None:
    net = _net(size=(12, 12))
    image = keras.Input((12, 12, 3))
    turned = layers.RandomRotation(0.5)(layers.RandomFlip()(layers.RandomBrightness(0.5, (0, 1))(image)))
    lowered = lower(keras.Model(image, net(turned)), Target.LITERT_FLOAT)
    assert len(lowered.rewrites) == 1, lowered


def test_channels_first_becomes_channels_last() -> None:
    model = _net("timm", data_format="channels_first")
    lowered = lower(model, Target.LITERT_FLOAT)
    assert {rule for rewrite in lowered.rewrites for rule in rewrite.rules} >= {"channels-last", "blocked-convolution"}
    formats = [layer.data_format for layer in lowered.model.layers if hasattr(layer, "data_format")]
    assert set(formats) == {"channels_last"}
    turned = [op for op in lowered.model.operations if type(op).__name__ == "Transpose"]
    assert len(turned) == 1  # of the image; nothing behind it is turned back
    assert lowered.model.inputs[0].shape == (None, 3, 12, 20)


def test_a_model_inside_a_model_that_is_called_twice() -> None:
    inner_in = keras.Input((8, 8, 8))
    inner = keras.Model(inner_in, CBAM(Dialect(ratio=4), name="attention")(inner_in), name="inner")
    left, right = keras.Input((8, 8, 8), name="left"), keras.Input((8, 8, 8), name="right")
    both = layers.Concatenate()([inner(left), inner(right)])
    model = drawn(keras.Model([left, right], {"sum": layers.Conv2D(2, 1)(both), "left": inner(left)}), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert len(lowered.rewrites) == 3
    assert list(lowered.model.output) == list(model.output)
    assert _differ(lowered, model) < 1e-5


def test_the_model_is_not_changed_and_its_weights_are_not_copied() -> None:
    model = _net()
    before = [np.array(weight) for weight in model.get_weights()]
    calls = [len(operation._inbound_nodes) for operation in model.operations]
    lowered = lower(model, Target.LITERT_FLOAT)
    assert [len(operation._inbound_nodes) for operation in model.operations] == calls
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert lowered.model.get_layer("scores").kernel is model.get_layer("scores").kernel


def test_a_gate_that_is_also_an_output_stays() -> None:
    image = keras.Input((8, 8, 8))
    gate = ops.sigmoid(layers.Conv2D(1, 3, padding="same")(ops.stack([ops.max(image, 3), ops.mean(image, 3)], -1)))
    model = keras.Model(image, [image * gate, gate])
    lowered = lower(model, Target.LITERT_FLOAT)
    assert len(lowered.rewrites) == 1
    assert _differ(lowered, model) < 1e-5


def test_dense_on_a_map_is_a_convolution_and_on_one_pixel_a_vector() -> None:
    image = keras.Input((6, 5, 8))
    x = layers.Dense(4, activation="relu", name="wide")(image)
    x = layers.Dense(3, use_bias=False, name="one")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    model = drawn(keras.Model(image, x), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert {each.name: each.rules for each in lowered.rewrites} == {
        "wide": ("dense-on-a-map",),
        "one": ("dense-on-a-map",),
    }
    dense = [layer for layer in lowered.model.layers if isinstance(layer, layers.Dense)]
    assert [len(layer.input.shape) for layer in dense] == [2]
    assert _differ(lowered, model) < 1e-5


@pytest.mark.parametrize(("width", "blocking"), [(20, (20, 4)), (20, (10, 2)), (12, (12, 12)), (12, (4, 1))])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_blocked_kernel_gives_the_same_convolution(
    width: int, blocking: tuple[int, int], size: int, pieces: int
) -> None:
    random = np.random.default_rng(4)
    kernel, maps = random.normal(size=(size, size, pieces, 1)), random.normal(size=(1, 9, width, pieces))
    how = Blocking(*blocking)
    grouped = [maps[..., piece].reshape(1, 9, width // how.group, how.group) for piece in range(pieces)]
    made = ops.conv(
        ops.convert_to_tensor(np.concatenate(grouped, -1)),
        blocked_kernel(kernel, how, width),
        strides=(1, how.block // how.group),
        padding="same",
    )
    plain = np.asarray(ops.conv(ops.convert_to_tensor(maps), kernel, padding="same"))
    assert np.abs(np.asarray(made).reshape(plain.shape) - plain).max() < LIMIT * np.abs(plain).max()


def _one_block(model: Any) -> Block:
    (block,) = blocks_of(flatten(model)).blocks
    return block


def _replacement(block: Block, form: Form) -> Replacement:
    return Replacement(block.name, block.input, block.output, lambda x, weigh: build(block, form, x, weigh), maps=True)


@pytest.mark.parametrize(
    "form",
    [
        Form(mlp="merged", two_step=True),
        Form(mlp="hidden", apart=True),
        Form(blocking=Blocking(10, 2)),
        Form(apart=True, blocking=Blocking(20, 20)),
        Form(blocking=Blocking(8, 4)),  # of 20 columns: with four of zeros
        Form(apart=True, blocking=Blocking(16, 16)),
        Form(apart=True, blocking=Blocking(10, 5), mean_convolved=True),
        Form(mean_convolved=True),
    ],
    ids=str,
)
def test_every_form_is_equal_to_the_formula(form: Form) -> None:
    block = _one_block(_net("paper"))
    found = compare_block(block, _replacement(block, form))
    assert (found.reason, found.error <= LIMIT) == ("", True)


@pytest.mark.parametrize(
    "wrong",
    [{"pools": ("avg", "max")}, {"conv": "shifted"}, {"gate": "hard_sigmoid"}],
    ids=["pools", "shift", "gate"],
)
def test_the_proof_finds_a_wrong_rewrite(wrong: dict[str, Any]) -> None:
    block = _one_block(_net("paper"))
    assert block.spatial is not None
    if "conv" in wrong:  # laid out for another width
        replacement = Replacement(
            block.name,
            block.input,
            block.output,
            lambda x, weigh: ops.roll(build(block, Form(), x, weigh), 1, axis=2),
            maps=True,
        )
    else:
        other = dataclasses.replace(block, spatial=dataclasses.replace(block.spatial, **wrong))
        replacement = _replacement(other, Form())
    assert "differs by" in compare_block(block, replacement).reason


def test_what_fails_its_proof_is_undone_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.deploy import forms

    whole = forms.blocked_kernel

    def broken(kernel: Any, blocking: Blocking, width: int) -> Any:
        return whole(kernel, blocking, width)[::-1] if width == 8 else whole(kernel, blocking, width)

    monkeypatch.setattr(forms, "blocked_kernel", broken)
    model = drawn(build_model("cbam-small-cnn", input_shape=(32, 32, 3), classes=3), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert [rewrite.name for rewrite in lowered.rewrites] == ["stage1_cbam", "stage2_cbam"]
    assert {refusal.name for refusal in lowered.refused} == {"stage3_cbam"}
    assert all("differs by" in refusal.reason for refusal in lowered.refused)
    assert [layer.name for layer in lowered.model.layers if isinstance(layer, CBAM)] == ["stage3_cbam"]
    assert _differ(lowered, model) < 1e-5


def test_a_net_that_makes_roundings_large_is_lowered_all_the_same() -> None:
    """What a part differs by, 1e-15 or less, is above 1e-12 in what is left between two that are nearly alike."""
    lowered = lower(steep(), Target.LITERT_FLOAT)
    assert lowered.error > LIMIT
    assert ([rewrite.name for rewrite in lowered.rewrites], lowered.refused) == (["first", "second"], ())


def test_an_open_size_is_refused_with_the_reason() -> None:
    model = drawn(build_model("cbam-small-cnn", input_shape=(None, None, 3), classes=3), offsets=0.2)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert {(refusal.rule, "--input-shape" in refusal.reason) for refusal in lowered.refused} == {
        ("blocked-convolution", True)
    }
    image = np.random.default_rng(0).normal(size=(1, 24, 40, 3)).astype(np.float32)
    assert np.abs(np.asarray(lowered.model(image)) - np.asarray(model(image))).max() < 1e-5


def test_a_width_that_no_block_divides_is_filled_up_with_zeros() -> None:
    model = _net("blog", (9, 37))
    lowered = lower(model, Target.LITERT_INT8)
    assert "blocked-convolution" in lowered.rewrites[0].rules
    assert [(each.rule, "37" in each.reason) for each in lowered.refused] == [("convolved-mean", True)]
    (laid,) = {layer.kernel.shape[1:] for layer in lowered.model.layers if "spatial" in layer.name}
    assert laid == (3, 8, 8)  # of 8 columns, which need three more, each with its neighbours
    assert lowered.error <= LIMIT
    assert _differ(lowered, model) < 1e-5


def test_nothing_to_do_gives_the_model_itself() -> None:
    model = build_model("small-cnn", classes=3)
    lowered = lower(model, Target.LITERT_FLOAT)
    assert lowered.model is model
    assert (lowered.rewrites, lowered.refused) == ((), ())


def test_a_model_in_half_precision_is_an_error() -> None:
    image = keras.Input((8, 8, 16))
    model = keras.Model(image, CBAM("paper", dtype="mixed_float16")(image))
    with pytest.raises(ModelError, match="float32 twin"):
        lower(model, Target.LITERT_FLOAT)


@pytest.mark.parametrize(
    "size", [(12, 20), *(pytest.param(each, marks=pytest.mark.slow) for each in ((9, 14), (16, 36)))]
)
@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_lowered_model_can_be_looked_at_again(dialect: str, target: Target, size: tuple[int, int]) -> None:
    model = _net(DIALECTS[dialect], size)
    (before,) = recognise(model).blocks
    lowered = lower(model, target)
    (after,) = recognise(lowered.model).blocks
    fields: dict[str, tuple[str, ...]] = {"spatial": ("pools", "kernel_size", "gate")}
    assert before.channel is not None
    if before.channel.shared:  # two MLPs are a channel gate in this package's own layers only
        fields |= {"channel": ("pools", "hidden", "activation", "gate", "biases")}
        assert after.order == before.order
    assert after.kind == ("cbam" if before.channel.shared else "spatial")
    for gate, names in fields.items():
        one, other = getattr(before, gate), getattr(after, gate)
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    again = lower(lowered.model, Target.LITERT_FLOAT)
    assert len(again.rewrites) == 1
    assert again.error <= LIMIT
    assert _differ(again, model) < 1e-5


def test_a_convolution_that_is_laid_out_otherwise_is_no_spatial_gate() -> None:
    lowered = lower(_net(), Target.LITERT_INT8).model
    laid = lowered.get_layer("attention_spatial_max")
    kernel = np.array(laid.kernel)
    kernel[2, 0, 0, -1] += 1
    laid.kernel.assign(kernel)
    found = recognise(lowered)
    assert [block.kind for block in found.blocks] == ["channel"]
    assert [each.reason for each in found.lookalikes]
