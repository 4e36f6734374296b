"""What the backbones are made of: layers with the options of one network applied, and stable names."""

from __future__ import annotations

from typing import Any

import keras

from converters.errors import ModelError
from exporter.models.backbones import NetOptions
from exporter.models.cbam import CBAM

_NORM_EPSILON = 1e-5  # PyTorch's, which the official code uses


class Net:
    """The layers of one network. Each method adds them to the map `x`, of rank 4, and gives the new map.

    A layer's name is its `name` argument and, for what follows a convolution, a suffix: `stage1_block1_conv2`,
    `stage1_block1_conv2_bn`, `stage1_block1_conv2_relu`.
    """

    def __init__(self, options: NetOptions) -> None:
        self.options = options
        self._axis = 3 if options.data_format == "channels_last" else 1

    def image(self, smallest: int) -> Any:
        """The input tensor, `image`.

        Raises:
            ModelError: a known side of the input is below `smallest` pixels.
        """
        for side in self.options.sides:
            if side is not None and side < smallest:
                raise ModelError(
                    f"{self.options.name} needs an input of at least {smallest}x{smallest} pixels, "
                    f"or nothing is left to halve; got {self.options.input_shape}"
                )
        return keras.Input(self.options.input_shape, name="image")

    def channels(self, x: Any) -> int:
        """Channels of the map `x`."""
        return int(x.shape[self._axis])

    def conv(self, x: Any, filters: int, kernel: int, name: str, *, stride: int = 1, groups: int = 1) -> Any:
        """A convolution without bias and its BatchNormalization, padded to the same size or half of it."""
        x, padding = self._pad(x, kernel, stride, name)
        x = keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding=padding,
            groups=groups,
            use_bias=False,
            data_format=self.options.data_format,
            # He et al. 2015, over the fan-out as in the official code.
            kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            name=name,
        )(x)
        return self._norm(x, name)

    def depthwise(self, x: Any, kernel: int, name: str, *, stride: int = 1) -> Any:
        """A depthwise convolution without bias and its BatchNormalization."""
        x, padding = self._pad(x, kernel, stride, name)
        x = keras.layers.DepthwiseConv2D(
            kernel,
            strides=stride,
            padding=padding,
            use_bias=False,
            data_format=self.options.data_format,
            depthwise_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            name=name,
        )(x)
        return self._norm(x, name)

    def relu(self, x: Any, name: str, *, limit: float | None = None) -> Any:
        """A ReLU, up to `limit` if that is given."""
        return keras.layers.ReLU(max_value=limit, name=f"{name}_relu")(x)

    def max_pool(self, x: Any, size: int, name: str, *, padded: bool = False) -> Any:
        """The maximum over size x size windows, two pixels apart. With `padded`, `x` must not be negative."""
        if padded:
            x, _ = self._pad(x, size, 2, name)
        return keras.layers.MaxPooling2D(size, strides=2, data_format=self.options.data_format, name=name)(x)

    def attend(self, x: Any, name: str) -> Any:
        """The CBAM block `<name>_cbam`, or `x` itself in a network without attention."""
        if self.options.dialect is None:
            return x
        return CBAM(self.options.dialect, data_format=self.options.data_format, name=f"{name}_cbam")(x)

    def model(self, image: Any, x: Any) -> keras.Model:
        """The model from `image` through the map `x` to the classifier, `predictions`."""
        x = keras.layers.GlobalAveragePooling2D(data_format=self.options.data_format, name="pool")(x)
        predictions = keras.layers.Dense(
            self.options.classes, activation=self.options.classifier_activation, name="predictions"
        )(x)
        return keras.Model(image, predictions, name=self.options.name)

    def _norm(self, x: Any, name: str) -> Any:
        return keras.layers.BatchNormalization(
            axis=self._axis, momentum=self.options.norm_momentum, epsilon=_NORM_EPSILON, name=f"{name}_bn"
        )(x)

    def _pad(self, x: Any, kernel: int, stride: int, name: str) -> tuple[Any, str]:
        if stride == 1 or kernel == 1:
            return x, "same"
        # Under a stride, Keras's `same` puts the odd pixel at the end; the official code pads both ends alike.
        pad = keras.layers.ZeroPadding2D(kernel // 2, data_format=self.options.data_format, name=f"{name}_pad")
        return pad(x), "valid"
