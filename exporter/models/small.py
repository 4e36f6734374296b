"""Light CNNs for small images: what the zoo ships, the examples train and the tests build."""

from __future__ import annotations

import keras

from converters.errors import OptionError
from exporter.models.backbones import NetOptions
from exporter.models.blocks import Net


def small_cnn(options: NetOptions, *, widths: tuple[int, ...] = (16, 32, 64)) -> keras.Model:
    """Stages of a 3x3 convolution, BatchNorm, ReLU, CBAM and a 2x2 maximum, one for each of `widths`.

    Raises:
        OptionError: `widths` is empty or has a width below 1.
        ModelError: an input below 2 ** len(widths) pixels a side.
    """
    widths = _checked(widths)
    net = Net(options)
    image = x = net.image(2 ** len(widths))
    for stage, width in enumerate(widths, 1):
        name = f"stage{stage}_conv"
        x = net.relu(net.conv(x, width, 3, name), name)
        x = net.attend(x, f"stage{stage}")
        x = net.max_pool(x, 2, f"stage{stage}_pool")
    return net.model(image, x)


def small_mobilenet(options: NetOptions, *, widths: tuple[int, ...] = (32, 64, 128)) -> keras.Model:
    """MobileNetV1's manner for small images: a 3x3 stem, then depthwise and pointwise parts with CBAM after each.

    The stem has the first of `widths` channels; each further one has a block that halves the map and one that does not.

    Raises:
        OptionError: `widths` is empty or has a width below 1.
        ModelError: an input below 2 ** len(widths) pixels a side.
    """
    widths = _checked(widths)
    net = Net(options)
    image = net.image(2 ** len(widths))
    x = net.relu(net.conv(image, widths[0], 3, "stem_conv"), "stem_conv", limit=6.0)
    block = 0
    for width in widths[1:]:
        for stride in (2, 1):
            block += 1
            name = f"block{block}_depthwise"
            x = net.attend(net.relu(net.depthwise(x, 3, name, stride=stride), name, limit=6.0), name)
            name = f"block{block}_pointwise"
            x = net.attend(net.relu(net.conv(x, width, 1, name), name, limit=6.0), name)
    return net.model(image, x)


def _checked(widths: tuple[int, ...]) -> tuple[int, ...]:
    widths = tuple(widths)
    if not widths or any(not isinstance(width, int) or width < 1 for width in widths):
        raise OptionError(f"widths must name at least one stage, each of at least 1 channel; got {widths!r}")
    return widths
