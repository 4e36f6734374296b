"""CBAM put into models of every shape: the weights stay, and an open gate changes nothing."""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
import numpy as np
import pytest

from converters.errors import ModelError, OptionError
from exporter.models.cbam import CBAM
from exporter.models.dialect import Dialect
from exporter.models.insert import add_cbam

LINEAR = Dialect(ratio=4, gate="linear")
"""With linear gates the block is exactly the identity once its gates are made 1, see `open_gates`."""

APPLICATIONS = [name for name, value in vars(keras.applications).items() if inspect.isfunction(value)]
SMALL = ["MobileNet", "MobileNetV2", "EfficientNetB0", "MobileNetV3Small"]


def blocks(model: Any) -> list[CBAM]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, CBAM)]


def open_gates(model: Any, factor: float = 1.0) -> None:
    """Makes every block multiply by `factor`: no kernel, and biases that add up to it."""
    for block in blocks(model):
        for weight in block.weights:
            weight.assign(keras.ops.zeros_like(weight))
        for _, excite in block.channel.mlps:
            excite.bias.assign(keras.ops.full_like(excite.bias, 0.5))  # for both pooled vectors: 1 together
        assert block.spatial.norm is not None
        block.spatial.norm.beta.assign([factor])


def scramble(model: Any, seed: int = 0) -> None:
    """Weights that no initialiser would give, so that a copy cannot be equal by chance; variances stay positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.02, 0.2, weight.shape).astype(weight.dtype))


def images(model: Any) -> Any:
    random = np.random.default_rng(1)

    def draw(tensor: Any) -> Any:
        sizes = [32 if size is None else size for size in tensor.shape[1:]]
        return random.random((2, *sizes), dtype="float32")

    return keras.tree.map_structure(draw, model.input if hasattr(model, "operations") else model.inputs[0])


def assert_same_weights(old: Any, new: Any) -> None:
    for layer in old.layers:
        twin = new.get_layer(layer.name)
        if hasattr(layer, "layers"):
            assert_same_weights(layer, twin)
            continue
        assert len(layer.weights) == len(twin.weights)
        for before, after in zip(layer.weights, twin.weights, strict=True):
            assert before is not after
            assert before.trainable == after.trainable
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(before), keras.ops.convert_to_numpy(after))
        assert twin.trainable == layer.trainable or isinstance(layer, keras.layers.InputLayer)


def assert_same_outputs(old: Any, new: Any, **tolerance: Any) -> None:
    x = images(old)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(b, a, **tolerance), old(x, training=False), new(x, training=False)
    )


def check(old: Any, after: Any, count: int, **options: Any) -> Any:
    """The new model, after all that must hold of it has been checked."""
    names, calls = [layer.name for layer in old.layers], [len(layer._inbound_nodes) for layer in old.layers]
    new = add_cbam(old, after, dialect=LINEAR, **options)
    assert len(blocks(new)) == count
    assert_same_weights(old, new)
    open_gates(new)
    assert_same_outputs(old, new, rtol=1e-6, atol=1e-6)
    open_gates(new, 0.5)
    with pytest.raises(AssertionError):
        assert_same_outputs(old, new, rtol=1e-6, atol=1e-6)  # the blocks are where something comes through
    assert [layer.name for layer in old.layers] == names
    assert [len(layer._inbound_nodes) for layer in old.layers] == calls
    return new


def cnn(**first: Any) -> Any:
    image = keras.Input((12, 12, 3), name="photo")
    x = keras.layers.Conv2D(8, 3, name="conv1", **first)(image)
    x = keras.layers.BatchNormalization(name="bn1")(x)
    x = keras.layers.Conv2D(8, 3, name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(3, name="scores")(x), name="cnn")
    scramble(model)
    return model


@pytest.mark.parametrize(
    ("after", "count"),
    [
        ("bn1", 1),
        (["conv1", "conv2"], 2),
        ("conv*", 2),
        (["conv?", "bn1"], 3),
        (re.compile(r"conv\d"), 2),
        (lambda layer: isinstance(layer, keras.layers.Conv2D), 2),
    ],
)
def test_every_way_to_name_layers(after: Any, count: int) -> None:
    new = check(cnn(), after, count)
    assert (new.name, new.output_names, new.layers[0].name) == ("cnn_cbam", ["scores"], "photo")
    assert not new.compiled


def test_the_name_and_the_dialect_are_as_asked() -> None:
    new = add_cbam(cnn(), "bn1", dialect="blog", name="mine")
    assert new.name == "mine"
    assert new.get_layer("bn1_cbam").dialect.residual


def test_the_block_acts_on_the_layers_output() -> None:
    old = cnn()
    new = add_cbam(old, "bn1", dialect="blog")
    x = images(old)
    tap = keras.Model(old.input, old.get_layer("bn1").output)
    expected = new.get_layer("bn1_cbam")(tap(x))
    for layer in ("conv2", "pool", "scores"):
        expected = old.get_layer(layer)(expected)
    np.testing.assert_allclose(new(x), expected, rtol=1e-5)
    assert not np.allclose(new(x), old(x), rtol=1e-3)


def test_saved_and_loaded_it_is_the_same(tmp_path: Any) -> None:
    new = add_cbam(cnn(), "conv*", dialect="blog")
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    assert (loaded.layers[0].name, loaded.output_names) == ("photo", ["scores"])
    x = images(new)
    np.testing.assert_array_equal(loaded(x), new(x))


def test_a_compiled_model_trains_after_being_compiled_again() -> None:
    old = cnn()
    old.compile("sgd", lambda truth, scores: keras.ops.mean((truth - scores) ** 2))
    new = add_cbam(old, "bn1", dialect="blog")
    new.compile("sgd", "mse")
    new.fit(images(old), np.zeros((2, 3)), verbose=0)


def test_frozen_layers_stay_frozen_and_blocks_train() -> None:
    old = cnn()
    old.get_layer("bn1").trainable = False
    assert [w.path for w in check(old, "bn1", 1).non_trainable_weights if "gamma" in w.path] == ["bn1/gamma"]
    old.trainable = False
    new = check(old, "bn1", 1)
    assert {id(w) for w in new.trainable_weights} == {id(w) for w in new.get_layer("bn1_cbam").trainable_weights}


def test_a_frozen_variable_stays_frozen() -> None:
    old = cnn()
    old.get_layer("conv1").bias.trainable = False
    new = check(old, "bn1", 1)
    assert not new.get_layer("conv1").bias.trainable
    assert new.get_layer("conv1").kernel.trainable


def test_sublayers_of_a_layer_keep_their_flags() -> None:
    image = keras.Input((3, 8, 8, 4))
    inner = keras.layers.Conv2D(8, 3, name="inner")
    x = keras.layers.TimeDistributed(inner, name="each")(image)
    x = keras.layers.Reshape((18, 6, 8), name="flat")(x)
    old = keras.Model(image, keras.layers.GlobalMaxPooling2D(name="pool")(x))
    inner.trainable = False
    new = check(old, "flat", 1)
    assert new.get_layer("each").trainable
    assert not new.get_layer("each").layer.trainable


def test_channels_first_follows_the_layer() -> None:
    image = keras.Input((6, 8, 10))
    x = keras.layers.BatchNormalization(axis=1, name="norm")(image)
    x = keras.layers.AveragePooling2D(2, data_format="channels_first", name="half")(x)
    x = keras.layers.ReLU(name="relu")(x)
    old = keras.Model(image, keras.layers.GlobalAveragePooling2D(data_format="channels_first", name="pool")(x))
    new = check(old, ["norm", "half", "relu"], 3)
    assert [block.data_format for block in blocks(new)] == ["channels_first"] * 3


def test_the_dtype_follows_the_layer() -> None:
    new = add_cbam(cnn(dtype="mixed_bfloat16"), ["conv1", "conv2"], dialect="blog")
    assert new.get_layer("conv1_cbam").compute_dtype == "bfloat16"
    assert new.get_layer("conv2_cbam").compute_dtype == "float32"


def test_a_shared_layer_has_a_shared_block() -> None:
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((10, 6, 3), name="right")
    conv = keras.layers.Conv2D(8, 3, name="conv")
    pool = keras.layers.GlobalAveragePooling2D(name="pool")
    old = keras.Model([left, right], keras.layers.Subtract(name="difference")([pool(conv(left)), pool(conv(right))]))
    new = check(old, "conv", 1)
    assert len(new.get_layer("conv_cbam")._inbound_nodes) == 2
    assert [layer.name for layer in new.layers[:2]] == ["left", "right"]


def test_dicts_of_inputs_and_outputs_keep_their_keys(tmp_path: Any) -> None:
    inputs = {"b": keras.Input((8, 8, 4), name="b"), "a": keras.Input((8, 8, 4), name="a")}
    x = keras.layers.Concatenate(name="both")([inputs["a"], inputs["b"]])
    x = keras.layers.Conv2D(8, 3, name="conv")(x)
    old = keras.Model(inputs, {"map": keras.layers.ReLU(name="relu")(x), "top": keras.ops.max(x, axis=(1, 2))})
    new = check(old, "conv", 1)
    assert set(new.output) == {"map", "top"}
    new.save(tmp_path / "new.keras")
    x = images(new)
    keras.tree.map_structure(np.testing.assert_array_equal, keras.models.load_model(tmp_path / "new.keras")(x), new(x))


def test_a_block_on_an_output_gives_the_output_its_name() -> None:
    old = cnn()
    old = keras.Model(old.input, [old.get_layer("conv2").output, old.get_layer("bn1").output])
    assert check(old, "conv2", 1).output_names == ["conv2_cbam", "bn1"]


def test_operations_of_keras_ops_are_kept_and_can_be_named() -> None:
    image = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, name="conv")(image)
    x = keras.ops.relu(x) * 2.0 + x[:, ::-1]
    old = keras.Model(image, keras.ops.mean(x, axis=[1, 2]))
    scramble(old)
    check(old, "conv", 1)
    check(old, next(op.name for op in old.operations if op.name.startswith("relu")), 1)


def test_a_lambda_layer_is_kept_as_the_function_it_is() -> None:
    image = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(8, 3, name="conv")(image)
    x = keras.layers.Lambda(lambda x, by: x * by, arguments={"by": 3.0}, name="scale")(x)
    old = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    new = check(old, "scale", 1)
    assert new.get_layer("scale").function is old.get_layer("scale").function


def test_the_constants_of_a_normalization_are_made_anew() -> None:
    image = keras.Input((8, 8, 4))
    norm = keras.layers.Normalization(name="norm")
    old = keras.Model(image, keras.layers.Conv2D(8, 3, name="conv")(norm(image)))
    norm.adapt(np.random.default_rng(0).normal(5, 3, (20, 8, 8, 4)))
    check(old, "conv", 1)


def nested(inner: Any) -> Any:
    image = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(3, 3, padding="same", name="entry")(image)
    return keras.Model(image, keras.layers.Dense(2, name="top")(inner(x)), name="outer")


@pytest.mark.parametrize("after", ["bn1", "cnn/bn1", "*/bn1", re.compile("cnn/bn1")])
def test_a_layer_of_an_inner_model(after: Any, tmp_path: Any) -> None:
    new = check(nested(cnn()), after, 1)
    assert new.get_layer("cnn").get_layer("bn1_cbam").built
    new.save(tmp_path / "new.keras")
    x = images(new)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "new.keras")(x), new(x))


def test_an_inner_sequential_and_a_layer_beside_it() -> None:
    inner = keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Conv2D(8, 3, name="deep"), keras.layers.Flatten()], name="inner"
    )
    old = nested(inner)
    check(old, "deep", 1)
    check(old, lambda layer: layer.name in ("deep",), 1)
    inner.trainable = False
    new = add_cbam(old, "deep", dialect=LINEAR)
    assert not new.get_layer("inner").get_layer("deep").trainable
    assert new.get_layer("inner").get_layer("deep_cbam").trainable_weights


def test_an_inner_model_can_be_followed_as_a_layer() -> None:
    inner_image = keras.Input((12, 12, 3))
    inner = keras.Model(inner_image, keras.layers.Conv2D(8, 3, name="deep")(inner_image), name="inner")
    image = keras.Input((12, 12, 3))
    old = keras.Model(image, keras.layers.Flatten(name="flat")(inner(image)))
    check(old, "inner", 1)
    assert {b.name for b in blocks(check(old, ["inner", "deep"], 2))} == {"deep_cbam", "inner_cbam"}


def test_a_sequential_model() -> None:
    old = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3, name="conv"), keras.layers.Flatten()])
    new = check(old, "conv", 1)
    assert not isinstance(new, keras.Sequential)
    assert new.name == f"{old.name}_cbam"


def test_it_can_be_done_again() -> None:
    once = add_cbam(cnn(), "bn1", dialect=LINEAR)
    open_gates(once)
    twice = check(once, "conv2", 2)
    assert [block.name for block in blocks(twice)] == ["bn1_cbam", "conv2_cbam"]
    with pytest.raises(ModelError, match=r"'cnn_cbam' already has a layer 'bn1_cbam'"):
        add_cbam(once, "bn1")


class _Subclassed(keras.Model):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


class _Overriding(type(cnn())):  # type: ignore[misc]
    def call(self, x: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(x, training=training) * 2


class _Positional(keras.layers.Layer):  # type: ignore[misc]
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def call(self, x: Any) -> Any:
        return x * self.factor


def test_a_layer_that_cannot_be_copied_is_named() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, name="conv")(image)
    layer = _Positional(2.0)
    layer.get_config = lambda: {"name": layer.name}  # what a layer that forgets its arguments amounts to
    with pytest.raises(ModelError, match=r"_Positional '\w+' cannot be made again from its configuration: "):
        add_cbam(keras.Model(image, layer(x)), "conv", dialect=LINEAR)


@pytest.mark.parametrize(
    ("model", "after", "message"),
    [
        (cnn(), "bn2", r"no layer of 'cnn' matches 'bn2'; did you mean 'bn1'\?; it has 5 layers, conv1, bn1"),
        (cnn(), ["bn1", "block_*"], r"no layer of 'cnn' matches 'block_\*'"),
        (cnn(), re.compile("conv"), r"no layer of 'cnn' matches the whole of 'conv'"),
        (cnn(), lambda layer: False, r"no layer of 'cnn' matches the predicate"),
        (cnn(), "photo", r"no layer of 'cnn' matches 'photo'"),
        (cnn(), "scores", r"map of rank 4; the output of 'scores' is \(None, 3\)"),
        (_Subclassed(name="mine"), "conv", r"'mine' is a _Subclassed, whose layers are called by Python code"),
        (_Overriding(*[keras.Input((2,), name="i")] * 2, name="mine"), "conv", r"'mine' is a _Overriding"),
        (keras.Sequential([keras.layers.Dense(2)], name="late"), "conv", r"Sequential model 'late' has no input yet"),
        ("cnn.keras", "conv", r"'cnn.keras' is a str"),
    ],
)
def test_what_cannot_be_done_is_refused(model: Any, after: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        add_cbam(model, after)


@pytest.mark.parametrize("after", [3, [], ["bn1", None]])
def test_an_after_of_another_kind_is_refused(after: Any) -> None:
    with pytest.raises(OptionError, match=r"after (takes|names)"):
        add_cbam(cnn(), after)


def test_the_ratio_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match=r"C // ratio = 8 // 16 = 0 hidden units"):
        add_cbam(cnn(), "bn1")


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(n, marks=pytest.mark.slow) for n in APPLICATIONS if n not in SMALL)]
)
def test_keras_applications(name: str) -> None:
    keras.backend.clear_session()
    old = getattr(keras.applications, name)(weights=None)
    maps = [
        layer.name
        for layer in old.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and isinstance(layer.output, keras.KerasTensor)
        and len(layer.output.shape) == 4
        and layer.output.shape[1] != 1
        and layer.output.shape[-1] >= 16
    ]
    chosen = [maps[0], maps[len(maps) // 3], maps[len(maps) // 2], maps[-1]]
    new = add_cbam(old, chosen, dialect=LINEAR)
    assert [block.name for block in blocks(new)] == [f"{layer}_cbam" for layer in chosen]
    assert (new.output_names, new.layers[0].name) == (old.output_names, old.layers[0].name)
    assert_same_weights(old, new)
    open_gates(new)
    assert_same_outputs(old, new, rtol=1e-5, atol=1e-6)
