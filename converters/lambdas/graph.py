"""One functional model: its layers called in order of their inputs, as its config in a file says."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from converters.errors import ModelError
from converters.lambdas import drift
from converters.lambdas.archive import layer_name
from converters.lambdas.limits import line, show
from converters.lambdas.masked_steps import MaskedSteps
from converters.lambdas.nodes import LayerCall, TensorRef, layer_calls, map_refs, output_refs, refs
from converters.lambdas.stored import plain_value
from converters.lambdas.values import RefusedError

__all__ = ["Graph", "Part", "Path", "cannot_build", "single"]

Path = tuple[str, ...]


@dataclasses.dataclass
class Part:
    """A layer of the file and what was built for it.

    children: of a model or of a wrapper around one, in the file's order, which the weights have. kind: Functional,
    Sequential or Wrapper; empty for a plain layer. was: the class of a layer of the file that became another one, whose
    kernel the file holds with all places along its first axis.
    """

    name: str
    layer: Any
    children: list[Part] = dataclasses.field(default_factory=list)
    kind: str = ""
    was: str = ""


class Owner(Protocol):
    """What builds and calls single layers: `rebuild.Rebuilder`."""

    masked_steps: MaskedSteps

    def part(self, path: Path, entry: Mapping[str, Any]) -> Part | None: ...

    def call(
        self, path: Path, entry: Mapping[str, Any], made: Part | None, call: LayerCall
    ) -> tuple[Part | None, list[Any]]: ...


class Graph:
    """One functional model on its way from config to Keras."""

    def __init__(self, owner: Owner, config: Mapping[str, Any], path: Path) -> None:
        self.owner, self.config, self.path = owner, config, path
        self.entries: dict[str, dict[str, Any]] = {}
        for entry in config["layers"]:
            if (
                not isinstance(entry, dict)
                or not isinstance(entry.get("config"), dict | list)
                or not isinstance(entry.get("class_name"), str)
            ):
                raise ModelError(f"a layer of the model is no object with a class_name and a config: {show(entry)}")
            name = str(entry.get("name") or layer_name(entry))
            if name in self.entries:
                raise ModelError(f"two layers of the model are called {show(name)}")
            self.entries[name] = entry
        self.calls = {name: layer_calls(entry, self.entries) for name, entry in self.entries.items()}
        self.parts: dict[str, Part | None] = {}
        self.tensors: dict[tuple[str, int], list[Any]] = {}

    def build(self) -> Part:
        import keras

        if "input_layers" not in self.config or "output_layers" not in self.config:
            raise ModelError(
                f"model {show(self.config.get('name'))} does not say which layers are its inputs and outputs"
            )
        inputs, outputs = output_refs(self.config["input_layers"]), output_refs(self.config["output_layers"])
        outputs = map_refs(outputs, self._in_line)
        shifts = self._shifts(refs([inputs, outputs]))
        for name, entry in self.entries.items():
            self._make(name, entry)
        self._run(shifts)

        def tensor(ref: TensorRef) -> Any:
            made = self.tensors.get((ref.layer, max(ref.node - shifts.get(ref.layer, 0), 0)))
            if made is None or not 0 <= ref.index < len(made):
                raise ModelError(
                    f"the model's config refers to output {ref.index} of layer {show(ref.layer)}, which has none"
                )
            return made[ref.index]

        self.owner.masked_steps.check(tensor(ref) for ref in refs(outputs))
        called = self.config.get("name")
        extra = {} if self.config.get("trainable") is None else {"trainable": self.config["trainable"]}
        try:
            model = keras.Model(
                single(map_refs(inputs, tensor)), single(map_refs(outputs, tensor)), name=called, **extra
            )
        except (ValueError, TypeError, AttributeError) as error:
            raise cannot_build((*self.path, str(called)), error) from error
        return Part(str(called), model, [part for part in self.parts.values() if part], "Functional")

    def _make(self, name: str, entry: dict[str, Any]) -> None:
        import keras

        path = (*self.path, name)
        if entry.get("class_name") != "InputLayer":
            self.parts[name] = self.owner.part(path, entry)
            return
        config = entry["config"]
        shape = drift.input_shape(config) if isinstance(config, dict) else None
        if shape is None:
            raise ModelError(f"input {show(name)} of the model has no shape")
        if config.get("sparse") or config.get("ragged"):
            raise ModelError(f"input {show(name)} takes sparse or ragged tensors, which are not supported")
        try:
            made = keras.Input(batch_shape=shape, dtype=config.get("dtype"), name=name)
        except (ValueError, TypeError) as error:
            raise cannot_build(path, error) from error
        self.tensors[name, 0] = [made]

    def _in_line(self, ref: TensorRef) -> TensorRef:
        calls = self.calls.get(ref.layer, ())
        modern = any(not call.legacy for call in calls)
        counted = modern and self.entries[ref.layer].get("class_name") in ("Functional", "Model")
        return dataclasses.replace(ref, node=ref.node - 1) if counted else ref

    def _shifts(self, outer: Iterable[TensorRef]) -> dict[str, int]:
        """By how much a model's calls are counted too high: Keras 2 counts the one that built a nested model, too.

        Keras 3 does so for the outputs of the whole model only, which are brought in line here.
        """
        used: dict[str, set[int]] = {}
        inner = (ref for calls in self.calls.values() for call in calls for ref in refs([call.args, call.kwargs]))
        for ref in (*outer, *inner):
            used.setdefault(ref.layer, set()).add(ref.node)
        shifts = {}
        for name, nodes in used.items():
            count = len(self.calls.get(name, ())) or 1
            if name not in self.entries:
                raise ModelError(f"the model's config refers to layer {show(name)}, and there is none")
            shift = 1 if max(nodes) == count and 0 not in nodes else 0
            if min(nodes) < shift or max(nodes) - shift >= count:
                raise ModelError(f"layer {show(name)} is called {count} times, but call {max(nodes)} of it is used")
            shifts[name] = shift
        return shifts

    def _run(self, shifts: Mapping[str, int]) -> None:
        """Calls every layer once its inputs are there."""

        def key(ref: TensorRef) -> tuple[str, int]:
            return ref.layer, ref.node - shifts[ref.layer]

        waiting: dict[tuple[str, int], list[tuple[str, int]]] = {}
        missing: dict[tuple[str, int], int] = {}
        ready: deque[tuple[str, int]] = deque()
        refused = False
        for name, calls in self.calls.items():
            for index, call in enumerate(calls):
                needs = {key(ref) for ref in refs([call.args, call.kwargs])} - self.tensors.keys()
                missing[name, index] = len(needs)
                for need in needs:
                    waiting.setdefault(need, []).append((name, index))
                if not needs:
                    ready.append((name, index))
        while ready:
            name, index = ready.popleft()
            call = self._filled(self.calls[name][index], lambda ref: self.tensors[key(ref)][ref.index])
            path = (*self.path, name)
            try:
                self.parts[name], made = self.owner.call(path, self.entries[name], self.parts.get(name), call)
            except RefusedError:
                refused = True  # what comes after it cannot be tried; other branches can
                continue
            self.tensors[name, index] = made
            for other in waiting.get((name, index), ()):
                missing[other] -= 1
                if not missing[other]:
                    ready.append(other)
        left = [name for (name, _), count in missing.items() if count]
        if refused:
            raise RefusedError(f"model {show(self.config.get('name'))} holds what cannot be replaced")
        if left:
            raise ModelError(f"the layers {', '.join(map(show, left[:5]))} are called in a circle, or on nothing")

    def _filled(self, call: LayerCall, found: Callable[[TensorRef], Any]) -> LayerCall:
        try:
            if call.legacy:
                return LayerCall(map_refs(call.args, found), map_refs(dict(call.kwargs), found))
            kwargs = {name: _revive(value, found) for name, value in call.kwargs.items()}
            return LayerCall(tuple(_revive(value, found) for value in call.args), kwargs, legacy=False)
        except IndexError as error:
            raise ModelError("the model's config refers to an output that its layer does not have") from error


def _revive(value: Any, found: Callable[[TensorRef], Any]) -> Any:
    """A value of Keras 3's serialised arguments: references, nested lists and tuples, plain values."""
    if isinstance(value, TensorRef):
        return found(value)
    if isinstance(value, list):
        return [_revive(each, found) for each in value]
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__":
            return tuple(_revive(each, found) for each in value.get("config", {}).get("items", value.get("items", ())))
        if "class_name" in value:
            return plain_value(value)
        return {key: _revive(each, found) for key, each in value.items()}
    return value


def single(value: Any) -> Any:
    """The item of a list of one, else the value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def cannot_build(path: Path, error: Exception) -> ModelError:
    """What Keras said when it could not build or call a layer, in one line."""
    import keras

    lines = [each.strip() for each in str(error).splitlines() if each.strip()] or [type(error).__name__]
    cause = next(
        (each.partition(":")[2].strip() for each in lines if each.startswith("Exception encountered:")), lines[0]
    )
    return ModelError(f"layer {show('/'.join(path))} cannot be built by Keras {keras.__version__}: {line(cause, 300)}")
