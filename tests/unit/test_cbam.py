"""CBAM layers against the paper's equations in NumPy, in every dialect, data format, precision and backend."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.errors import ModelError, OptionError
from exporter.models.cbam import (
    BLOG,
    CBAM,
    DIALECTS,
    PAPER,
    TIMM,
    ChannelAttention,
    Dialect,
    SpatialAttention,
    cbam_module,
    channel_attention,
    spatial_attention,
)

Array = NDArray[np.float64]
Weights = dict[str, Array]

SHAPE = (2, 6, 5, 40)
LAYERS = (ChannelAttention, SpatialAttention, CBAM)
FORMATS = ("channels_last", "channels_first")

CASES: dict[str, tuple[Dialect, dict[str, Any], int]] = {  # base, the fields that differ, hidden width of 40 channels
    "paper": (PAPER, {}, 2),
    "blog": (BLOG, {}, 20),
    "timm": (TIMM, {}, 3),
    "ratio": (PAPER, {"ratio": 8}, 5),
    "fraction": (BLOG, {"fraction": 0.125}, 5),
    "rounding": (TIMM, {"rounding": "floor"}, 2),
    "unshared": (PAPER, {"shared_mlp": False}, 2),
    "unshared-blog": (BLOG, {"shared_mlp": False}, 20),
    "no-mlp-bias": (PAPER, {"mlp_bias": False}, 2),
    "mlp-bias": (TIMM, {"mlp_bias": True}, 3),
    "mlp-relu": (PAPER, {"mlp_activation": "relu"}, 2),
    "mlp-sigmoid": (PAPER, {"mlp_activation": "sigmoid"}, 2),
    "mlp-linear": (BLOG, {"mlp_activation": None}, 20),
    "pools": (PAPER, {"pools": ("avg", "max")}, 2),
    **{f"kernel-{size}": (PAPER, {"kernel_size": size}, 2) for size in (1, 2, 3, 4, 5, 8)},
    "spatial-bias": (PAPER, {"spatial_bias": True}, 2),
    "spatial-bias-alone": (BLOG, {"spatial_bias": True}, 20),
    "no-spatial-norm": (PAPER, {"spatial_norm": False}, 2),
    "spatial-norm": (BLOG, {"spatial_norm": True}, 20),
    "epsilon": (PAPER, {"norm_epsilon": 0.1}, 2),
    "hard-sigmoid": (PAPER, {"gate": "hard_sigmoid"}, 2),
    "linear": (PAPER, {"gate": "linear"}, 2),
    "residual": (PAPER, {"residual": True}, 2),
    "no-residual": (BLOG, {"residual": False}, 20),
    "spatial-channel": (PAPER, {"order": "spatial_channel"}, 2),
    "parallel": (PAPER, {"order": "parallel"}, 2),
    "parallel-residual": (BLOG, {"order": "parallel"}, 20),
}
VALUES = {"mlp_activation", "pools", "norm_epsilon", "gate", "residual", "order"}
"""The fields that change what is computed, not the shape of a weight."""


# The reference: equations 1 to 3 of Woo et al. 2018 in float64, channels last.

GATES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "hard_sigmoid": lambda v: np.clip(v + 3, 0, 6) / 6,
    "linear": lambda v: v,
}
ACTIVATIONS: dict[str | None, Callable[[Array], Array]] = {
    None: lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "sigmoid": GATES["sigmoid"],
}


def mlp(dialect: Dialect, weights: Weights, suffix: str, vector: Array) -> Array:
    hidden = vector @ weights[f"squeeze{suffix}/kernel"]
    if dialect.mlp_bias:
        hidden = hidden + weights[f"squeeze{suffix}/bias"]
    out = np.maximum(hidden, 0) @ weights[f"excite{suffix}/kernel"]
    if dialect.mlp_bias:
        out = out + weights[f"excite{suffix}/bias"]
    return ACTIVATIONS[dialect.mlp_activation](out)


def channel_gate(dialect: Dialect, weights: Weights, x: Array) -> Array:
    avg, high = ("", "") if dialect.shared_mlp else ("_avg", "_max")
    logits = mlp(dialect, weights, avg, x.mean((1, 2))) + mlp(dialect, weights, high, x.max((1, 2)))
    return GATES[dialect.gate](logits)[:, None, None, :]


def convolved(dialect: Dialect, weights: Weights, x: Array) -> Array:
    maps = np.stack([x.max(3) if pool == "max" else x.mean(3) for pool in dialect.pools], -1)
    size, (_, height, width, _) = dialect.kernel_size, x.shape
    pad = ((size - 1) // 2, size // 2)  # "same": the odd row of an even kernel stands behind
    maps = np.pad(maps, ((0, 0), pad, pad, (0, 0)))
    kernel = weights["conv/kernel"]
    out = np.zeros((*x.shape[:3], 1))
    for i in range(size):
        for j in range(size):
            out += maps[:, i : i + height, j : j + width] @ kernel[i, j]
    return out + weights["conv/bias"] if dialect.spatial_bias else out


def spatial_gate(dialect: Dialect, weights: Weights, x: Array, training: bool = False) -> Array:
    out = convolved(dialect, weights, x)
    if dialect.spatial_norm:
        mean, variance = weights["norm/moving_mean"], weights["norm/moving_variance"]
        if training:
            mean, variance = out.mean(), out.var()
        out = (out - mean) / np.sqrt(variance + dialect.norm_epsilon) * weights["norm/gamma"] + weights["norm/beta"]
    return GATES[dialect.gate](out)


def cbam(dialect: Dialect, weights: Weights, x: Array, training: bool = False) -> Array:
    if dialect.order == "channel_spatial":
        first = x * channel_gate(dialect, weights, x)
        out = first * spatial_gate(dialect, weights, first, training)
    elif dialect.order == "spatial_channel":
        first = x * spatial_gate(dialect, weights, x, training)
        out = first * channel_gate(dialect, weights, first)
    else:
        out = x * channel_gate(dialect, weights, x) * spatial_gate(dialect, weights, x, training)
    return out + x if dialect.residual else out


def shapes(dialect: Dialect, channels: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Every weight that the dialect has, and no other."""
    found: dict[str, tuple[int, ...]] = {}
    for suffix in ("",) if dialect.shared_mlp else ("_avg", "_max"):
        found |= {f"squeeze{suffix}/kernel": (channels, hidden), f"excite{suffix}/kernel": (hidden, channels)}
        if dialect.mlp_bias:
            found |= {f"squeeze{suffix}/bias": (hidden,), f"excite{suffix}/bias": (channels,)}
    found["conv/kernel"] = (dialect.kernel_size, dialect.kernel_size, 2, 1)
    if dialect.spatial_bias:
        found["conv/bias"] = (1,)
    if dialect.spatial_norm:
        found |= {f"norm/{name}": (1,) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    return found


# Helpers.


def array(tensor: Any) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def key(weight: Any) -> str:
    return "/".join(weight.path.split("/")[-2:])


def weights_of(layer: Any) -> Weights:
    return {key(weight): array(weight).astype("float64") for weight in layer.weights}


def randomise(layer: Any, seed: int = 0) -> Weights:
    """Gives every weight, biases and statistics too, random numbers of which none is 0."""
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        if key(weight) == "norm/moving_variance":
            weight.assign(rng.uniform(0.1, 0.5, weight.shape))
        else:
            weight.assign(rng.normal(0, 0.4, weight.shape))
    return weights_of(layer)


def moved(before: Weights, after: Weights) -> set[str]:
    """The names of the weights that changed."""
    assert before.keys() == after.keys()
    return {name for name in before if not np.array_equal(before[name], after[name])}


def image(shape: tuple[int, ...] = SHAPE, seed: int = 1) -> Array:
    """Numbers that float32 holds exactly."""
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype("float32").astype("float64")


def first(x: Any) -> NDArray[Any]:
    return np.moveaxis(x, 3, 1)


def last(x: Any) -> NDArray[Any]:
    return np.moveaxis(x, 1, 3)


def assert_rounds_to(found: Any, expected: Array, terms: int) -> None:
    """Equal but for one rounding, of the largest number, for each of the `terms` that the sums on the way run over."""
    found = array(found)
    bound = terms * float(np.finfo(found.dtype).eps) * float(np.abs(expected).max())
    assert bound < (1e-12 if found.dtype == np.float64 else 1e-3) * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound)


