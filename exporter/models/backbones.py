"""The backbones by name: what CBAM was measured on in its paper, and a light CNN.

A backbone is one row of `BACKBONES`; its builder is named by a string and imported when a model is built, so that
listing the names costs no import of Keras. Parameter counts and multiply-adds of every row are held to the paper's
(Woo et al. 2018, tables 2, 4 and 5) by tests/unit/test_backbones.py.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from converters.errors import ModelError, OptionError, closest
from exporter.models.dialect import PAPER, Dialect

PREFIX: Final = "cbam-"
"""Before a backbone's name: the same backbone, with CBAM as its default attention."""

_ATTENTION: Final = ("none", "cbam")
_ACTIVATIONS: Final = ("softmax", "sigmoid", None)
_DATA_FORMATS: Final = ("channels_last", "channels_first")


@dataclasses.dataclass(frozen=True, slots=True)
class NetOptions:
    """What every backbone takes, checked.

    Attributes:
        name: the model's name.
        dialect: the CBAM dialect, or None for no attention.
        input_shape: one image without its batch, (H, W, C) or, in channels_first, (C, H, W); H and W may be None.
        classes: units of the classifier.
        classifier_activation: `softmax`, `sigmoid`, or None for logits.
        data_format: `channels_last` or `channels_first`.
        norm_momentum: of every BatchNormalization outside CBAM, in Keras's sense: the part of the old moving average
            that is kept. PyTorch's 0.1, which the paper's code uses, is 0.9 here.
    """

    name: str
    dialect: Dialect | None
    input_shape: tuple[int | None, int | None, int | None]
    classes: int = 1000
    classifier_activation: str | None = "softmax"
    data_format: str = "channels_last"
    norm_momentum: float = 0.9

    def __post_init__(self) -> None:
        if not _is_count(self.classes):
            raise OptionError(f"classes must be a whole number of at least 1; got {self.classes!r}")
        if self.classifier_activation not in _ACTIVATIONS:
            raise OptionError(
                f"classifier_activation must be 'softmax', 'sigmoid' or None for logits; "
                f"got {self.classifier_activation!r}"
            )
        if self.data_format not in _DATA_FORMATS:
            raise OptionError(f"data_format must be 'channels_last' or 'channels_first'; got {self.data_format!r}")
        if not 0 <= self.norm_momentum < 1:
            raise OptionError(f"norm_momentum must be at least 0 and below 1; got {self.norm_momentum!r}")
        shape = tuple(self.input_shape)
        order = "(height, width, channels)" if self.data_format == "channels_last" else "(channels, height, width)"
        if len(shape) != 3 or not all(size is None or _is_count(size) for size in shape):
            raise ModelError(f"input_shape must be {order} without the batch, each at least 1; got {shape}")
        object.__setattr__(self, "input_shape", shape)
        if self.channels is None:
            raise ModelError(f"input_shape must name its channels, {order} in {self.data_format}; got {shape}")

    @property
    def channels(self) -> int | None:
        """Channels of the input image."""
        return self.input_shape[2 if self.data_format == "channels_last" else 0]

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Height and width of the input image in pixels; None where left open."""
        first = 0 if self.data_format == "channels_last" else 1
        return self.input_shape[first], self.input_shape[first + 1]


@dataclasses.dataclass(frozen=True, slots=True)
class Backbone:
    """One row of the table.

    Attributes:
        name: what `build_model` and the command line call it.
        builder: "module:function"; the function takes a `NetOptions` and the keywords of `fixed` and `options`.
        summary: one line for `--help`.
        fixed: the keywords that make the builder build this very backbone.
        options: further keywords that a caller may set, with their defaults.
        input_shape: the default input, (H, W, C).
    """

    name: str
    builder: str
    summary: str
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    options: Mapping[str, Any] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    input_shape: tuple[int, int, int] = (224, 224, 3)


def _resnet(name: str, summary: str, depths: tuple[int, ...], **fixed: Any) -> Backbone:
    # The stride of a bottleneck is a choice only where there are bottlenecks.
    options = {"bottleneck_stride": "3x3"} if fixed.get("bottleneck") else {}
    fixed = {"depths": depths, **fixed}
    return Backbone(name, "exporter.models.resnet:resnet", summary, MappingProxyType(fixed), MappingProxyType(options))


def _mobilenet(name: str, summary: str, width: float) -> Backbone:
    fixed = MappingProxyType({"width": width})
    return Backbone(name, "exporter.models.mobilenet:mobilenet_v1", summary, fixed)


_ROWS: Final = (
    Backbone(
        "small-cnn",
        "exporter.models.small:small_cnn",
        "three stages of convolution, BatchNorm, ReLU and pooling; trains in minutes on a CPU",
        options=MappingProxyType({"widths": (16, 32, 64)}),
        input_shape=(64, 64, 3),
    ),
    Backbone(
        "small-mobilenet",
        "exporter.models.small:small_mobilenet",
        "depthwise and pointwise convolutions in MobileNetV1's manner; trains in minutes on a CPU",
        options=MappingProxyType({"widths": (32, 64, 128)}),
        input_shape=(64, 64, 3),
    ),
    _resnet("resnet18", "ResNet-18, basic blocks (He et al. 2016)", (2, 2, 2, 2)),
    _resnet("resnet34", "ResNet-34, basic blocks (He et al. 2016)", (3, 4, 6, 3)),
    _resnet("resnet50", "ResNet-50, bottlenecks (He et al. 2016)", (3, 4, 6, 3), bottleneck=True),
    _resnet("resnet101", "ResNet-101, bottlenecks (He et al. 2016)", (3, 4, 23, 3), bottleneck=True),
    _resnet("wide-resnet18-1.5", "ResNet-18, stages 1.5 times as wide", (2, 2, 2, 2), width=1.5),
    _resnet("wide-resnet18-2", "ResNet-18, stages twice as wide", (2, 2, 2, 2), width=2.0),
    _resnet(
        "resnext50-32x4d", "ResNeXt-50, 32 groups of 4 (Xie et al. 2017)", (3, 4, 6, 3), bottleneck=True, groups=(32, 4)
    ),
    _resnet(
        "resnext101-32x4d",
        "ResNeXt-101, 32 groups of 4 (Xie et al. 2017)",
        (3, 4, 23, 3),
        bottleneck=True,
        groups=(32, 4),
    ),
    _mobilenet("mobilenetv1", "MobileNet, width 1.0 (Howard et al. 2017)", 1.0),
    _mobilenet("mobilenetv1-0.7", "MobileNet, width 0.7 (Howard et al. 2017)", 0.7),
    Backbone(
        "mobilenetv2",
        "exporter.models.mobilenet:mobilenet_v2",
        "MobileNetV2, width 1.0 (Sandler et al. 2018; not in CBAM's paper)",
    ),
)

BACKBONES: Final[Mapping[str, Backbone]] = MappingProxyType({row.name: row for row in _ROWS})


def build_model(
    name: str,
    /,
    *,
    attention: str | None = None,
    dialect: Dialect | str | Mapping[str, Any] = "paper",
    input_shape: tuple[int | None, ...] | None = None,
    classes: int = 1000,
    **options: Any,
) -> Any:
    """A backbone as a fresh functional Keras model, untrained, from an image `image` to `predictions`.

    The input is (N, H, W, C) floats, or (N, C, H, W) in channels_first, and the output (N, classes).

    Args:
        name: a key of `BACKBONES`; "cbam-" before it makes `cbam` the default attention.
        attention: `cbam`, or `none`, which is the default for a name without the prefix.
        dialect: which CBAM, as `Dialect.of` takes it.
        input_shape: one image in the data format's order, (H, W, C) or (C, H, W); any size, also open (None) or not
            square. The backbone's own by default.
        classes: units of the classifier.
        **options: `name` (of the Keras model), `classifier_activation`, `data_format` and `norm_momentum`, see
            `NetOptions`; or one of the backbone's own `options`, such as a bottleneck ResNet's `bottleneck_stride`:
            `3x3` (the official code) or `1x1` (He et al. 2016, and the multiply-adds in the paper's tables).

    Raises:
        OptionError: an unknown name or option, with the nearest known one, or a value out of range.
        ModelError: an input that is too small or has no channels.
    """
    row, attention = _resolve(name, attention)
    common = {"classifier_activation", "data_format", "norm_momentum", "name"}
    for key in options:
        if key not in common and key not in row.options:
            raise OptionError(f"unknown option {key!r} for {row.name}{closest(key, sorted({*common, *row.options}))}")
    chosen = Dialect.of(dialect)
    if attention == "none" and chosen != PAPER:
        raise OptionError(f"a dialect needs attention='cbam'; {name!r} was asked for without attention")
    data_format = options.get("data_format")
    if data_format is None:
        import keras

        data_format = keras.config.image_data_format()
    if input_shape is None:
        height, width, channels = row.input_shape
        input_shape = (channels, height, width) if data_format == "channels_first" else row.input_shape
    prefix = PREFIX if attention == "cbam" else ""
    net = NetOptions(
        name=options.get("name") or prefix + row.name,
        dialect=chosen if attention == "cbam" else None,
        input_shape=tuple(input_shape),  # type: ignore[arg-type]  # its length is checked by NetOptions
        classes=classes,
        **{key: options[key] for key in ("classifier_activation", "norm_momentum") if key in options},
        data_format=data_format,
    )
    module, function = row.builder.split(":")
    own = {key: options.get(key, default) for key, default in row.options.items()}
    return getattr(importlib.import_module(module), function)(net, **row.fixed, **own)


def _resolve(name: str, attention: str | None) -> tuple[Backbone, str]:
    bare = name.removeprefix(PREFIX)
    if bare not in BACKBONES:
        raise OptionError(f"unknown backbone {name!r}{closest(name, BACKBONES)}, each also with {PREFIX!r} before it")
    if attention is None:
        attention = "none" if bare == name else "cbam"
    if attention not in _ATTENTION:
        raise OptionError(f"attention must be 'none' or 'cbam'; got {attention!r}")
    return BACKBONES[bare], attention


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
