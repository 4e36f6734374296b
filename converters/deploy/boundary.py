"""Marks that keep the place of a lowered block through tracing, so that a converter finds it again."""

from __future__ import annotations

from typing import Any

import keras

__all__ = ["Boundary"]


@keras.saving.register_keras_serializable("cbam_export")
class Boundary(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types
    """Gives back what it takes, as a node of its own that bears the layer's name."""

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return tf.identity(x, name="mark")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
