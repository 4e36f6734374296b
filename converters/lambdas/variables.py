"""Variables that a Lambda's function made and tf.keras of TensorFlow 1.13 to 2.1 stored as weights of the layer.

`K.ones`, `K.zeros`, `K.eye` and `K.variable` make one where the shape is known. It belongs to the layer there, so
training changes it, and the file's value counts, not the one in the function.
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
        self._next = self._calls = 0
        self._changed = False

    @property
    def left(self) -> bool:
        """Whether the file holds some that the function does not make."""
        return self._next < len(self._arrays)

    def begin(self) -> None:
        """Note that the layer is called; each call of a shared one makes its own.

        Raises:
            RefusedError: it was called before, and which weights are whose is not certain.
        """
        self._calls += 1
        self._check()

    def take(self, made: np.ndarray) -> np.ndarray | None:
        """The stored value of a variable that the function gives the value `made`; None where none is stored.

        Raises:
            RefusedError: what is stored next has another shape or dtype.
        """
        if not self._arrays:
            return None
        if not self.left:
            raise RefusedError(f"it makes more variables than the {len(self._arrays)} that the file holds for it")
        stored = self._arrays[self._next]
        if stored.shape != made.shape or stored.dtype != made.dtype:
            raise RefusedError(
                f"it makes a variable of shape {made.shape}, and the file holds one of shape {stored.shape} for it"
            )
        self._next += 1
        self._changed = self._changed or not np.array_equal(stored, made, equal_nan=True)
        self._check()
        return stored

    def _check(self) -> None:
        if self._changed and self._calls > 1:
            raise RefusedError("it is called several times, and which of its trained variables is whose is not certain")
