"""Operations of a traced graph -> the Keras layers, CBAM blocks and gates that they belong to."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from converters.errors import ModelError
from exporter.parity.layers import Gate

_NUMBER: Final = re.compile(r"_\d+$")


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """Names by the name of an operation.

    Attributes:
        layers: paths of layers.
        blocks: names of CBAM blocks.
        gates: `channel` or `spatial`, for what computes a block's gate.
    """

    layers: Mapping[str, str]
    blocks: Mapping[str, str]
    gates: Mapping[str, Gate]

    def of(self, operation: str) -> tuple[str, str, Gate]:
        """Layer, block and gate. What no layer is known of is named by TensorFlow's scope."""
        bare = operation.replace("StatefulPartitionedCall/", "").replace("PartitionedCall/", "")
        layer = self.layers.get(operation) or bare.rpartition("/")[0] or bare
        return layer, self.blocks.get(operation, ""), self.gates.get(operation, "")


def names_of(traced: Any) -> Named:
    """The names for the graph of a trace (`converters.trace.TracedModel`); of a SavedModel, only TensorFlow's own."""
    model = traced.traced.model
    operations = list(traced.function.graph.get_operations())
    if model is None:
        return Named({}, {}, {})
    calls = _calls(traced, operations)
    if calls is None:
        return Named({op.name: found for op in operations if (found := _by_scope(model, op.name))}, {}, {})
    layers = {name: _inside(call.operation, call.path, name) for name, call in calls.items()}
    blocks, gates = _blocks(model, calls, traced.function.graph)
    return Named(layers, blocks, gates)


def _calls(traced: Any, operations: Sequence[Any]) -> dict[str, Any] | None:
    """The call of the flat model that made each operation; None where the model's calls are Python code.

    The calls are made once more, one by one, in the order in which the model makes them: the n-th operation that comes
    of it is the n-th of the graph.
    """
    import tensorflow as tf

    from converters.deploy.flat import flatten

    try:
        flat = flatten(traced.traced.model)
    except ModelError:
        return None
    makers: list[Any] = []
    types: list[str] = []

    def again(*tensors: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        known = dict(zip(flat.inputs, tensors, strict=True))
        for call in flat.calls:
            before = len(graph.get_operations())
            known.update(zip(call.outputs, _results(call, known), strict=True))
            made = graph.get_operations()[before:]
            makers.extend([call] * len(made))
            types.extend(op.type for op in made)
        return [known[tensor] for tensor in flat.outputs]

    signature = [tf.TensorSpec(spec.shape, spec.dtype) for spec in traced.inputs]
    try:
        tf.function(again, autograph=False).get_concrete_function(*signature)
    except Exception:  # a layer that cannot be called alone: the model's own scopes are all there is
        return None
    return _aligned(operations, types, makers)


def _results(call: Any, known: Mapping[Any, Any]) -> list[Any]:
    import keras

    from converters.deploy.flat import Tensor

    def fill(value: Any) -> Any:
        if isinstance(value, Tensor):
            return known[value]
        if isinstance(value, list | tuple):
            return type(value)(fill(each) for each in value)
        return {key: fill(each) for key, each in value.items()} if isinstance(value, dict) else value

    return list(keras.tree.flatten(call.operation(*fill(call.args), **fill(dict(call.kwargs)))))


# What tracing puts in beside the model's own operations: inputs, variables that it captures, copies.
_BESIDE: Final = frozenset({"Placeholder", "ReadVariableOp", "VarHandleOp", "Identity", "NoOp", "Const", "Cast"})


def _aligned(operations: Sequence[Any], types: Sequence[str], makers: Sequence[Any]) -> dict[str, Any] | None:
    own = [op for op in operations if op.type not in _BESIDE]
    again = [(kind, call) for kind, call in zip(types, makers, strict=True) if kind not in _BESIDE]
    if [op.type for op in own] != [kind for kind, _ in again]:
        return None
    return {op.name: call for op, (_, call) in zip(own, again, strict=True)}


def _inside(operation: Any, path: str, name: str) -> str:
    """The path of the sublayer that an operation of a layer is in: `attention/channel/squeeze`."""
    scopes = name.split("/")[:-1]
    own = next((place for place, scope in enumerate(scopes) if _is(scope, operation.name)), None)
    return path if own is None else "/".join([path, *_descend(operation, scopes[own + 1 :])])


def _by_scope(model: Any, name: str) -> str:
    scopes = name.split("/")[:-1]
    return "/".join(_descend(model, scopes[1:] if scopes and _is(scopes[0], model.name) else scopes))


def _descend(layer: Any, scopes: Sequence[str]) -> Iterator[str]:
    for scope in scopes:
        inner = getattr(layer, "_layers", ())
        found = next((each for each in inner if each.name == scope), None)
        found = found or next((each for each in inner if _is(scope, each.name)), None)
        if found is None:
            return
        yield found.name
        layer = found


def _is(scope: str, name: str) -> bool:
    """Whether a scope is a layer's; TensorFlow numbers scopes to keep them apart."""
    return scope == name or _NUMBER.sub("", scope) == name


def _blocks(model: Any, calls: Mapping[str, Any], graph: Any) -> tuple[dict[str, str], dict[str, Gate]]:
    from converters.deploy.recognise import recognise

    blocks: dict[str, str] = {}
    gates: dict[str, Gate] = {}
    for block in recognise(model).blocks:
        paths = {call.path for call in block.calls}
        inside = [name for name, call in calls.items() if call.path in paths]
        blocks |= dict.fromkeys(inside, block.name)
        for name in inside:
            gates |= _gates(graph.get_operation_by_name(name), block, set(inside))
    return blocks, gates


def _gates(product: Any, block: Any, inside: set[str]) -> dict[str, Gate]:
    """The gates among the factors of a product of a block, by their shape: (N, 1, 1, C) or (N, H, W, 1)."""
    found: dict[str, Gate] = {}
    if product.type != "Mul" or not all(_varies(tensor.op) for tensor in product.inputs):
        return found
    place = 3 if block.data_format == "channels_last" else 1
    for tensor in product.inputs:
        shape = tensor.shape.as_list()
        maker = _maker(tensor.op)
        if len(shape) != 4 or maker not in inside:
            continue
        channels = shape[place]
        pixels = math.prod(size or 0 for axis, size in enumerate(shape) if axis not in (0, place))
        if block.channel is not None and channels == block.channels and pixels == 1 and (block.height or 2) > 1:
            found[maker] = "channel"
        elif block.spatial is not None and channels == 1 and pixels > 1 and block.channels > 1:
            found[maker] = "spatial"
    return found


_MOVED: Final = frozenset({"Identity", "Reshape", "ExpandDims", "Squeeze", "Transpose"})


def _maker(op: Any) -> str:
    """The operation whose numbers an operation's result holds."""
    while op.type in _MOVED:
        op = op.inputs[0].op
    return str(op.name)


def _varies(op: Any) -> bool:
    """Whether it is computed from more than weights, which are read as variables or constants."""
    seen, stack = set(), [op]
    while stack:
        each = stack.pop()
        if each.name in seen:
            continue
        seen.add(each.name)
        if each.type == "Placeholder" and str(each.outputs[0].dtype.name) != "resource":
            return True
        stack += [tensor.op for tensor in each.inputs]
    return False
