"""How the calls of a flat graph are made again: as a graph with the same weights, or at once in float64."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from converters.deploy.flat import Call
from converters.deploy.forms import Weigh
from converters.deploy.formula import Array, Values
from converters.deploy.layout import last_config
from converters.twin import recast

__all__ = ["Maker", "SharedMaker", "TwinMaker", "own_values"]


def own_values(weight: Any) -> Array:
    """A variable's own value in float64."""
    return np.asarray(weight, np.float64)


class Maker(Protocol):
    """What `Wiring` makes calls with."""

    def make(self, call: Call, args: Any, kwargs: Any, *, last: bool = False) -> Any:
        """What a call gives for other arguments; with `last`, of a channels-first layer made channels last."""
        ...

    def weigh(self, name: str) -> Weigh:
        """What the layers of the rewritten part `name` are made with."""
        ...


class SharedMaker:
    """Calls the model's own layers on symbolic tensors, without a trace in the model they belong to.

    Keras writes every call into the layer that is called. So what is called is a second object with the layer's state,
    its variables included, and a call list of its own. Nothing is copied, and a layer whose config does not hold all of
    it stays what it is.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, bool], Any] = {}
        self._names: set[str] = set()

    def make(self, call: Call, args: Any, kwargs: Any, *, last: bool = False) -> Any:
        key = id(call.operation), last
        if key not in self._made:
            name = self._free(call.path.split(" (call ")[0].replace("/", "_"))
            if last:
                config = last_config(call, {**call.operation.get_config(), "name": name})
                self._made[key] = _copied(call.operation, config, tuple(args[0].shape), own_values)
            else:
                self._made[key] = _second(call.operation, name)
        return self._made[key](*args, **kwargs)

    def weigh(self, name: str) -> Weigh:
        return Weigh(own_values, "float32", self._free(name.replace("/", "_").replace(" ", "_").translate(_PLAIN)))

    def name_apart(self, outputs: Sequence[Any]) -> None:
        """Give every operation of the graph behind `outputs` a name of its own, since a model must not have two of one.

        What the rewritten parts are made of is named by Keras, which does not know the names in the model (a model that
        was read from a file brings its `concatenate` with it). Operations of the model and its inputs keep theirs.
        """
        operations = _operations(outputs)
        own = {id(each) for each in self._made.values()}
        kept = [each for each in operations if id(each) in own or not each._inbound_nodes[0].input_tensors]
        taken = {each.name for each in kept}
        for each in operations:
            if any(each is other for other in kept):
                continue
            name, count = each.name, 1
            while each.name in taken:
                each.name, count = f"{name}_{count}", count + 1
            taken.add(each.name)

    def _free(self, name: str) -> str:
        free, count = name, 1
        while free in self._names:
            free, count = f"{name}_{count}", count + 1
        self._names.add(free)
        return free


_PLAIN = str.maketrans("", "", "()")


class TwinMaker:
    """Runs calls at once on arrays, by float64 copies of layers, each made once.

    values: gives the weights; a layer's own by default.
    """

    def __init__(self, values: Values = own_values) -> None:
        self._values = values
        self._parts: dict[str, Weigh] = {}
        self._made: dict[tuple[int, bool], Any] = {}

    def make(self, call: Call, args: Any, kwargs: Any, *, last: bool = False) -> Any:
        import keras

        operation = call.operation
        if not args and len(kwargs) == 1:  # called by the name of its argument
            args, kwargs = tuple(kwargs.values()), {}
        if not isinstance(operation, keras.layers.Layer):
            # `call` and not the operation itself: that would write a node into the model's graph if it were symbolic.
            return args[0] if call.kind == "ops.Cast" else operation.call(*args, **kwargs)
        key = id(operation), last
        if key not in self._made:
            config = recast(operation.get_config(), "float64")
            config = last_config(call, config) if last else config
            shape = tuple(args[0].shape) if operation.weights else None
            self._made[key] = _copied(operation, config, shape, self._values)
        if "training" in inspect.signature(operation.call).parameters:
            kwargs = {**kwargs, "training": False}  # which Keras gives every layer of the model that is exported
        return self._made[key](*args, **kwargs)

    def weigh(self, name: str) -> Weigh:
        return self._parts.setdefault(name, Weigh(self._values, "float64"))


def _operations(outputs: Sequence[Any]) -> list[Any]:
    """All operations that symbolic tensors are computed by, each once, those behind the others last."""
    found: dict[int, Any] = {}
    todo = list(outputs)
    while todo:
        history = todo.pop()._keras_history
        if id(history.operation) not in found:
            found[id(history.operation)] = history.operation
            for node in history.operation._inbound_nodes:
                todo.extend(node.input_tensors)
    return list(found.values())


def _second(operation: Any, name: str) -> Any:
    made = object.__new__(type(operation))
    made.__dict__.update(operation.__dict__)
    made.__dict__.update(name=name, _inbound_nodes=[], _outbound_nodes=[])
    return made


def _copied(operation: Any, config: Mapping[str, Any], shape: Any, values: Values) -> Any:
    copy = type(operation).from_config(dict(config))
    if operation.weights:
        copy.build(shape)
        copy.set_weights([values(weight) for weight in operation.weights])
    return copy
