"""Make the models of the ARM64 self-test: `python scripts/make_selftest_models.py`.

A few convolutions with constant weights, as float32 and int8 TFLite and as float32 ONNX, small enough to ship. What
they compute does not matter; that int8 goes through XNNPACK's matrix kernels, whose instructions differ by processor,
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf2onnx

TARGET = Path(__file__).resolve().parents[1] / "exporter" / "runtimes" / "arm64" / "data"
SHAPE = (1, 12, 12, 3)


def main() -> None:
    rng = np.random.default_rng(20261122)
    first = rng.standard_normal((3, 3, 3, 16), np.float32) * 0.2
    second = rng.standard_normal((3, 3, 16, 24), np.float32) * 0.1
    last = rng.standard_normal((24, 10), np.float32) * 0.2

    @tf.function(input_signature=[tf.TensorSpec(SHAPE, tf.float32, name="image")])
    def net(image: Any) -> dict[str, Any]:
        x = tf.nn.relu(tf.nn.conv2d(image, first, 1, "SAME"))
        x = tf.nn.relu6(tf.nn.conv2d(x, second, 2, "SAME"))
        return {"scores": tf.linalg.matmul(tf.reduce_mean(x, axis=[1, 2]), last)}

    def samples() -> Iterator[list[np.ndarray]]:
        for _ in range(50):
            yield [rng.random(SHAPE, np.float32)]

    module = tf.Module()
    for name in ("fp32", "int8"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()], module)
        if name == "int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        (TARGET / f"{name}.tflite").write_bytes(converter.convert())
    model, _ = tf2onnx.convert.from_function(net, net.input_signature, opset=17)
    (TARGET / "fp32.onnx").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
