"""Every workaround of a third-party fault: its cause, where it is known upstream, and when it can go."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def tflite_interpreter_deprecation() -> Iterator[None]:
    """Silence TensorFlow's own warning about `tf.lite.Interpreter`, which its converter may touch.

    Cause: TensorFlow 2.20 deprecated its interpreter in favour of ai-edge-litert. We run artifacts with the latter.
    Remove when: the deprecated class is gone from TensorFlow.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
        yield


def inline_compiled_functions(graph_def: Any) -> Any:
    """A copy of a frozen GraphDef in which no function must be compiled by XLA, so that all can be inlined.

    Cause: Keras 3's TensorFlow backend wraps a grouped convolution in `tf.function(jit_compile=True)`, since TensorFlow
    had no grouped convolution on CPU. Grappler never inlines such a function, and tf2onnx then meets an operation
    (StatefulPartitionedCall) that it cannot convert; it logs that and goes on, so the ONNX file is invalid.
    Upstream: keras/src/backend/tensorflow/nn.py, `conv`, `_conv_xla`; tf2onnx `tf_loader.tf_optimize_grappler`.
    Remove when: tf2onnx inlines functions that carry `_XlaMustCompile` or `_noinline`, or Keras drops the wrapper.
    """
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    nodes = [*copy.node, *(node for function in copy.library.function for node in function.node_def)]
    for owner in (*copy.library.function, *nodes):
        for mark in ("_XlaMustCompile", "_noinline"):
            owner.attr.pop(mark, None)
    return copy


@contextlib.contextmanager
def float64_in_keras() -> Iterator[None]:
    """Inside, Keras computes in float64 on JAX and torch too where a layer's policy says so.

    Cause: on backends other than TensorFlow Keras's type promotion turns float64 into float32 ("to be aligned with
    JAX's default behavior"), so that a mean, a BatchNormalization or a product of a float64 model rounds to float32 in
    silence; and JAX has no float64 unless it is switched on. On TensorFlow nothing is changed.
    Upstream: keras/src/backend/common/dtypes.py, `BIT64_TO_BIT32_DTYPE`.
    Remove when: Keras keeps float64 on JAX with `jax_enable_x64` on, and on torch.
    """
    import keras
    from keras.src.backend.common import dtypes

    table = dtypes.BIT64_TO_BIT32_DTYPE
    narrowed = table["float64"]
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "jax":
            import jax

            wide: Any = getattr(jax, "enable_x64", None)
            if wide is None:  # its older name
                wide = importlib.import_module("jax.experimental").enable_x64
            stack.enter_context(wide(True))
        table["float64"] = "float64"
        try:
            yield
        finally:
            table["float64"] = narrowed
