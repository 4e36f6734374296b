"""A gate that is no longer CBAM's is lowered in another way, or not at all, and is named all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawn_weights import drawn
from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source


def model(second: str = "GlobalMaxPooling2D") -> Any:
    """Two blocks as people write them; `second` pools the second vector of the first of them."""
    import keras

    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(4)
    image = keras.Input((16, 16, 3), name="image")

    def block(x: Any, name: str, pool: str) -> Any:
        channels = x.shape[-1]
        squeeze = layers.Dense(4, activation="relu", name=f"{name}_squeeze", bias_initializer="ones")
        excite = layers.Dense(channels, name=f"{name}_excite")
        mean, top = layers.GlobalAveragePooling2D(name=f"{name}_mean")(x), getattr(layers, pool)(name=f"{name}_top")(x)
        gate = layers.Activation("sigmoid", name=f"{name}_gate")(
            layers.Add(name=f"{name}_sum")([excite(squeeze(mean)), excite(squeeze(top))])
        )
        x = layers.Multiply(name=f"{name}_channel")([x, layers.Reshape((1, 1, channels))(gate)])
        pools = ops.concatenate([ops.mean(x, 3, keepdims=True), ops.max(x, 3, keepdims=True)], 3)
        spatial = layers.Conv2D(1, 7, padding="same", activation="sigmoid", name=f"{name}_convolution")(pools)
        return layers.Multiply(name=f"{name}_spatial")([x, spatial])

    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    x = block(x, "one", second)
    x = block(layers.Conv2D(12, 3, padding="same", activation="relu", name="middle")(x), "two", "GlobalMaxPooling2D")
    return drawn(keras.Model(image, layers.Dense(3, name="scores")(layers.GlobalAveragePooling2D(name="pool")(x))))


def test_the_mean_for_the_maximum_is_named(tmp_path: Path) -> None:
    source = load_source(model())
    search = LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])
    faulty = model("GlobalAveragePooling2D")
    for artifact in export(faulty, ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False)).artifacts:
        with runtime({"tflite": "litert", "onnx": "onnxruntime"}[artifact.format]).open(artifact) as session:
            found = search.profile(artifact, session).divergence
        assert found is not None
        assert "one_top" in found.layer
        assert "two" not in found.layer
