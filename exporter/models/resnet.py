"""ResNet (He et al. 2016), wide ResNet and ResNeXt (Xie et al. 2017), as CBAM's official code has them."""

from __future__ import annotations

from typing import Any

import keras

from converters.errors import OptionError
from exporter.models.backbones import NetOptions
from exporter.models.blocks import Net

_STAGE_WIDTHS = (64, 128, 256, 512)
_SMALLEST = 17  # the last of five halvings then still sees two pixels


def resnet(
    options: NetOptions,
    *,
    depths: tuple[int, ...],
    bottleneck: bool = False,
    width: float = 1.0,
    groups: tuple[int, int] = (1, 64),
    bottleneck_stride: str = "3x3",
) -> keras.Model:
    """A ResNet of four stages, with CBAM after the last BatchNorm of each block, before the residual add.

    Args:
        options: what every backbone takes.
        depths: blocks of each stage.
        bottleneck: 1x1, 3x3, 1x1 convolutions in a block instead of two of 3x3.
        width: multiplies the widths of the stages. The stem stays at 64: with it widened too, the parameters would not
            be the paper's (26.10 M instead of 26.08 M at 1.5).
        groups: number of groups of a bottleneck's 3x3 convolution, and their width in the first stage.
        bottleneck_stride: which convolution of a bottleneck halves the map: `3x3`, or the first `1x1`.

    Raises:
        OptionError: another `bottleneck_stride`.
        ModelError: an input below 17x17.
    """
    if bottleneck_stride not in ("3x3", "1x1"):
        raise OptionError(
            f"bottleneck_stride must be '3x3' (official code) or '1x1' (the paper's table); got {bottleneck_stride!r}"
        )
    net = Net(options)
    image = net.image(_SMALLEST)
    x = net.relu(net.conv(image, 64, 7, "stem_conv", stride=2), "stem_conv")
    x = net.max_pool(x, 3, "stem_pool", padded=True)
    for stage, depth in enumerate(depths):
        planes = int(_STAGE_WIDTHS[stage] * width)
        for block in range(depth):
            name = f"stage{stage + 1}_block{block + 1}"
            stride = 2 if stage > 0 and block == 0 else 1
            if bottleneck:
                inner = planes * groups[1] // 64 * groups[0]
                strides = (1, stride) if bottleneck_stride == "3x3" else (stride, 1)
                branch = _bottleneck(net, x, (inner, inner, planes * 4), strides, groups[0], name)
            else:
                branch = _basic(net, x, planes, stride, name)
            branch = net.attend(branch, name)
            x = keras.layers.Add(name=f"{name}_add")([_shortcut(net, x, net.channels(branch), stride, name), branch])
            x = net.relu(x, name)
    return net.model(image, x)


def _basic(net: Net, x: Any, planes: int, stride: int, name: str) -> Any:
    x = net.relu(net.conv(x, planes, 3, f"{name}_conv1", stride=stride), f"{name}_conv1")
    return net.conv(x, planes, 3, f"{name}_conv2")


def _bottleneck(
    net: Net, x: Any, widths: tuple[int, int, int], strides: tuple[int, int], groups: int, name: str
) -> Any:
    x = net.relu(net.conv(x, widths[0], 1, f"{name}_conv1", stride=strides[0]), f"{name}_conv1")
    x = net.conv(x, widths[1], 3, f"{name}_conv2", stride=strides[1], groups=groups)
    return net.conv(net.relu(x, f"{name}_conv2"), widths[2], 1, f"{name}_conv3")


def _shortcut(net: Net, x: Any, channels: int, stride: int, name: str) -> Any:
    if stride == 1 and net.channels(x) == channels:
        return x
    return net.conv(x, channels, 1, f"{name}_shortcut", stride=stride)
