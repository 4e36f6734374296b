"""MobileNet (Howard et al. 2017) and MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from typing import Any

import keras

from exporter.models.backbones import NetOptions
from exporter.models.blocks import Net

_SMALLEST = 17  # the last of five halvings then still sees two pixels

_V1_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_V1_HALVING = (2, 4, 6, 12)  # blocks, from 1, whose depthwise convolution has stride 2

_V2_STAGES = (  # expansion, channels, blocks, stride of the first block: Sandler et al. 2018, table 2
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v1(options: NetOptions, *, width: float = 1.0) -> keras.Model:
    """MobileNet, with CBAM after the depthwise and after the pointwise part, each after its BatchNorm and ReLU.

    Args:
        options: what every backbone takes.
        width: multiplies every width, rounded down. That rounding gives the paper's parameters at 0.7 to the unit.

    Raises:
        ModelError: an input below 17x17.
    """
    net = Net(options)
    image = net.image(_SMALLEST)
    x = net.relu(net.conv(image, int(32 * width), 3, "stem_conv", stride=2), "stem_conv")
    for block, channels in enumerate(_V1_WIDTHS, 1):
        name = f"block{block}_depthwise"
        x = net.relu(net.depthwise(x, 3, name, stride=2 if block in _V1_HALVING else 1), name)
        x = net.attend(x, name)
        name = f"block{block}_pointwise"
        x = net.attend(net.relu(net.conv(x, int(channels * width), 1, name), name), name)
    return net.model(image, x)


def mobilenet_v2(options: NetOptions) -> keras.Model:
    """MobileNetV2, with CBAM after the projection's BatchNorm, before the residual add.

    CBAM's paper has no MobileNetV2; this is its rule for residual blocks. The blocks without a residual have CBAM too.

    Raises:
        ModelError: an input below 17x17.
    """
    net = Net(options)
    image = net.image(_SMALLEST)
    x = net.relu(net.conv(image, 32, 3, "stem_conv", stride=2), "stem_conv", limit=6.0)
    block = 0
    for expansion, channels, blocks, first_stride in _V2_STAGES:
        for index in range(blocks):
            block += 1
            x = _inverted_residual(net, x, (expansion, channels), first_stride if index == 0 else 1, f"block{block}")
    x = net.relu(net.conv(x, 1280, 1, "head_conv"), "head_conv", limit=6.0)
    return net.model(image, x)


def _inverted_residual(net: Net, x: Any, widths: tuple[int, int], stride: int, name: str) -> Any:
    expansion, channels = widths
    branch = x
    if expansion > 1:
        expand = f"{name}_expand"
        branch = net.relu(net.conv(branch, net.channels(x) * expansion, 1, expand), expand, limit=6.0)
    depthwise = f"{name}_depthwise"
    branch = net.relu(net.depthwise(branch, 3, depthwise, stride=stride), depthwise, limit=6.0)
    branch = net.attend(net.conv(branch, channels, 1, f"{name}_project"), name)
    if stride == 1 and net.channels(x) == channels:
        return keras.layers.Add(name=f"{name}_add")([x, branch])
    return branch
