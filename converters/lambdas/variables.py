"""Variables that a Lambda's function made and tf.keras of TensorFlow 1.15 and 2.0 stored as weights of the layer.

`K.ones`, `K.zeros`, `K.eye` and `K.variable` make one where the shape is known. It belongs to the layer there, so
training changes it, and the file's value counts, not the one in the function. The layer keeps its variables by the
names that the function gives them, and hands out the one of that name again, whatever value or shape is asked for:
`K.ones((6,)) + K.zeros((6,))` is twice the first variable. Calls of a shared layer share them too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from converters.lambdas.values import RefusedError

__all__ = ["Variables"]


class Variables:
    """The weights that a file holds for one Lambda, in the order in which its function made them."""

    def __init__(self, arrays: Sequence[np.ndarray] = ()) -> None:
        self._arrays = arrays
        self._known: dict[str | None, np.ndarray] = {}

    @property
    def stored(self) -> bool:
        """Whether the file holds any."""
        return bool(self._arrays)

    @property
    def left(self) -> bool:
        """Whether the file holds some that the function does not make."""
        return len(self._known) < len(self._arrays)

    def take(self, made: np.ndarray, name: str | None) -> np.ndarray | None:
        """The variable that the function names so and would give the value `made`; None where the file holds none.

        Raises:
            RefusedError: what the file holds next has another shape or dtype, or there is no next.
        """
        if not self._arrays:
            return None
        if name in self._known:
            return self._known[name]
        if not self.left:
            raise RefusedError(f"it makes more variables than the {len(self._arrays)} that the file holds for it")
        stored = self._arrays[len(self._known)]
        if stored.shape != made.shape or stored.dtype != made.dtype:
            raise RefusedError(
                f"it makes a variable of shape {made.shape}, and the file holds one of shape {stored.shape} for it"
            )
        self._known[name] = stored
        return stored
