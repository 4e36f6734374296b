"""How a functional model's config says which layer is called on what, in the forms of Keras 2 and Keras 3."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from converters.errors import ModelError
from converters.lambdas.limits import show

__all__ = ["LayerCall", "TensorRef", "layer_calls", "map_refs", "output_refs", "refs"]


@dataclasses.dataclass(frozen=True)
class TensorRef:
    """The index-th output of the node-th call of a layer."""

    layer: str
    node: int
    index: int


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer; args and kwargs hold TensorRefs, nested as they were given.

    legacy: of Keras 2, whose arguments are JSON; else those of Keras 3, still serialised.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    legacy: bool = True


def layer_calls(layer: Mapping[str, Any], known: Collection[str]) -> tuple[LayerCall, ...]:
    """The calls of a layer, by its dict in a functional model's config; known: every layer's name.

    Raises:
        ModelError: a call is written in no form that Keras has used.
    """
    nodes = layer.get("inbound_nodes") or []
    if not isinstance(nodes, list):
        raise ModelError(f"layer {show(layer.get('name'))}: its inbound_nodes are no list")
    return tuple(_call(node, known, layer) for node in nodes)


def _call(node: Any, known: Collection[str], layer: Mapping[str, Any]) -> LayerCall:
    if isinstance(node, dict) and isinstance(node.get("args"), list) and isinstance(node.get("kwargs"), dict):
        kwargs = {str(key): _modern(value) for key, value in node["kwargs"].items()}
        return LayerCall(tuple(_modern(value) for value in node["args"]), kwargs, legacy=False)
    if isinstance(node, dict):  # Keras 2, a call on a dict of tensors
        return LayerCall(({key: _one(value, known, layer)[0] for key, value in node.items()},), {})
    if isinstance(node, list) and node and isinstance(node[0], str):
        first, kwargs = _one(node, known, layer)
        return LayerCall((first,), kwargs)
    if isinstance(node, list) and node:
        parts = [_one(part, known, layer) for part in node]
        kwargs = {key: value for _, given in parts for key, value in given.items()}
        tensors = [tensor for tensor, _ in parts]
        # A list of one is a plain argument to a layer, but a list to a TensorFlow function: `raw` tells them apart.
        return LayerCall((tensors[0] if len(tensors) == 1 else tensors,), kwargs)
    raise ModelError(f"layer {show(layer.get('name'))}: a call of it is written in an unknown form: {show(node)}")


def _one(part: Any, known: Collection[str], layer: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """One input of a Keras 2 call, and the call's keyword arguments, which stand beside each input."""
    if isinstance(part, list) and part and isinstance(part[0], list):  # nested lists of inputs
        return [_one(each, known, layer)[0] for each in part], {}
    if not isinstance(part, list) or len(part) not in (3, 4) or not isinstance(part[0], str):
        raise ModelError(f"layer {show(layer.get('name'))}: an input of it is written in an unknown form: {show(part)}")
    kwargs = part[3] if len(part) == 4 and isinstance(part[3], dict) else {}
    named = {str(key): _legacy(value, known) for key, value in kwargs.items()}
    if part[0] == "_CONSTANT_VALUE":
        return part[2], named
    ref = _legacy(part[:3], known)
    if not isinstance(ref, TensorRef):
        raise ModelError(f"layer {show(layer.get('name'))} is called on {show(part[0])}, and there is no such layer")
    return ref, named


def _legacy(value: Any, known: Collection[str]) -> Any:
    """A value of Keras 2's keyword arguments; a tensor is written as [layer, node, index]."""
    if isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str):
            if value[0] in known and type(value[1]) is int and type(value[2]) is int:
                return TensorRef(value[0], value[1], value[2])
            if value[0] == "_CONSTANT_VALUE":
                return value[2]
        return [_legacy(each, known) for each in value]
    if isinstance(value, dict):
        return {key: _legacy(each, known) for key, each in value.items()}
    return value


def _modern(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__" and isinstance(value.get("config"), dict):
            history = value["config"].get("keras_history")
            if isinstance(history, list) and [type(each) for each in history] == [str, int, int]:
                return TensorRef(*history)
            raise ModelError(f"a tensor in the model's config has no origin: {show(value)}")
        return {key: _modern(each) for key, each in value.items()}
    return [_modern(each) for each in value] if isinstance(value, list) else value


def output_refs(value: Any) -> Any:
    """`input_layers` or `output_layers` of a model's config with TensorRefs in place of [layer, node, index].

    Raises:
        ModelError: it is written in no form that Keras has used.
    """
    if isinstance(value, dict):
        return {key: output_refs(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        if len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is int and type(value[2]) is int:
            return TensorRef(value[0], value[1], value[2])
        return [output_refs(each) for each in value]
    raise ModelError(f"the model's inputs or outputs are written in an unknown form: {show(value)}")


def map_refs(value: Any, found: Callable[[TensorRef], Any]) -> Any:
    """The value with what `found` gives in place of each TensorRef."""
    if isinstance(value, TensorRef):
        return found(value)
    if isinstance(value, dict):
        return {key: map_refs(each, found) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map_refs(each, found) for each in value)
    return [map_refs(each, found) for each in value] if isinstance(value, list) else value


def refs(value: Any) -> Iterator[TensorRef]:
    """Every TensorRef in a value."""
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, dict | Mapping):
        for each in value.values():
            yield from refs(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from refs(each)
