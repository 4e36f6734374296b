"""Masked steps of a Bidirectional layer's sequence, which Keras 3 makes zero and some older ones did not.

Measured with files of each: tf.keras of TensorFlow 1.14, 1.15, 2.3 and later makes them zero, that of 2.0 and 2.1 and
standalone Keras 2.3 repeat the last step. No layer of Keras 3 does that, but what leaves masked steps out does not see
it. A model in which they could be seen is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from converters.errors import ModelError
from converters.lambdas.gone import is_recurrent
from converters.lambdas.limits import show
from converters.lambdas.nodes import LayerCall

__all__ = ["MaskedSteps"]

# These hand the mask on and compute each step by itself.
_PASSING: Final = (
    "Dropout",
    "SpatialDropout1D",
    "GaussianNoise",
    "GaussianDropout",
    "Activation",
    "LayerNormalization",
)
_LEAVING_OUT: Final = ("GlobalAveragePooling1D",)


class MaskedSteps:
    """Follows such sequences through a model that is being built. zeroed: whether the old Keras made them zero."""

    def __init__(self, zeroed: bool) -> None:
        self.zeroed = zeroed
        self._seen: dict[int, tuple[Any, str]] = {}

    def follow(self, path: tuple[str, ...], entry: Mapping[str, Any], call: LayerCall, outputs: list[Any]) -> None:
        """Note what a layer that was called gives.

        Raises:
            ModelError: the layer may see masked steps.
        """
        import keras

        if self.zeroed:
            return
        name, given = str(entry.get("class_name")), keras.tree.flatten([call.args, dict(call.kwargs)])
        if is_recurrent(name) or name in _LEAVING_OUT:
            if name == "Bidirectional" and _gives_sequences(entry.get("config")):
                masked = any(getattr(each, "_keras_mask", None) is not None for each in given)
                self._seen.update((id(each), (each, "/".join(path))) for each in outputs if masked)
            return
        if name not in _PASSING:
            self.check(given)
        origin = next((self._seen[id(each)][1] for each in given if id(each) in self._seen), None)
        if origin is not None:
            self._seen.update((id(each), (each, origin)) for each in outputs)

    def check(self, tensors: Iterable[Any]) -> None:
        """Refuse those whose masked steps are not what they were.

        Raises:
            ModelError: naming the layer that made the first.
        """
        for each in tensors:
            if id(each) in self._seen:
                layer = show(self._seen[id(each)][1])
                raise ModelError(
                    f"layer {layer}: a Bidirectional whose masked steps are zero in Keras 3, and were not in the Keras "
                    "that may have written the file; layers after it use them"
                )


def _gives_sequences(config: Any) -> bool:
    inner = config.get("layer") if isinstance(config, dict) else None
    within = inner.get("config") if isinstance(inner, dict) else None
    return isinstance(within, dict) and bool(within.get("return_sequences"))