def terms(dialect: Dialect) -> int:
    _, height, width, channels = SHAPE
    return height * width + 2 * channels + 2 * dialect.kernel_size**2


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.fixture
def data_format() -> Iterator[Callable[[str], None]]:
    before = keras.config.image_data_format()
    yield keras.config.set_image_data_format
    keras.config.set_image_data_format(before)


# Equal to the equations. These tests run on every backend, see the end of the file.


def test_the_backend_is_the_one_asked_for() -> None:
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_cbam_computes_the_equations(case: str, dtype: str) -> None:
    base, changes, hidden = CASES[case]
    dialect = dataclasses.replace(base, **changes)
    layer = CBAM(dialect, dtype=dtype)
    layer.build(SHAPE)
    weights = randomise(layer)
    assert {name: value.shape for name, value in weights.items()} == shapes(dialect, SHAPE[3], hidden)
    x = image()
    expected = cbam(dialect, weights, x)
    found = layer(x.astype(dtype))
    assert array(found).dtype == dtype
    assert_rounds_to(found, expected, terms(dialect))

    flipped = CBAM(dialect, data_format="channels_first", dtype=dtype)
    flipped.build(first(x).shape)
    for old, new in zip(layer.weights, flipped.weights, strict=True):
        assert key(old) == key(new)
        new.assign(old)
    assert_rounds_to(flipped(first(x).astype(dtype)), first(expected), terms(dialect))

    if changes and set(changes) <= VALUES:  # with these numbers the field is seen
        assert np.abs(cbam(base, weights, x) - expected).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_gate_computes_its_equation(dialect: str, form: str) -> None:
    x = image()
    fed = (x if form == "channels_last" else first(x)).astype("float32")
    for kind, equation in ((ChannelAttention, channel_gate), (SpatialAttention, spatial_gate)):
        refine, gate = (kind(dialect, output=output, data_format=form) for output in ("refined", "gate"))
        refine.build(fed.shape)
        gate.build(fed.shape)
        weights = randomise(refine)
        assert randomise(gate).keys() == weights.keys()
        expected = equation(DIALECTS[dialect], weights, x)
        budget = terms(DIALECTS[dialect])
        for layer, value in ((refine, x * expected), (gate, expected)):
            found = array(layer(fed))
            assert_rounds_to(found if form == "channels_last" else last(found), value, budget)


