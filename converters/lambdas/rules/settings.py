"""What a function asks Keras for: its settings, and what it says about tensors."""

from __future__ import annotations

from converters.lambdas.builder import Builder
from converters.lambdas.names import dtype_of
from converters.lambdas.rules.arguments import operand
from converters.lambdas.rules.table import rule
from converters.lambdas.values import OpenSize, Shape, Tensor, Value

__all__ = ["data_format", "floatx"]


@rule("K.floatx keras.config.floatx ()")
def floatx(builder: Builder) -> str:
    builder.assume("K.floatx() is 'float32', Keras's default")
    return "float32"


@rule("K.epsilon keras.config.epsilon ()")
def epsilon(builder: Builder) -> Value:
    builder.assume("K.epsilon() is 1e-07, Keras's default")
    return 1e-7


@rule("K.image_data_format keras.config.image_data_format ()")
def data_format(builder: Builder) -> str:
    known = builder.era.data_format
    found = known or "channels_last"
    why = "as the layers of the model say" if known else "Keras's default"
    builder.assume(f"K.image_data_format() is {found!r}, {why}")
    return found


@rule("K.image_dim_ordering K.common.image_dim_ordering ()")
def dim_ordering(builder: Builder) -> Value:
    return "tf" if data_format(builder) == "channels_last" else "th"


@rule("K.backend keras.config.backend ()")
def backend(builder: Builder) -> Value:
    builder.assume("K.backend() is 'tensorflow'")
    return "tensorflow"


@rule("K.dtype (x)", "ops.dtype (x)")
def dtype(builder: Builder, x: Value) -> Value:
    if isinstance(x, Shape | OpenSize):
        return "int32"
    return str(operand(builder, x).dtype)


@rule("K.is_tensor tf.is_tensor ops.is_tensor (x)", "tf.contrib.framework.is_tensor (x)")
def is_tensor(builder: Builder, x: Value) -> Value:
    if not isinstance(x, Tensor) and type(x) not in (list, tuple):
        builder.refuse("it asks whether a constant is a tensor")
    return isinstance(x, Tensor)


@rule("K.is_sparse (tensor: x)")
def is_sparse(builder: Builder, x: Value) -> Value:
    operand(builder, x)
    return False


@rule("K.cast_to_floatx (x)")
def cast_to_floatx(builder: Builder, x: Value) -> Value:
    tensor, wanted = operand(builder, x), floatx(builder)
    if not isinstance(tensor, Tensor):
        return tensor.astype(wanted)
    return tensor if tensor.dtype == wanted else builder.op("cast", tensor, wanted)


@rule("tf.as_dtype tf.dtypes.as_dtype (type_value)", "np.dtype K.standardize_dtype (type_value)")
def as_dtype(builder: Builder, type_value: Value) -> Value:
    del builder
    return dtype_of(type_value)
