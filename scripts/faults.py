"""Faults, to be put into copies of sound models, and models to put them into, for `measure_faults.py` and the tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Fault:
    """`put` gives a faulty copy of a model; `layers` are the right answers."""

    name: str
    layers: tuple[str, ...]
    put: Callable[[Any], Any]


# Faults. Each is put into a copy that is rebuilt from the model's config with its weights.


def rebuilt(model: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    config = model.get_config()
    change(config)
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def layer_config(config: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["config"] for each in config["layers"] if each["config"]["name"] == name)
    return found


def with_setting(layer: str, key: str, value: Any) -> Callable[[Any], Any]:
    return lambda model: rebuilt(model, lambda config: layer_config(config, layer).__setitem__(key, value))


def with_weights(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """Change the kernel of the layer at that path: `stage1_cbam/channel/squeeze`."""

    def put(model: Any) -> Any:
        copy = rebuilt(model, lambda config: None)
        kernel = layer_at(copy, path).weights[0]
        kernel.assign(change(kernel.numpy()))
        return copy

    return put


def layer_at(model: Any, path: str) -> Any:
    layer = model
    for name in path.split("/"):
        layer = next(each for each in layer._layers if each.name == name)
    return layer


def one_percent(kernel: np.ndarray) -> np.ndarray:
    """The largest weight 1% larger."""
    kernel = kernel.copy()
    place = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    kernel[place] *= 1.01
    return kernel


def as_tf32(kernel: np.ndarray) -> np.ndarray:
    """Rounded to a mantissa of 10 bits."""
    bits = kernel.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def all_tf32(model: Any) -> Any:
    copy = rebuilt(model, lambda config: None)
    for weight in copy.weights:
        if weight.name == "kernel":
            weight.assign(as_tf32(weight.numpy()))
    return copy


def shifted(layer: str) -> Callable[[Any], Any]:
    """SAME padding moved by one pixel, to the top and to the left."""

    def clone(each: Any) -> Any:
        import keras

        if each.name != layer:
            return type(each).from_config(each.get_config())
        size = each.kernel_size[0]
        pads = ((size // 2 + 1, size // 2 - 1),) * 2
        valid = type(each).from_config({**each.get_config(), "padding": "valid"})
        return keras.Sequential([keras.layers.ZeroPadding2D(pads), valid], name=f"{layer}_shifted")

    def put(model: Any) -> Any:
        import keras

        copy = keras.models.clone_model(model, clone_function=clone)
        copy.set_weights(model.get_weights())
        return copy

    return put


def as_nchw(model: Any) -> Any:
    """The numbers of an NCHW image, read as NHWC."""
    import keras

    image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0]._keras_history.operation.name)
    x = keras.layers.Permute((3, 1, 2))(image)
    x = keras.layers.Reshape(model.inputs[0].shape[1:])(x)
    return keras.Model(image, model(x), name="turned")


def swapped(block: str) -> Callable[[Any], Any]:
    """Max and mean change places in front of the spatial gate's convolution."""

    def put(model: Any) -> Any:
        pools = layer_at(model, block).dialect.pools

        def change(config: dict[str, Any]) -> None:
            layer_config(config, block)["dialect"]["pools"] = pools[::-1]

        return rebuilt(model, change)

    return put


def kernels(model: Any) -> Iterator[str]:
    """Paths of the layers that have a kernel."""
    for layer in model._flatten_layers(include_self=False):
        if any(weight.name == "kernel" for weight in getattr(layer, "_trainable_variables", ())):
            path = next(weight.path for weight in layer.weights if weight.name == "kernel")
            names = path.split("/")[:-1]
            yield "/".join(names[1:] if names[0] == model.name else names)