# As TensorFlow runs them.


def test_a_float64_policy_computes_in_float64(policy: Callable[[str], None]) -> None:
    policy("float64")
    for dialect in DIALECTS.values():
        layer = CBAM(dialect)
        layer.build(SHAPE)
        weights = randomise(layer)
        assert {weight.dtype for weight in layer.weights} == {"float64"}
        assert_rounds_to(layer(image()), cbam(dialect, weights, image()), terms(dialect))


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_policy_computes_in_half_and_keeps_float32_weights(name: str, policy: Callable[[str], None]) -> None:
    policy(name)
    half = name.removeprefix("mixed_")
    for dialect in DIALECTS.values():
        layer = CBAM(dialect)
        out = layer(image().astype("float32"))
        assert keras.backend.standardize_dtype(out.dtype) == half
        inner = list(layer._flatten_layers())
        assert len(inner) == (7 if dialect.spatial_norm else 6)
        assert {each.compute_dtype for each in inner} == {half}
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        # What one layer is told, without a global policy, is the same.
        keras.config.set_dtype_policy("float32")
        alone = CBAM(dialect, dtype=name)
        assert keras.backend.standardize_dtype(alone(image()).dtype) == half
        policy(name)
        weights = randomise(layer)
        np.testing.assert_allclose(
            array(keras.ops.cast(layer(image()), "float64")),
            cbam(dialect, weights, image()),
            rtol=0,
            atol=16 * {"float16": 2.0**-10, "bfloat16": 2.0**-7}[half],
        )


