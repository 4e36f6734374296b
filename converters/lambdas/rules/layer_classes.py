"""Layers without weights that a Lambda makes and calls: `keras.layers.UpSampling2D(2)(x)`.

Each row is the signature that all Kerases share. What Keras 3 has unchanged becomes that layer; merging layers become
what their functions in lower case become.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from converters.lambdas.builder import Builder, is_number, source_of
from converters.lambdas.rules.table import find_rule, rule
from converters.lambdas.values import LayerObject, Tensor, Value, describe

_SAME: Final = (
    "Flatten (data_format=None, name: _=None)",
    "Reshape (target_shape, name: _=None)",
    "Permute (dims, name: _=None)",
    "RepeatVector (n, name: _=None)",
    "ZeroPadding1D (padding=1, name: _=None)",
    "ZeroPadding2D (padding=(1, 1), data_format=None, name: _=None)",
    "Cropping1D (cropping=(1, 1), name: _=None)",
    "Cropping2D (cropping=((0, 0), (0, 0)), data_format=None, name: _=None)",
    "UpSampling1D (size=2, name: _=None)",
    "MaxPooling1D MaxPool1D AveragePooling1D AvgPool1D "
    "(pool_size=2, strides=None, padding='valid', data_format='channels_last', name: _=None)",
    "MaxPooling2D MaxPool2D AveragePooling2D AvgPool2D "
    "(pool_size=(2, 2), strides=None, padding='valid', data_format=None, name: _=None)",
    "GlobalMaxPooling1D GlobalMaxPool1D GlobalAveragePooling1D GlobalAvgPool1D "
    "(data_format='channels_last', keepdims=False, name: _=None)",
    "GlobalMaxPooling2D GlobalMaxPool2D GlobalAveragePooling2D GlobalAvgPool2D "
    "(data_format=None, keepdims=False, name: _=None)",
    "ReLU (max_value=None, negative_slope=0.0, threshold=0.0, name: _=None)",
    "LeakyReLU (alpha: negative_slope=0.3, negative_slope=0.3, name: _=None)",
    "ELU (alpha=1.0, name: _=None)",
    "Softmax (axis=-1, name: _=None)",
)  # fmt: skip
_MERGING: Final = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")


def _row(text: str) -> None:
    names, opening, rest = text.partition("(")
    for name in names.split():
        rule(f"keras.layers.{name} {opening}{rest}")(_making(name))


def _making(name: str) -> Callable[..., LayerObject]:
    def make(builder: Builder, **config: Value) -> LayerObject:
        if "data_format" in config and config["data_format"] is None:
            config["data_format"] = find_rule("K.image_data_format").apply(builder, [], {})
        for key, value in config.items():
            if not _is_plain(value):
                builder.refuse(f"it makes a layer {name} with {key}={describe(value)}")
        return LayerObject(name, lambda builder, tensor: _called(builder, name, config, tensor))

    return make


def _called(builder: Builder, name: str, config: dict[str, Value], tensor: Value) -> Value:
    import keras

    if builder.masks:
        builder.refuse(f"it calls a layer {name} in a model that masks steps, and which reach it is not certain")
    if not isinstance(tensor, Tensor) or tensor.dtype != "float32":
        kind = f"{tensor.dtype} tensor" if isinstance(tensor, Tensor) else describe(tensor)
        builder.refuse(f"it calls a layer {name} on a {kind}, which Keras may cast first")
    said = ", ".join(f"{key}={source_of(value)}" for key, value in config.items())
    text = f"keras.layers.{name}({said})({tensor.text})"
    return builder.call(lambda: getattr(keras.layers, name)(**config)(tensor.keras), text)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str) or is_number(value)


for _text in _SAME:
    _row(_text)


@rule("keras.layers.UpSampling2D (size=(2, 2), data_format=None, interpolation='nearest', name: _=None)")
def upsampling(builder: Builder, size: Value, data_format: Value, interpolation: Value) -> LayerObject:
    """As keras.backend enlarges images, which is not what Keras 3's layer of this name always does."""
    factors = [size, size] if isinstance(size, int) else list(size) if isinstance(size, list | tuple) else []
    if len(factors) != 2:
        builder.refuse(f"it enlarges images by {describe(size)}")
    if data_format is None:
        data_format = find_rule("K.image_data_format").apply(builder, [], {})
    how = {"data_format": data_format, "interpolation": interpolation}
    resize = find_rule("K.resize_images")
    return LayerObject("UpSampling2D", lambda builder, image: resize.apply(builder, [image, *factors], how))


def _merging(name: str) -> None:
    function = f"keras.layers.{name.lower()}"

    @rule(f"keras.layers.{name} (name: _=None)")
    def make(builder: Builder) -> LayerObject:
        del builder
        return LayerObject(name, lambda builder, inputs: find_rule(function).apply(builder, [inputs], {}))


for _name in _MERGING:
    _merging(_name)


@rule("keras.layers.Concatenate (axis=-1, name: _=None)")
def concatenating(builder: Builder, axis: Value) -> LayerObject:
    del builder
    function = "keras.layers.concatenate"
    return LayerObject("Concatenate", lambda builder, inputs: find_rule(function).apply(builder, [inputs, axis], {}))
