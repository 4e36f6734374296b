"""Whether operations treat each example of a batch by itself.

Keras 2's TimeDistributed calls its layer once, on the steps of all examples as one batch; Keras 3's calls it for each
step. The two differ for what looks across the batch. This is measured on drawn numbers, not read from the operations.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

__all__ = ["apart"]

_EXAMPLES: Final = 3
_OPEN: Final = 4  # for a size that is not fixed
_ELEMENTS: Final = 1 << 22


def apart(inputs: Any, outputs: list[Any]) -> bool:
    """Whether each example's outputs are those of the example alone; False where that cannot be tried.

    Args:
        inputs: a KerasTensor, or nested lists of them. outputs: KerasTensors that follow from them without weights.
    """
    import keras

    flat = keras.tree.flatten(inputs)
    random = np.random.default_rng(0)
    drawn = [_drawn(random, each) for each in flat]
    if sum(each.size for each in drawn) > _ELEMENTS:
        return False
    function = keras.Function(flat, outputs)
    try:
        whole = [np.asarray(each) for each in function(drawn)]
        for index in range(_EXAMPLES):
            alone = [np.asarray(each) for each in function([each[index : index + 1] for each in drawn])]
            for one, all_of_them in zip(alone, whole, strict=True):
                part = all_of_them[index : index + 1]
                if len(all_of_them) != _EXAMPLES or one.shape != part.shape:
                    return False
                if not np.allclose(one, part, rtol=1e-4, atol=1e-5, equal_nan=True):
                    return False
    except Exception:  # of any kind, from the backend: the numbers do not fit the operations
        return False
    return True


def _drawn(random: np.random.Generator, tensor: Any) -> np.ndarray:
    shape = (_EXAMPLES, *(_OPEN if size is None else size for size in tensor.shape[1:]))
    dtype = str(tensor.dtype)
    if "float" in dtype:
        return random.normal(size=shape).astype("float32" if dtype == "bfloat16" else dtype)
    return random.integers(0, 2, shape).astype(dtype)