@pytest.mark.parametrize(("half", "eps"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_a_mean_in_half_precision_neither_overflows_nor_loses_digits(half: str, eps: float) -> None:
    # Weights that make the gate the mean itself: an identity behind the mean, zeros behind the maximum.
    x = array(keras.ops.cast(np.random.default_rng(0).uniform(5, 15, (1, 128, 128, 4)), half)).astype("float64")
    assert x.sum((1, 2)).min() > np.finfo("float16").max
    bare = Dialect(ratio=1, shared_mlp=False, mlp_bias=False, gate="linear", spatial_norm=False, kernel_size=1)
    layer = ChannelAttention(bare, output="gate", dtype=f"mixed_{half}")
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(np.eye(4) if "_avg" in key(weight) else np.zeros((4, 4)))
    gate = array(keras.ops.cast(layer(x), "float64"))
    np.testing.assert_allclose(gate[:, 0, 0], x.mean((1, 2)), rtol=eps)

    x = x.reshape(1, 2, 2, -1)
    spatial = SpatialAttention(bare, output="gate", dtype=f"mixed_{half}")
    spatial.build(x.shape)
    spatial.weights[0].assign(np.reshape([0.0, 1.0], (1, 1, 2, 1)))  # max, avg
    gate = array(keras.ops.cast(spatial(x), "float64"))
    np.testing.assert_allclose(gate[..., 0], x.mean(3), rtol=eps)


@pytest.mark.parametrize(
    ("channels", "trainable"),
    [(64, 680), (128, 2_284), (256, 8_564), (512, 33_412), (1024, 132_260), (2048, 526_564)],
)
def test_parameters_of_one_official_block(channels: int, trainable: int) -> None:
    layer = CBAM()
    layer.build((None, 7, 7, channels))
    assert sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights) == trainable
    assert layer.count_params() == trainable + 2  # BatchNorm's statistics


def test_a_fresh_official_block_opens_every_spatial_gate_to_one_half() -> None:
    x = image().astype("float32")
    assert np.all(array(SpatialAttention(output="gate")(x)) == 0.5)
    assert np.ptp(array(SpatialAttention("timm", output="gate")(x))) > 0.01


def test_kernels_start_from_different_numbers() -> None:
    # All of one shape, from one initialiser instance.
    layer = CBAM(Dialect(ratio=1, shared_mlp=False), kernel_initializer=keras.initializers.RandomNormal())
    layer.build(SHAPE)
    kernels = [value for name, value in weights_of(layer).items() if value.shape == (40, 40)]
    assert len(kernels) == 4
    for index, kernel in enumerate(kernels):
        assert np.ptp(kernel) > 0
        assert all(np.abs(kernel - other).max() > 1e-3 for other in kernels[:index])


def test_initialisers_reach_the_kernels_alone() -> None:
    for initializer in ("ones", keras.initializers.Ones, lambda shape, dtype=None: keras.ops.ones(shape, dtype)):
        layer = CBAM(dataclasses.replace(PAPER, spatial_bias=True, norm_gamma="ones"), kernel_initializer=initializer)
        layer.build(SHAPE)
        weights = weights_of(layer)
        ones = {name for name, value in weights.items() if np.all(value == 1)}
        assert ones == {
            "squeeze/kernel",
            "excite/kernel",
            "conv/kernel",
            "norm/gamma",
            "norm/moving_variance",
        }
        assert all(np.all(value == 0) for name, value in weights.items() if name not in ones)


@pytest.mark.parametrize("order", ["channel_spatial", "spatial_channel", "parallel"])
def test_every_kernel_is_regularised_in_every_order(order: Any) -> None:
    dialect = Dialect(ratio=4, order=order, shared_mlp=False)
    layer = CBAM(dialect, kernel_regularizer=keras.regularizers.L2(0.5))
    layer(image())
    weights = randomise(layer)
    expected = [0.5 * np.sum(value**2) for name, value in weights.items() if name.endswith("kernel")]
    np.testing.assert_allclose(sorted(float(loss) for loss in layer.losses), sorted(expected), rtol=1e-5)
    assert len(expected) == 5


@pytest.mark.parametrize("order", ["channel_spatial", "spatial_channel", "parallel"])
def test_statistics_move_in_training_only(order: Any) -> None:
    dialect = Dialect(ratio=4, order=order, norm_momentum=0.75)
    x = image()
    inputs = keras.Input(SHAPE[1:], dtype="float64")
    model = keras.Model(inputs, CBAM(dialect, dtype="float64")(inputs))
    before = randomise(model)
    model(x)
    model(x, training=False)
    assert not moved(before, weights_of(model))

    found = model(x, training=True)
    np.testing.assert_allclose(array(found), cbam(dialect, before, x, training=True), rtol=1e-10, atol=1e-12)
    seen = x * channel_gate(dialect, before, x) if order == "channel_spatial" else x
    batch = convolved(dialect, before, seen)
    after = weights_of(model)
    for name, statistic in (("norm/moving_mean", batch.mean()), ("norm/moving_variance", batch.var())):
        np.testing.assert_allclose(after.pop(name), 0.75 * before.pop(name) + 0.25 * statistic, rtol=1e-12)
    assert not moved(before, after)


def test_a_frozen_block_keeps_its_statistics_also_when_loaded(tmp_path: Path) -> None:
    for kind in (SpatialAttention, CBAM):
        model = keras.Sequential([keras.Input(SHAPE[1:]), kind(trainable=False, name="block")])
        randomise(model)
        model.save(tmp_path / "frozen.keras")
        for each in (model, keras.saving.load_model(tmp_path / "frozen.keras")):
            assert each.trainable_weights == []
            before = weights_of(each)
            each(image(), training=True)
            assert not moved(before, weights_of(each))
            each.get_layer("block").trainable = True
            assert len(each.trainable_weights) == len(each.weights) - 2
            each(image(), training=True)
            assert moved(before, weights_of(each)) == {"norm/moving_mean", "norm/moving_variance"}


@pytest.mark.parametrize("case", ["paper", "blog", "timm", "unshared", "spatial-bias-alone", "parallel-residual"])
def test_gradients_reach_every_trainable_weight(case: str) -> None:
    import tensorflow as tf

    base, changes, _ = CASES[case]
    layer = CBAM(dataclasses.replace(base, **changes))
    x = tf.convert_to_tensor(image().astype("float32"))
    layer(x)
    randomise(layer)
    for training in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=training) ** 2)
        trainable = layer.trainable_variables
        assert len(trainable) == len(layer.weights) - 2 * layer.dialect.spatial_norm
        *gradients, to_input = tape.gradient(loss, [*(weight.value for weight in trainable), x])
        for weight, gradient in zip(trainable, gradients, strict=True):
            assert gradient is not None, weight.path
            assert np.all(np.isfinite(gradient)), weight.path
            assert np.abs(gradient).max() > 1e-6, weight.path
        assert np.all(np.isfinite(to_input))


