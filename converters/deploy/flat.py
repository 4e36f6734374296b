"""A functional Keras model -> one flat list of calls, the models inside it included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from converters.errors import ModelError

__all__ = ["Call", "Flat", "Tensor", "flatten", "kind_of"]


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """One value of the flat graph.

    keras: the KerasTensor it first was. call: what makes it, None for an input of the model. shape: with the batch,
    None where open. dtype: by its name in Keras.
    """

    keras: Any
    call: Call | None

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.keras.shape)

    @property
    def dtype(self) -> str:
        return str(self.keras.dtype)

    @property
    def order(self) -> int:
        """The place of its call in the graph; -1 for an input."""
        return -1 if self.call is None else self.call.order


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer or of an operation of `keras.ops`.

    path: the name, behind those of the models it stands in and `/`; a layer that is called again has ` (call 2)` and so
    on behind it. args, kwargs: as given, with `Tensor` in the place of KerasTensors. order: its place in the graph.
    outputs: is filled when it is made.
    """

    operation: Any
    path: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    order: int
    outputs: list[Tensor] = dataclasses.field(default_factory=list)

    @property
    def inputs(self) -> list[Tensor]:
        """Its tensors, in the order of its arguments."""
        return list(_tensors((self.args, dict(self.kwargs))))

    @property
    def kind(self) -> str:
        return kind_of(self.operation)


@dataclasses.dataclass(frozen=True, eq=False)
class Flat:
    """A model as calls in an order in which they can run. consumers: the calls that take a tensor, by its identity."""

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    consumers: Mapping[Tensor, tuple[Call, ...]]


def kind_of(operation: Any) -> str:
    """`layers.Dense`, `ops.Mean`, `cbam_export>CBAM`: what Keras's own class or ours it exactly is; else ``.

    A subclass may compute anything, so it is of no kind. `activations.ReLU` is what `keras.activations.relu(x)` makes.
    """
    import keras

    cls = type(operation)
    registered = keras.saving.get_registered_name(cls)
    if registered.startswith("cbam_export>"):
        return str(registered)
    module = str(cls.__module__)
    for part in ("layers", "ops", "activations"):
        if module.startswith(f"keras.src.{part}."):
            return f"{part}.{cls.__name__}"
    return ""


def flatten(model: Any) -> Flat:
    """The calls of a functional or built Sequential model; models inside it are opened, at each of their calls.

    Raises:
        ModelError: the model is neither, so its calls are Python code.
    """
    import keras

    graph = _functional(model)
    if graph is None:
        raise ModelError(f"model {getattr(model, 'name', model)!r} is not functional: its layers are called by code")
    maker = _Flattener()
    inputs = {id(tensor): Tensor(tensor, None) for tensor in keras.tree.flatten(graph.inputs)}
    known = maker.graph(graph, dict(inputs), "")
    consumers: dict[Tensor, list[Call]] = {}
    for call in maker.calls:
        for tensor in dict.fromkeys(call.inputs):
            consumers.setdefault(tensor, []).append(call)
    outputs = tuple(known[id(tensor)] for tensor in keras.tree.flatten(graph.outputs))
    taken = {tensor: tuple(calls) for tensor, calls in consumers.items()}
    return Flat(tuple(maker.calls), tuple(inputs.values()), outputs, taken)


class _Flattener:
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._times: dict[str, int] = {}

    def graph(self, model: Any, known: dict[int, Tensor], prefix: str) -> dict[int, Tensor]:
        """Add the calls of one model, whose inputs are `known` by the id of their KerasTensor; `known`, completed."""
        import keras

        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                given = node.arguments
                # A tensor that the model was not given is one of another graph; it stays what it is.
                args, kwargs = keras.tree.map_structure(
                    lambda value: known.get(id(value), value), (given.args, dict(given.kwargs))
                )
                outputs = keras.tree.flatten(node.outputs)
                for tensor, made in zip(
                    outputs, self._call(node.operation, args, kwargs, outputs, prefix), strict=True
                ):
                    known[id(tensor)] = made
        return known

    def _call(self, operation: Any, args: Any, kwargs: Any, outputs: list[Any], prefix: str) -> list[Tensor]:
        import keras

        path = f"{prefix}{operation.name}"
        self._times[path] = self._times.get(path, 0) + 1
        if self._times[path] > 1:
            path = f"{path} (call {self._times[path]})"
        inner = _functional(operation)
        given = list(_tensors((args, kwargs)))
        plain = not kwargs.get("training") and kwargs.get("mask") is None
        if inner is not None and plain and len(given) == len(inner.inputs):
            own = keras.tree.flatten(inner.inputs)
            known = self.graph(inner, dict(zip(map(id, own), given, strict=True)), f"{path}/")
            return [known[id(tensor)] for tensor in keras.tree.flatten(inner.outputs)]
        call = Call(operation, path, tuple(args), kwargs, len(self.calls))
        call.outputs.extend(Tensor(tensor, call) for tensor in outputs)
        self.calls.append(call)
        return call.outputs


def _functional(model: Any) -> Any:
    """The functional graph of a model that runs nothing else, or None."""
    import keras

    if isinstance(model, keras.Sequential):
        if type(model).call is not keras.Sequential.call or not model.built:
            return None
        return getattr(model, "_functional", None)
    image = getattr(model, "_nodes_by_depth", None)
    plain = isinstance(model, keras.Model) and type(model).call.__module__ == "keras.src.models.functional"
    return model if plain and image is not None else None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
