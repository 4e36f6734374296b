"""Runs a model's call in the Keras backend at hand, on a device, from NumPy to NumPy. No TensorFlow needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from converters.calls import Call
from converters.patches import float64_in_keras

Device = Literal["cpu", "gpu"]
Arrays = Mapping[str, np.ndarray]


class Runner:
    """One call on one device.

    Args:
        call: what is run; its variables must be on the device where the backend is torch.
        inputs: the names of its inputs in the arrays that are given, in its order.
        outputs: the names of its outputs in the arrays that come back.
        device: cpu or gpu.
    """

    def __init__(self, call: Call, inputs: Sequence[str], outputs: Sequence[str], device: Device) -> None:
        self.inputs, self.outputs, self.device, self.own_batch = tuple(inputs), tuple(outputs), device, call.own_batch
        self._call = call
        self._function = call.run
        if keras.backend.backend() == "jax":
            import jax

            # As Keras itself runs it; operation by operation each would be compiled alone, which takes far longer.
            self._function = jax.jit(lambda *tensors: call.run(*tensors))

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Arrays by name, cast to the call's own types, to arrays by name."""
        with on(self.device), no_gradients():
            pairs = zip(self.inputs, self._call.inputs, strict=True)
            tensors = [keras.ops.convert_to_tensor(inputs[name], dtype=spec.dtype) for name, spec in pairs]
            made = self._function(*tensors)
            arrays = (_plain(np.array(keras.ops.convert_to_numpy(value))) for value in made)
            return dict(zip(self.outputs, arrays, strict=True))


def _plain(array: np.ndarray) -> np.ndarray:
    """NumPy itself has no bfloat16; float32 holds every value of it."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def on(device: Device) -> Any:
    """The scope in which Keras makes tensors and variables on that device."""
    return keras.device(f"{device}:0")


def no_gradients() -> contextlib.AbstractContextManager[Any]:
    """The scope in which torch records nothing for a backward pass."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    guard: contextlib.AbstractContextManager[Any] = torch.no_grad()
    return guard


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """The scope in which a float64 model is made and run: on the CPU, and in float64 on every backend."""
    with float64_in_keras(), on("cpu"):
        yield


def narrowed(call: Call, inputs: Sequence[np.ndarray]) -> bool:
    """Whether a float64 call rounds to float32 on its way, where that can be seen: in JAX, whose types are known."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    with float64():
        first = [np.asarray(array[:1], spec.dtype) for array, spec in zip(inputs, call.inputs, strict=True)]
        return "f32[" in str(jax.make_jaxpr(lambda *tensors: call.run(*tensors))(*first))