def faults(model: Any, quick: bool) -> Iterator[Fault]:
    import keras

    paths = list(kernels(model))
    first, middle = paths[0], paths[len(paths) // 2]
    for path in paths[:: max(1, len(paths) // 4) if quick else 1]:
        yield Fault("one weight of the kernel 1% larger", (path,), with_weights(path, one_percent))
    layers = {kind: [each.name for each in model.layers if type(each).__name__ == kind] for kind in KINDS}
    step = len(paths) if quick else 1
    for name in layers["BatchNormalization"][::step]:
        yield Fault("BatchNorm epsilon 1e-3 -> 1e-5", (name,), with_setting(name, "epsilon", 1e-5))
    for name in [each for each in layers["ReLU"] if model.get_layer(each).max_value == 6][::step]:
        yield Fault("ReLU6 -> ReLU", (name,), with_setting(name, "max_value", None))
    for name in layers["CBAM"][::step]:
        inside = tuple(f"{name}/spatial{part}" for part in ("", "/conv"))
        yield Fault("max and mean swapped in a gate", inside, swapped(name))
    for name in [*layers["Conv2D"], *layers["DepthwiseConv2D"]][::step]:
        layer = model.get_layer(name)
        if layer.padding == "same" and layer.kernel_size[0] > 1 and layer.strides[0] == 1:
            yield Fault("SAME padding shifted by one", (name,), shifted(name))
    if isinstance(model, keras.Model) and model.inputs[0].shape[-1] > 1:
        yield Fault("NCHW fed as NHWC", ("image", first), as_nchw)
    yield Fault("TF32 rounding of one kernel", (middle,), with_weights(middle, as_tf32))
    yield Fault("TF32 rounding of all kernels", (first,), all_tf32)


KINDS = ("BatchNormalization", "ReLU", "CBAM", "Conv2D", "DepthwiseConv2D")


# Models.


def small(shape: tuple[int, int, int] = (24, 20, 3)) -> Any:
    """Two stages and a depthwise one, each with CBAM, ReLU6 and BatchNorm of epsilon 1e-3 with statistics."""
    import keras

    from exporter.models.cbam import CBAM

    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = x = keras.Input(shape, name="image")
    for number, width in enumerate((16, 32, 32), 1):
        if number == 3:
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"conv{number}")(x)
        else:
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=f"bn{number}")(x)
        x = layers.ReLU(6.0, name=f"relu{number}")(x)
        x = CBAM("paper", name=f"cbam{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return lively(keras.Model(image, layers.Dense(10, name="scores")(x), name="small"))


def lively(model: Any) -> Any:
    """BatchNorm statistics and factors as training leaves them: none at its start, so that every layer counts."""
    random = np.random.default_rng(0)
    draws: dict[str, Callable[[Any], np.ndarray]] = {
        "gamma": lambda shape: random.uniform(0.8, 2.0, shape),
        "beta": lambda shape: random.normal(0.5, 0.5, shape),
        "moving_mean": lambda shape: random.normal(0, 0.1, shape),
        "moving_variance": lambda shape: random.uniform(0.02, 0.2, shape),
    }
    for weight in model.weights:
        if weight.name in draws:
            weight.assign(draws[weight.name](tuple(weight.shape)))
    return model


def coarse_epsilon(model: Any) -> Any:
    """The model with an epsilon of 1e-3 in every BatchNorm, for the fault that makes it smaller."""
    names = [each.name for each in model.layers if type(each).__name__ == "BatchNormalization"]

    def change(config: dict[str, Any]) -> None:
        for name in names:
            layer_config(config, name)["epsilon"] = 1e-3

    return rebuilt(model, change)


def models() -> dict[str, Callable[[], Any]]:
    from exporter import build_model, load_model

    def resnet() -> Any:
        import keras

        keras.utils.set_random_seed(0)
        model = build_model("cbam-resnet18", input_shape=(96, 96, 3), classes=10, classifier_activation=None)
        for weight in model.weights:
            if weight.path.endswith("spatial/norm/gamma"):
                weight.assign([1.0])  # at its start it is 0, and the gate a constant
        return coarse_epsilon(model)

    return {
        "small": small,
        "cbam-mnist": lambda: coarse_epsilon(load_model("cbam-mnist")),
        "cbam-mobilenet-mnist": lambda: coarse_epsilon(load_model("cbam-mobilenet-mnist")),
        "cbam-resnet18 at 96x96": resnet,
    }