# Configs, files, models.

CONFIGURED: list[dict[str, Any]] = [
    {},
    {"dialect": "blog", "data_format": "channels_first", "name": "mine"},
    {"dialect": TIMM, "dtype": "mixed_float16", "trainable": False},
    {
        "dialect": {"ratio": 4, "shared_mlp": False, "kernel_size": 4, "pools": ["avg", "max"]},
        "kernel_initializer": keras.initializers.RandomUniform(-0.5, 0.25, seed=7),
        "kernel_regularizer": keras.regularizers.L1L2(0.25, 0.5),
        "dtype": keras.DTypePolicy("float64"),
    },
    {"kernel_initializer": "glorot_uniform", "kernel_regularizer": "l2", "dtype": "mixed_bfloat16"},
]


@pytest.mark.parametrize("options", CONFIGURED)
def test_a_config_goes_there_and_back(options: dict[str, Any]) -> None:
    for kind in LAYERS:
        extra: list[dict[str, Any]] = [{}] if kind is CBAM else [{"output": "refined"}, {"output": "gate"}]
        for more in extra:
            layer = kind(**options, **more)
            config = layer.get_config()
            again = kind.from_config(config)
            assert again.get_config() == config
            assert {name: config[name] for name in more} == more
            assert again.dialect == Dialect.of(options.get("dialect", PAPER))
            assert again.dtype_policy == layer.dtype_policy
            assert again.data_format == options.get("data_format", "channels_last")
            revived = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
            assert type(revived) is kind
            assert revived.get_config() == config


