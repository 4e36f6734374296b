"""Whether operations treat each example of a batch by itself.

Keras 2's TimeDistributed calls its layer once, on the steps of all examples as one batch; Keras 3's calls it for each
step. The two differ for what looks across the batch. This is measured on drawn numbers, not read from the operations.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

__all__ = ["Rows"]

_EXAMPLES: Final = 3
_OPEN: Final = 4  # for a size that is not fixed
_ELEMENTS: Final = 1 << 23  # of all tensors of one trial
_PRODUCTS: Final = 1 << 18  # where some of them are sums of products, which take longer
_SUMS: Final = ("Conv", "DepthwiseConv", "Einsum", "Matmul", "Dot", "Tensordot", "SeparableConv", "ExtractPatches")
_OPERATIONS: Final = 2_000  # tried for one model


class Rows:
    """Tries the functions of one model. A file may ask for much, so what would take long is not tried."""

    def __init__(self) -> None:
        self.left = _OPERATIONS

    def apart(self, inputs: Any, outputs: list[Any]) -> bool:
        """Whether each example's outputs are those of the example alone; False where that cannot be tried.

        Args:
            inputs: a KerasTensor, or nested lists of them.
            outputs: KerasTensors that follow from them without weights.
        """
        import keras

        flat = keras.tree.flatten(inputs)
        function = keras.Function(flat, outputs)
        shapes = [(_EXAMPLES, *(_OPEN if size is None else size for size in each.shape[1:])) for each in flat]
        self.left -= len(function.operations)
        if self.left < 0 or not _is_small(function, flat, shapes):
            return False
        random = np.random.default_rng(0)
        try:
            return _agree(function, [_drawn(random, *each) for each in zip(flat, shapes, strict=True)])
        except Exception:  # of any kind, from the backend: the numbers do not fit the operations
            return False


def _is_small(function: Any, inputs: list[Any], shapes: list[tuple[int, ...]]) -> bool:
    """Whether the tensors of a trial are few numbers, by their shapes alone."""
    import keras

    limit = _PRODUCTS if any(type(each).__name__ in _SUMS for each in function.operations) else _ELEMENTS
    spent = sum(map(math.prod, shapes))

    def counting(operation: Any) -> Any:
        def spec(*args: Any, **kwargs: Any) -> Any:
            nonlocal spent
            made = operation.compute_output_spec(*args, **kwargs)
            spent += sum(math.prod(size or _OPEN for size in each.shape) for each in keras.tree.flatten(made))
            if spent > limit:
                raise ValueError("too large to be tried")
            return made

        return spec

    specs = [keras.KerasTensor(shape, dtype=each.dtype) for each, shape in zip(inputs, shapes, strict=True)]
    try:
        function._run_through_graph(specs, operation_fn=counting)
    except Exception:  # of any kind, from Keras: the sizes do not fit the operations
        return False
    return spent <= limit


def _agree(function: Any, drawn: list[np.ndarray]) -> bool:
    whole = [np.asarray(each) for each in function(drawn)]
    for index in range(_EXAMPLES):
        alone = [np.asarray(each) for each in function([each[index : index + 1] for each in drawn])]
        for one, all_of_them in zip(alone, whole, strict=True):
            part = all_of_them[index : index + 1]
            if len(all_of_them) != _EXAMPLES or one.shape != part.shape:
                return False
            if not np.allclose(one, part, rtol=1e-4, atol=1e-5, equal_nan=True):
                return False
    return True


def _drawn(random: np.random.Generator, tensor: Any, shape: tuple[int, ...]) -> np.ndarray:
    dtype = str(tensor.dtype)
    if "float" in dtype:
        return random.normal(size=shape).astype("float32" if dtype == "bfloat16" else dtype)
    return random.integers(0, 2, shape).astype(dtype)
