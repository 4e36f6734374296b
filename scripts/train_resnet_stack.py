"""Train the small ResNet stack with CBAM before the addition that quantisation is measured on.

    pip install 'cbam-export[train]'
    python scripts/train_resnet_stack.py --output resnet-stack.keras

Three basic blocks (He et al. 2016) on the digits of `train_mnist.py`, with the same split: CBAM stands after the last
BatchNorm of each, where its map has both signs. That is where int8 converters lose most. About a minute on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from train_mnist import augment, load_digits

from exporter.models.backbones import NetOptions
from exporter.models.blocks import Net
from exporter.models.dialect import PAPER

SEED = 20261122
CLASSES = 10
WIDTHS = (16, 32, 64)
EPOCHS, BATCH, RATE = 14, 64, 3e-3


def build() -> keras.Model:
    """The untrained stack: a stem and one block for each of WIDTHS, the later ones halving the map."""
    # Momentum 0.9: with Keras's 0.99 the moving averages lag behind in so short a training.
    options = NetOptions(
        name="resnet-stack",
        dialect=dataclasses.replace(PAPER, ratio=8, norm_momentum=0.9),
        input_shape=(28, 28, 1),
        classes=CLASSES,
        classifier_activation="softmax",
        data_format="channels_last",
        norm_momentum=0.9,
    )
    net = Net(options)
    image = net.image(2 ** len(WIDTHS))
    x = net.relu(net.conv(image, WIDTHS[0], 3, "stem_conv"), "stem_conv")
    for index, width in enumerate(WIDTHS, 1):
        name, stride = f"block{index}", 1 if index == 1 else 2
        branch = net.relu(net.conv(x, width, 3, f"{name}_conv1", stride=stride), f"{name}_conv1")
        branch = net.attend(net.conv(branch, width, 3, f"{name}_conv2"), name)
        shortcut = x if stride == 1 else net.conv(x, width, 1, f"{name}_shortcut", stride=stride)
        x = net.relu(keras.layers.Add(name=f"{name}_add")([shortcut, branch]), name)
    return net.model(image, x)


def train(output: Path) -> dict[str, Any]:
    """Train, save without optimizer state, and give the figures."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    digits = load_digits()
    model = build()
    steps = EPOCHS * (len(digits["train_x"]) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 10, steps - steps // 20, alpha=1e-3, warmup_target=RATE, warmup_steps=steps // 20
    )
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.05)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4), loss, metrics=["accuracy"])
    targets = keras.utils.to_categorical(digits["train_y"], CLASSES)
    start = time.monotonic()
    for epoch in range(EPOCHS):
        fit = model.fit(augment(digits["train_x"], random), targets, BATCH, verbose=0)
        print(f"{epoch + 1}/{EPOCHS} {time.monotonic() - start:.0f} s {fit.history['accuracy'][0]:.4f}", flush=True)
    test_y = keras.utils.to_categorical(digits["test_y"], CLASSES)
    _, accuracy = model.evaluate(digits["test_x"].astype(np.float32) / np.float32(255), test_y, verbose=0)
    bare = build()
    bare.set_weights(model.get_weights())
    bare.save(output)
    return {"test_accuracy": round(accuracy, 4), "seconds": round(time.monotonic() - start), "file": str(output)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("resnet-stack.keras"))
    print(train(parser.parse_args().output))


if __name__ == "__main__":
    main()
