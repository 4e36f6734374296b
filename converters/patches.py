"""Every workaround of a third-party fault: its cause, where it is known upstream, and when it can go."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from typing import Any, Final


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


def plain_additions(graph_def: Any) -> None:
    """Put additions behind convolutions, in place, into the forms in which tf2onnx takes them for what they are.

    A scalar added to a convolution gets the shape (1,). Cause: tf2onnx takes the largest size of a constant behind a
    convolution to see whether it is a bias, and a scalar has none. It logs `Failed to apply optimize_transpose`, goes
    on, and leaves every change of layout of the whole model in the file. hard_sigmoid is such: it begins with x + 3.
    Upstream: tf2onnx/optimizer/transpose_optimizer.py, `_add_handler`.

    A BiasAdd of what is no constant, or behind another BiasAdd, becomes an addition. Cause: Keras writes the sum of two
    maps of 1x1 as BiasAdd, and tf2onnx gives a convolution every BiasAdd behind it, with no limit: a Conv of four
    inputs, which no checker takes.
    Upstream: keras/src/backend/tensorflow/numpy.py, `add`; tf2onnx/rewriter/conv2d_with_add_rewriter.py.

    Remove when: tf2onnx takes a scalar, and no second bias.
    """
    makers = {node.name: node for node in graph_def.node}

    def maker(name: str) -> Any:
        found = makers.get(name.split(":")[0])
        while found is not None and found.op == "Identity":
            found = makers.get(found.input[0].split(":")[0])
        return found

    def convolved(node: Any) -> bool:
        """Whether a convolution's result comes here, through what may be folded into it or away."""
        while node is not None and node.op in _FOLDED:
            left, right = (maker(name) for name in node.input[:2])
            node = right if left is not None and left.op == "Const" else left
        return node is not None and node.op in _CONVOLUTIONS

    for node in list(graph_def.node):
        sources = [maker(name) for name in node.input if not name.startswith("^")]
        if node.op == "BiasAdd" and node.attr["data_format"].s != b"NCHW":
            chained = sources[0] is not None and sources[0].op == "BiasAdd"
            if chained or sources[1] is None or sources[1].op != "Const":
                node.op = "AddV2"
                del node.attr["data_format"]
        if node.op not in ("Add", "AddV2") or len(sources) != 2:
            continue
        for place, constant in enumerate(sources):
            if constant is None or constant.op != "Const" or constant.attr["value"].tensor.tensor_shape.dim:
                continue
            if convolved(sources[1 - place]):
                made = graph_def.node.add()
                made.CopyFrom(constant)
                made.name = f"{node.name}/{place}/widened"
                made.attr["value"].tensor.tensor_shape.dim.add().size = 1
                made.attr.pop("_output_shapes", None)
                node.input[place] = made.name


_FOLDED: Final = ("BiasAdd", "Add", "AddV2", "Sub", "Mul")  # a bias of zeros goes, BatchNormalization becomes one
_CONVOLUTIONS: Final = (
    "Conv2D",
    "Conv2DBackpropInput",
    "DepthwiseConv2dNative",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "BatchToSpaceND",  # behind a dilated one
)


@contextlib.contextmanager
def weights_written_once() -> Iterator[None]:
    """Inside, tf2onnx does not write a constant anew after each of its passes over the graph.

    Cause: after every pass it empties the attributes of all its nodes and fills them again, and the memory of what is
    deleted belongs to the node's protobuf as long as that lives. A constant's attribute is its weights: exporting
    ResNet-50, which has 123 MB of them, took 9.8 GB with these copies and 7.6 GB without (2026-11-23). tf2onnx reads a
    constant from elsewhere, never from there.
    Upstream: tf2onnx/graph.py, `Node.update_proto`, called by `GraphOptimizerBase.optimize`.
    Remove when: tf2onnx leaves attributes alone that have not changed.
    """
    from tf2onnx.graph import Node

    given = Node.update_proto

    def update_proto(self: Any, external_tensor_storage: Any = None) -> None:
        if not self.is_const():
            given(self, external_tensor_storage)

    with _replaced(Node, "update_proto", update_proto):
        yield


@contextlib.contextmanager
def passes_in_place() -> Iterator[None]:
    """Inside, tf2onnx works on its graph itself, not on a copy that it makes for each of its passes.

    Cause: so that it can go on when one of them fails, it copies all weights before each, and the copies, which hold
    each other, go with Python's next full collection at the earliest: of ResNet-50's 7.6 GB, 3.4 (2026-11-23). Inside,
    a pass that fails raises its error.
    Upstream: tf2onnx/optimizer/__init__.py, `optimize_graph`; the variable is tf2onnx's own switch, of which it
    asks only whether it is set.
    Remove when: tf2onnx copies no weights there.
    """
    with _variable("TF2ONNX_CATCH_ERRORS", "FALSE"):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    given = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, given)


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    given = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]
        else:
            os.environ[name] = given


@contextlib.contextmanager
def sign_bit_in_floats() -> Iterator[None]:
    """Inside, what is traced tells -0.0 from 0.0 by 1 / x, not by the bits of x.

    Cause: `argmax` and `argmin` of Keras take -0.0 for less than 0.0, and look at the bits for that. TFLite has no
    BITWISE_AND, and tf2onnx no Bitcast, so no model that ends in them could be converted. Of NaN, whose sign means
    nothing, another answer is given (False).
    Upstream: keras/src/backend/tensorflow/numpy.py, `signbit`.
    Remove when: Keras takes the sign without the bits, or the converters take them.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import numpy as keras_numpy

    given = keras_numpy.signbit

    def signbit(x: Any) -> Any:
        x = tf.convert_to_tensor(x)
        return tf.logical_or(x < 0, 1 / x < 0) if x.dtype.is_floating else given(x)

    with _replaced(keras_numpy, "signbit", signbit):
        yield


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
