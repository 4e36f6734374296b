"""CBAM as Keras 3 layers, written in `keras.ops` alone so that they run on every Keras backend.

Convolutional Block Attention Module, Woo, Park, Lee, Kweon, ECCV 2018 (arXiv 1807.06521), in every variant that
`Dialect` can name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from converters.errors import ModelError, OptionError
from exporter.models.dialect import BLOG, DIALECTS, PAPER, TIMM, Dialect

__all__ = [
    "BLOG",
    "CBAM",
    "DIALECTS",
    "PAPER",
    "TIMM",
    "ChannelAttention",
    "Dialect",
    "SpatialAttention",
    "cbam_module",
    "channel_attention",
    "spatial_attention",
]

DialectLike = Dialect | str | Mapping[str, Any]


class _Attention(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """What the three layers share: a dialect, a data format, initialisers, and a float map of rank 4."""

    def __init__(
        self,
        dialect: DialectLike = PAPER,
        data_format: str | None = None,
        kernel_initializer: Any = "he_normal",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dialect = Dialect.of(dialect)
        self.data_format = keras.config.image_data_format() if data_format is None else data_format
        if self.data_format not in ("channels_last", "channels_first"):
            raise OptionError(f"data_format must be 'channels_last' or 'channels_first'; got {data_format!r}")
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    @property
    def _axis(self) -> int:
        return 3 if self.data_format == "channels_last" else 1

    def _channels(self, input_shape: tuple[int | None, ...]) -> int:
        if len(input_shape) != 4:
            raise ModelError(
                f"{type(self).__name__} {self.name!r} takes a feature map of rank 4 (batch, height, width, channels; "
                f"{self.data_format}); got shape {tuple(input_shape)}"
            )
        channels = input_shape[self._axis]
        if channels is None:
            raise ModelError(f"{type(self).__name__} {self.name!r} needs a known number of channels; got {input_shape}")
        return channels

    def _kernel(self) -> dict[str, Any]:
        # A shared initialiser instance would draw the same numbers for every kernel, so each sublayer gets a copy.
        initializer = self.kernel_initializer
        if isinstance(initializer, keras.initializers.Initializer):
            initializer = type(initializer).from_config(initializer.get_config())
        return {
            "kernel_initializer": initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
            # Or a block that is frozen before it is built, such as a loaded one, would still move its statistics.
            "trainable": self.trainable,
        }

    def _options(self) -> dict[str, Any]:
        return {
            "data_format": self.data_format,
            "kernel_initializer": self.kernel_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "dtype": self.dtype_policy,
            "trainable": self.trainable,
        }

    def _gate(self, logits: Any) -> Any:
        return keras.activations.get(self.dialect.gate)(logits)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dialect": self.dialect.to_config(),
            "data_format": self.data_format,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


class _Gate(_Attention):
    """A layer of one gate: `output` says whether it gives the refined map or the gate itself."""

    def __init__(self, dialect: DialectLike = PAPER, output: str = "refined", **kwargs: Any) -> None:
        super().__init__(dialect, **kwargs)
        if output not in ("refined", "gate"):
            raise OptionError(f"output must be 'refined' or 'gate'; got {output!r}")
        self.output_kind = output

    def gate(self, x: Any, training: bool | None = None) -> Any:
        raise NotImplementedError

    def call(self, x: Any, training: bool | None = None) -> Any:
        gate = self.gate(x, training=training)
        return gate if self.output_kind == "gate" else x * gate

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output": self.output_kind}


@keras.saving.register_keras_serializable("cbam_export")
class ChannelAttention(_Gate):
    """The channel gate (section 3.1, equation 2): which channels matter, from pooled vectors through a small MLP.

    Args:
        dialect: a `Dialect`, a preset's name (`paper`, `blog`, `timm`) or a `Dialect.to_config` dict.
        output: `refined` gives x * gate, of x's shape; `gate` the gate alone, (N, 1, 1, C) or (N, C, 1, 1), in 0..1.
        data_format: `channels_last` (N, H, W, C) or `channels_first` (N, C, H, W); Keras's setting by default.
        kernel_initializer, kernel_regularizer: of both dense layers.

    Raises:
        ModelError: on a map that is not of rank 4, or whose hidden width would be 0.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = self._channels(input_shape)
        hidden, bias = self.dialect.hidden(channels), self.dialect.mlp_bias
        self.mlps = []
        for suffix in ("",) if self.dialect.shared_mlp else ("_avg", "_max"):
            squeeze = keras.layers.Dense(
                hidden, activation="relu", use_bias=bias, name=f"squeeze{suffix}", **self._kernel()
            )
            excite = keras.layers.Dense(
                channels,
                activation=self.dialect.mlp_activation,
                use_bias=bias,
                name=f"excite{suffix}",
                **self._kernel(),
            )
            squeeze.build((None, channels))
            excite.build((None, hidden))
            self.mlps.append([squeeze, excite])

    def gate(self, x: Any, training: bool | None = None) -> Any:
        """The gate for the map `x`, broadcastable against it."""
        space = (1, 2) if self.data_format == "channels_last" else (2, 3)
        logits = self._mlp(0, ops.mean(x, axis=space)) + self._mlp(-1, ops.max(x, axis=space))
        # One reshape, not two expand_dims: with an open batch LiteRT's CPU delegate takes a RESHAPE, not EXPAND_DIMS.
        shape = [-1, 1, 1, 1]
        shape[self._axis] = logits.shape[-1]
        return ops.reshape(self._gate(logits), shape)

    def _mlp(self, which: int, vector: Any) -> Any:
        # On rank 2: a Dense on (N, 1, 1, C) becomes a chain of shape operations when exported with an open batch.
        squeeze, excite = self.mlps[which]
        return excite(squeeze(vector))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if self.output_kind == "refined":
            return tuple(input_shape)
        return tuple(size if axis in (0, self._axis) else 1 for axis, size in enumerate(input_shape))


