"""A SavedModel's `serving_default` signature, with nothing but TensorFlow imported."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    signature = tf.saved_model.load(path).signatures["serving_default"]
    # TensorFlow makes Python identifiers of names ("my-image" is called as my_image); outputs keep theirs.
    called = {re.sub(r"\W", "_", name): name for name in signature.structured_input_signature[1]}

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        feeds = {called[re.sub(r"\W", "_", name)]: tf.constant(value) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in signature(**feeds).items()}

    return run, {}