def test_the_names_in_files_stay() -> None:
    assert [keras.saving.get_registered_name(kind) for kind in LAYERS] == [
        "cbam_export>ChannelAttention",
        "cbam_export>SpatialAttention",
        "cbam_export>CBAM",
    ]
    assert list(CBAM().get_config()) == [
        "name",
        "trainable",
        "dtype",
        "dialect",
        "data_format",
        "kernel_initializer",
        "kernel_regularizer",
    ]


@pytest.mark.parametrize("options", CONFIGURED)
def test_a_saved_model_loads_to_the_same_numbers(options: dict[str, Any], tmp_path: Path) -> None:
    options = options | {"data_format": "channels_last"}
    inputs = keras.Input((None, None, 40))
    named = {name: value for name, value in options.items() if name != "name"}
    x = CBAM(**options)(inputs)
    x = ChannelAttention(**named)(x)
    model = keras.Model(inputs, [SpatialAttention(**named)(x), SpatialAttention(**named, output="gate")(x)])
    randomise(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for old, new in zip(model.weights, loaded.weights, strict=True):
        assert (old.path, old.dtype) == (new.path, new.dtype)
        np.testing.assert_array_equal(array(new), array(old))
    for found, expected in zip(loaded(image()), model(image()), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(array(found), array(expected))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_output_shape_is_known_before_and_after(kind: Any, form: str) -> None:
    shape = SHAPE if form == "channels_last" else first(np.empty(SHAPE)).shape
    gates = {
        (ChannelAttention, "channels_last"): (2, 1, 1, 40),
        (ChannelAttention, "channels_first"): (2, 40, 1, 1),
        (SpatialAttention, "channels_last"): (2, 6, 5, 1),
        (SpatialAttention, "channels_first"): (2, 1, 6, 5),
    }
    for output in ("refined",) if kind is CBAM else ("refined", "gate"):
        options = {} if kind is CBAM else {"output": output}
        layer = kind(data_format=form, **options)
        expected = shape if output == "refined" else gates[kind, form]
        assert layer.compute_output_shape(shape) == expected
        assert layer(np.zeros(shape, "float32")).shape == expected
        axis = 3 if form == "channels_last" else 1
        opened = tuple(size if index == axis else None for index, size in enumerate(shape))
        symbolic = layer(keras.Input(batch_shape=opened))
        assert symbolic.shape == layer.compute_output_shape(opened)
        assert [size for size in symbolic.shape if size is not None and size not in expected] == []


@pytest.mark.parametrize("kind", LAYERS)
def test_any_batch_and_size_go_through_the_same_weights(kind: Any) -> None:
    layer = kind(dataclasses.replace(PAPER, norm_gamma="ones"), name="block")
    inputs = keras.Input((None, None, 40))
    functional = keras.Model(inputs, layer(inputs))
    weights = randomise(layer)
    identities = [id(weight) for weight in layer.weights]
    equations: dict[Any, Callable[[Dialect, Weights, Array], Array]] = {
        CBAM: cbam,
        ChannelAttention: lambda d, w, x: x * channel_gate(d, w, x),
        SpatialAttention: lambda d, w, x: x * spatial_gate(d, w, x),
    }
    equation = equations[kind]
    sequential = keras.Sequential([layer])
    for shape in (SHAPE, (1, 9, 3, 40), (3, 1, 1, 40)):
        expected = equation(PAPER, weights, image(shape))
        for call in (layer, functional, sequential):
            assert_rounds_to(call(image(shape).astype("float32")), expected, 256)
    x = image((5, 7, 4, 40))
    assert_rounds_to(functional.predict(x, batch_size=3, verbose=0), equation(PAPER, weights, x), 256)
    assert [id(weight) for weight in layer.weights] == identities


# The blog's three functions.


def blogs_layers(channels: int, ratio: float) -> keras.Model:
    """The blog's cbam_module, literally, but that its Lambdas of K.max and K.mean are keras.ops."""
    inputs = x = keras.Input((None, None, channels))
    maximum = keras.layers.Reshape((1, 1, channels))(keras.layers.GlobalMaxPooling2D()(x))
    average = keras.layers.Reshape((1, 1, channels))(keras.layers.GlobalAveragePooling2D()(x))
    options: dict[str, Any] = {"kernel_initializer": "he_normal", "bias_initializer": "zeros", "use_bias": True}
    squeeze = keras.layers.Dense(int(channels * ratio), activation="relu", **options)
    excite = keras.layers.Dense(channels, activation="relu", **options)
    added = keras.layers.Add()([excite(squeeze(maximum)), excite(squeeze(average))])
    channel = keras.layers.Multiply()([keras.layers.Activation("sigmoid")(added), x])
    pooled = [keras.ops.max(channel, axis=3, keepdims=True), keras.ops.mean(channel, axis=3, keepdims=True)]
    spatial = keras.layers.Conv2D(
        1, 3, padding="same", activation="sigmoid", kernel_initializer="he_normal", use_bias=False
    )(keras.layers.Concatenate(axis=3)(pooled))
    out = keras.layers.Add()([keras.layers.Multiply()([channel, spatial]), x])
    return keras.Model(inputs, [channel, spatial, out])


@pytest.mark.parametrize(("channels", "ratio"), [(3, 0.5), (40, 0.5), (40, 0.3)])
def test_the_blogs_functions_compute_the_blogs_layers(channels: int, ratio: float) -> None:
    literal = blogs_layers(channels, ratio)
    for layer in literal.layers:  # large numbers, so that the second ReLU cuts
        for weight in layer.weights:
            weight.assign(np.random.default_rng(weight.shape[-1]).normal(0, 0.7, weight.shape))
    values = literal.get_weights()
    x = image((2, 6, 5, channels)).astype("float32")
    refined, gate, out = map(array, literal(x))

    inputs = keras.Input((None, None, channels))
    for built, weights, fed, expected in (
        (channel_attention(inputs, ratio), values[:4], x, refined),
        (spatial_attention(inputs), values[4:], refined, gate),
        (cbam_module(inputs, ratio), values, x, out),
    ):
        model = keras.Model(inputs, built)
        model.set_weights(weights)
        assert_rounds_to(model(fed), expected.astype("float64"), 128)


def test_the_blogs_default_ratios() -> None:
    inputs = keras.Input((4, 4, 64))
    for function, hidden in ((channel_attention, 8), (cbam_module, 32)):
        model = keras.Model(inputs, function(inputs))
        assert weights_of(model)["squeeze/kernel"].shape == (64, hidden)


def test_the_blogs_own_checks() -> None:
    assert cbam_module(np.ones([2, 256, 256, 3]) * 0.5).shape == (2, 256, 256, 3)
    assert ChannelAttention("blog", output="gate")(np.ones([3, 4, 4, 3])).shape == (3, 1, 1, 3)
    with pytest.raises(ModelError, match=r"int\(3 \* 0.125\) = 0 hidden units; with C = 3 .* works is 1/3 = 0.3334"):
        channel_attention(np.ones([2, 256, 256, 3]) * 0.5)
    assert channel_attention(np.ones([2, 8, 8, 3]), 0.3334).shape == (2, 8, 8, 3)


def test_the_blogs_functions_follow_kerass_data_format(data_format: Callable[[str], None]) -> None:
    x = image().astype("float32")
    inputs = keras.Input(SHAPE[1:])
    expected = keras.Model(inputs, [channel_attention(inputs), spatial_attention(inputs), cbam_module(inputs)])
    randomise(expected)
    data_format("channels_first")
    inputs = keras.Input((40, 6, 5))
    found = keras.Model(inputs, [channel_attention(inputs), spatial_attention(inputs), cbam_module(inputs)])
    found.set_weights(expected.get_weights())
    for one, other in zip(found(first(x)), expected(x), strict=True):
        np.testing.assert_allclose(last(array(one)), array(other), rtol=1e-5, atol=1e-6)


# What is refused.


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((6, 5, 40), r"'block' takes a feature map of rank 4 .*channels_last.* got shape \(6, 5, 40\)"),
        ((2, 3, 6, 5, 40), r"rank 4 .* got shape \(2, 3, 6, 5, 40\)"),
        ((2, 6, 5, None), r"'block' needs a known number of channels"),
    ],
)
def test_a_wrong_map_is_refused(kind: Any, shape: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(ModelError, match=f"^{kind.__name__} .*{message}"):
        kind(name="block")(keras.Input(batch_shape=shape))


def test_too_few_channels_are_refused() -> None:
    for kind in (ChannelAttention, CBAM):
        with pytest.raises(ModelError, match=r"C // ratio = 8 // 16 = 0 hidden units; with C = 8 .* works is 8"):
            kind()(np.zeros((1, 4, 4, 8), "float32"))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dialect": "blogg"}, r"unknown dialect 'blogg'; did you mean 'blog'\?"),
        ({"dialect": {"kernel": 3}}, r"unknown dialect field 'kernel'"),
        ({"dialect": {"fraction": 0.5}}, r"not both or neither"),
        ({"data_format": "NHWC"}, r"data_format must be 'channels_last' or 'channels_first'; got 'NHWC'"),
    ],
)
def test_a_wrong_option_is_refused(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        kind(**options)


@pytest.mark.parametrize("kind", [ChannelAttention, SpatialAttention])
def test_a_wrong_output_is_refused(kind: Any) -> None:
    with pytest.raises(OptionError, match=r"output must be 'refined' or 'gate'; got 'gates'"):
        kind(output="gates")


# The other backends.


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_computes_the_equations(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: Keras cannot run on it here")
    # Without float64: there Keras itself takes a mean, a Dense and a BatchNormalization of it in float32.
    tests = [
        test_the_backend_is_the_one_asked_for,
        test_cbam_computes_the_equations,
        test_each_gate_computes_its_equation,
    ]
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not float64"),
            *(f"{__file__}::{test.__name__}" for test in tests),
        ],
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{1 + len(CASES) + len(DIALECTS) * len(FORMATS)} passed, {len(CASES)} deselected in" in result.stdout, (
        result.stdout
    )
