"""The functions of keras.layers in lower case: add, multiply, concatenate, dot and their kin, of a list of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.lambdas.builder import Builder
from converters.lambdas.rules.arguments import axis_of, flag, floating, rank_of, sequence
from converters.lambdas.rules.linear import Array, batch_dot
from converters.lambdas.rules.normalizing import l2_normalize
from converters.lambdas.rules.table import rule
from converters.lambdas.values import Value


def _merge(name: str) -> None:
    def build(builder: Builder, inputs: Value) -> Value:
        parts = [floating(builder, each) for each in sequence(inputs, "inputs")]
        _check_merged(builder, parts, name)
        made: Any = parts[0]
        for part in parts[1:]:
            made = builder.op({"average": "add"}.get(name, name), made, part)
        return builder.op("true_divide", made, float(len(parts))) if name == "average" else made

    rule(f"keras.layers.{name} (inputs, name: _=None)")(build)


def _check_merged(builder: Builder, parts: Sequence[Array], name: str) -> None:
    if len(parts) < 2 or (name == "subtract" and len(parts) != 2):
        builder.refuse(f"its inputs are {len(parts)}")
    if len({rank_of(part) for part in parts}) > 1 or len({str(part.dtype) for part in parts}) > 1:
        builder.refuse("its inputs differ in rank or in dtype")


for _name in ("add", "subtract", "multiply", "average", "maximum", "minimum"):
    _merge(_name)


@rule("keras.layers.concatenate (inputs, axis=-1, name: _=None)")
def concatenate(builder: Builder, inputs: Value, axis: Value) -> Value:
    parts = [floating(builder, each) for each in sequence(inputs, "inputs")]
    _check_merged(builder, parts, "concatenate")
    return builder.op("concatenate", parts, axis=axis_of(axis, rank_of(parts[0])))


@rule("keras.layers.dot (inputs, axes, normalize=False, name: _=None)")
def dot_layer(builder: Builder, inputs: Value, axes: Value, normalize: Value) -> Value:
    parts = [floating(builder, each) for each in sequence(inputs, "inputs")]
    _check_merged(builder, parts, "subtract")
    over = list(axes) if isinstance(axes, list | tuple) else [axes, axes]
    over = [axis_of(axis, rank_of(part), "axes") for axis, part in zip(over, parts, strict=False)]
    if flag(normalize, "normalize"):
        parts = [l2_normalize(builder, part, axis) for part, axis in zip(parts, over, strict=False)]
    return batch_dot(builder, *parts, over)
