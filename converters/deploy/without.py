"""A functional Keras model -> the same without its attention blocks: what attention costs is the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.deploy.blocks import Block
from converters.deploy.flat import Call, Flat, Tensor, flatten
from converters.deploy.recognise import recognise
from converters.errors import ModelError

__all__ = ["without_attention"]


def without_attention(model: Any) -> tuple[Any, tuple[Block, ...]]:
    """A new functional model in which each recognised block gives its input back, and the blocks that are gone.

    Weights are copied; the model itself is left as it is. Models inside it are opened.

    Raises:
        ModelError: it is not functional, has no attention block, or has a layer that cannot be copied.
    """
    import keras

    blocks = recognise(model).blocks
    if not blocks:
        raise ModelError(
            f"model {model.name!r} has no attention block that is recognised, so there is nothing to leave out"
        )
    # The blocks of a second flattening: the first one's tensors are of other identity.
    flat = flatten(model)
    known: dict[Tensor, Any] = {
        tensor: keras.Input(batch_shape=tensor.shape, dtype=tensor.keras.dtype, name=_input_name(tensor))
        for tensor in flat.inputs
    }
    cut = _cut(flat, blocks)
    copies: dict[int, Any] = {}
    for call in _needed(flat, cut):
        args, kwargs = _filled(call.args, cut, known), _filled(dict(call.kwargs), cut, known)
        made = keras.tree.flatten(_copy(call.operation, copies)(*args, **kwargs))
        if isinstance(call.operation, keras.layers.Layer) and call.operation.weights:
            copies[id(call.operation)].set_weights(call.operation.get_weights())
        known.update(zip(call.outputs, made, strict=True))
    values = {id(tensor.keras): known[tensor] for tensor in flat.inputs}
    inputs = keras.tree.map_structure(lambda tensor: values[id(tensor)], model.input)
    made_last = iter([_value(tensor, cut, known) for tensor in flat.outputs])
    outputs = keras.tree.map_structure(lambda tensor: next(made_last), model.output)
    rebuilt = keras.Model(inputs, outputs, name=f"{model.name}_without")
    return rebuilt, blocks


Cut = Mapping[Tensor, tuple[Tensor, bool]]
"""By the output of a block: its input, and whether that has its axes in another order."""


def _cut(flat: Flat, blocks: tuple[Block, ...]) -> Cut:
    """The blocks' ends among the tensors of `flat`, found by the KerasTensor and, within it, the place in the graph."""
    by_place = {(tensor.order, id(tensor.keras)): tensor for call in flat.calls for tensor in call.outputs}
    by_place |= {(-1, id(tensor.keras)): tensor for tensor in flat.inputs}
    return {
        by_place[block.output.order, id(block.output.keras)]: (
            by_place[block.input.order, id(block.input.keras)],
            block.data_format != block.output_format,
        )
        for block in blocks
    }


def _needed(flat: Flat, cut: Cut) -> list[Call]:
    """The calls that the outputs still need, in order."""
    found: set[Call] = set()
    todo = list(flat.outputs)
    while todo:
        tensor = todo.pop()
        if tensor in cut:
            todo.append(cut[tensor][0])
        elif tensor.call is not None and tensor.call not in found:
            found.add(tensor.call)
            todo.extend(tensor.call.inputs)
    return [call for call in flat.calls if call in found]


def _value(tensor: Tensor, cut: Cut, known: Mapping[Tensor, Any]) -> Any:
    import keras

    if tensor not in cut:
        return known[tensor]
    before, turned = cut[tensor]
    value = _value(before, cut, known)
    if not turned:
        return value
    last = tensor.shape[-1] == before.shape[1]
    return keras.ops.transpose(value, (0, 2, 3, 1) if last else (0, 3, 1, 2))


def _filled(value: Any, cut: Cut, known: Mapping[Tensor, Any]) -> Any:
    if isinstance(value, Tensor):
        return _value(value, cut, known)
    if isinstance(value, list | tuple):
        return type(value)(_filled(each, cut, known) for each in value)
    if isinstance(value, dict):
        return {key: _filled(each, cut, known) for key, each in value.items()}
    return value


def _copy(operation: Any, copies: dict[int, Any]) -> Any:
    if id(operation) not in copies:
        try:
            copies[id(operation)] = type(operation).from_config(operation.get_config())
        except Exception as error:  # layers raise many kinds for what their config does not hold
            kind = type(operation).__name__
            raise ModelError(
                f"{kind} {operation.name!r} cannot be made again from its configuration: {error}"
            ) from error
    return copies[id(operation)]


def _input_name(tensor: Tensor) -> str:
    return str(tensor.keras._keras_history.operation.name)