@keras.saving.register_keras_serializable("cbam_export")
class SpatialAttention(_Gate):
    """The spatial gate (section 3.1, equation 3): where to look, from the channel-wise maximum and mean.

    Args:
        dialect: a `Dialect`, a preset's name (`paper`, `blog`, `timm`) or a `Dialect.to_config` dict.
        output: `refined` gives x * gate, of x's shape; `gate` the gate alone, (N, H, W, 1) or (N, 1, H, W), in 0..1.
        data_format: `channels_last` (N, H, W, C) or `channels_first` (N, C, H, W); Keras's setting by default.
        kernel_initializer, kernel_regularizer: of the convolution.

    Raises:
        ModelError: on a map that is not of rank 4.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self._channels(input_shape)
        dialect = self.dialect
        height, width = input_shape[1:3] if self.data_format == "channels_last" else input_shape[2:4]
        # Always channels_last inside: TensorFlow has no channels_first convolution on CPU, and two maps are cheap to
        # stack the other way round.
        self.conv = keras.layers.Conv2D(
            1,
            dialect.kernel_size,
            padding="same",
            use_bias=dialect.spatial_bias,
            data_format="channels_last",
            name="conv",
            **self._kernel(),
        )
        self.conv.build((None, height, width, 2))
        self.norm = None
        if dialect.spatial_norm:
            self.norm = keras.layers.BatchNormalization(
                epsilon=dialect.norm_epsilon,
                momentum=dialect.norm_momentum,
                gamma_initializer=dialect.norm_gamma,
                dtype=self.dtype_policy,
                trainable=self.trainable,
                name="norm",
            )
            self.norm.build((None, height, width, 1))

    def gate(self, x: Any, training: bool | None = None) -> Any:
        """The gate for the map `x`, broadcastable against it."""
        last = self.data_format == "channels_last"
        pooled = {
            "max": ops.max(x, axis=self._axis, keepdims=last),
            "avg": ops.mean(x, axis=self._axis, keepdims=last),
        }
        first, second = (pooled[name] if last else ops.expand_dims(pooled[name], -1) for name in self.dialect.pools)
        logits = self.conv(ops.concatenate([first, second], axis=-1))
        if self.norm is not None:
            logits = self.norm(logits, training=training)
        gate = self._gate(logits)
        return gate if last else ops.expand_dims(ops.squeeze(gate, -1), 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        if self.output_kind == "refined":
            return tuple(input_shape)
        return tuple(1 if axis == self._axis else size for axis, size in enumerate(input_shape))


@keras.saving.register_keras_serializable("cbam_export")
class CBAM(_Attention):
    """The whole block (section 3, equation 1): both gates in the dialect's order, and its residual if it has one.

    Args:
        dialect: a `Dialect`, a preset's name (`paper`, `blog`, `timm`) or a `Dialect.to_config` dict.
        data_format: `channels_last` (N, H, W, C) or `channels_first` (N, C, H, W); Keras's setting by default.
        kernel_initializer, kernel_regularizer: of the dense layers and the convolution.

    Takes and gives a float map of the same shape.

    Raises:
        ModelError: on a map that is not of rank 4, or whose hidden width would be 0.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self._channels(input_shape)  # its error names this block, not a part of it
        self.channel = ChannelAttention(self.dialect, name="channel", **self._options())
        self.spatial = SpatialAttention(self.dialect, name="spatial", **self._options())
        self.channel.build(input_shape)
        self.spatial.build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        if self.dialect.order == "channel_spatial":
            refined = self.spatial(self.channel(x), training=training)
        elif self.dialect.order == "spatial_channel":
            refined = self.channel(self.spatial(x, training=training))
        else:
            refined = x * self.channel.gate(x) * self.spatial.gate(x, training=training)
        return refined + x if self.dialect.residual else refined


def channel_attention(input_xs: Any, reduction_ratio: float = 0.125) -> Any:
    """The blog's channel attention: x * sigmoid(f(max) + f(avg)), f with a ReLU after both dense layers.

    `reduction_ratio` is a fraction: the hidden width is int(C * reduction_ratio). Reads Keras's image data format.
    """
    return ChannelAttention(dataclasses.replace(BLOG, fraction=reduction_ratio))(input_xs)


def spatial_attention(channel_refined_feature: Any) -> Any:
    """The blog's spatial attention: the gate alone, (N, H, W, 1), which its caller multiplies with the map."""
    return SpatialAttention(BLOG, output="gate")(channel_refined_feature)


def cbam_module(input_xs: Any, reduction_ratio: float = 0.5) -> Any:
    """The blog's whole block: both gates, then the input added. Gives a map of the input's shape."""
    return CBAM(dataclasses.replace(BLOG, fraction=reduction_ratio))(input_xs)
