"""Every workaround of a third-party fault: its cause, where it is known upstream, and when it can go."""

from __future__ import annotations

import contextlib
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
