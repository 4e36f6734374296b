"""A task that a backbone learns in minutes on a CPU: which of sixteen gratings an image shows.

Some nets cannot be given the values of a trained one (`sound_exports.as_if_trained`): with random weights, a deep net
of depthwise convolutions tells images less and less apart, so that roundings drown what is left.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np

ORIENTATIONS: Final = 8
PERIODS: Final = (4.0, 9.0)
"""Of them there are so many across the image."""


def gratings(samples: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (samples, size, size, 3) in float32 around 0, and the class of each: gratings of a random phase, colour
    and background, turned and stretched a little, in noise."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, ORIENTATIONS * len(PERIODS), samples)
    angle = (classes % ORIENTATIONS) * np.pi / ORIENTATIONS + random.normal(0, 0.05, samples)
    periods = np.asarray(PERIODS)[classes // ORIENTATIONS] * random.uniform(0.9, 1.1, samples)
    y, x = np.mgrid[:size, :size] / size
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    phase = random.uniform(0, 2 * np.pi, samples)
    waves = np.sin(2 * np.pi * periods[:, None, None] * along + phase[:, None, None])[..., None]
    colour, background = random.uniform(0.2, 0.6, (samples, 1, 1, 3)), random.uniform(-0.5, 0.5, (samples, 1, 1, 3))
    images = waves * colour + background + random.normal(0, 0.15, (samples, size, size, 3))
    return images.astype(np.float32), classes


def open_gates(model: Any) -> None:
    """Let the gates of a model's CBAM blocks be open at first, so that its signal and its gradient go through all of
    them: a net with a block behind each of 26 convolutions learns nothing otherwise in so few steps."""
    for weight in model.weights:
        for part, value in _OPEN.items():
            if weight.path.endswith(part):
                weight.assign(np.full(weight.shape, value, np.float32))


_OPEN: Final = {"channel/excite/bias": 1.5, "spatial/norm/beta": 3.0}
"""Both gates are then 0.95: the MLP's bias is added twice, once for each pooling."""


def train(model: Any, size: int, *, epochs: int, seed: int = 0) -> float:
    """Train a classifier of at least sixteen classes in place; gives the share of new images that it then knows.

    The statistics of its normalisations follow the batches ten times faster than by default, as there are few.
    """
    images, classes = gratings(_IMAGES, size, seed)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    steps = epochs * -(-_IMAGES // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(images, classes, batch_size=_BATCH, epochs=epochs, verbose=0)
    images, classes = gratings(8 * _BATCH, size, seed + 1)
    return float(np.mean(np.argmax(model.predict(images, verbose=0), axis=1) == classes))


_IMAGES: Final = 2048
_BATCH: Final = 32
