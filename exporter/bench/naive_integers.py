"""TensorFlow's own full integer conversion, as tutorials show it, in a set of operations that it names:

    naive_integers.py OP_SET SAVED_MODEL SAMPLES.npz OUT NAMES...

Run as a program. Inputs and outputs stay float32, which is the converter's default.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(op_set: str, saved: str, samples: str, out: str, *names: str) -> None:
    with np.load(samples, allow_pickle=False) as stored:
        arrays = [stored[str(index)] for index in range(len(stored.files))]

    def representative() -> Iterator[dict[str, np.ndarray]]:
        for index in range(len(arrays[0])):
            yield {name: array[index : index + 1] for name, array in zip(names, arrays, strict=True)}

    converter = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet[op_set]]
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
