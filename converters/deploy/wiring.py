"""A flat graph, made again with some of its parts replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from converters.deploy.flat import Call, Flat, Tensor
from converters.deploy.forms import Weigh
from converters.deploy.layout import PERMUTED, is_channels_first, passes_layout
from converters.deploy.makers import Maker

__all__ = ["Replacement", "Wiring", "filled"]


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """Another way to make one tensor of the graph.

    name: of the part that is replaced. source, output: the tensors of the graph between which it stands. build: from
    the source's value and what to make layers with. maps: both are maps of rank 4, which `build` takes and gives
    channels last; `source_first`, `output_first`: the graph has them channels first.
    """

    name: str
    source: Tensor
    output: Tensor
    build: Callable[[Any, Weigh], Any]
    maps: bool = False
    source_first: bool = False
    output_first: bool = False


class Wiring:
    """The graph of `flat` with `replacements`.

    Args:
        turn: run channels-first layers channels last; a map then stays so until something needs it as it was.
        watch: tensors whose values are kept in `seen` when it is run, each in its own layout.
    """

    def __init__(
        self,
        flat: Flat,
        replacements: Sequence[Replacement] = (),
        *,
        turn: bool = False,
        watch: Sequence[Tensor] = (),
    ) -> None:
        self._flat = flat
        self._by_output: Mapping[Tensor, Replacement] = {each.output: each for each in replacements}
        self._turn = turn
        self._watch = watch
        self._needed = self._find_needed()
        self.seen: dict[Tensor, Any] = {}

    def run(self, inputs: Sequence[Any], maker: Maker) -> list[Any]:
        """The outputs, in the order of the model's own, for one value of each input."""
        known: dict[Tensor, tuple[Any, bool]] = {
            tensor: (value, False) for tensor, value in zip(self._flat.inputs, inputs, strict=True)
        }
        for call in self._flat.calls:
            for output in call.outputs:
                if output not in self._needed or output in known:
                    continue
                replacement = self._by_output.get(output)
                if replacement is not None:
                    known[output] = self._replaced(replacement, known, maker)
                    continue
                made, turned = self._made(call, known, maker)
                known.update((each, (value, turned)) for each, value in zip(call.outputs, made, strict=True))
        self.seen = {tensor: _upright(known[tensor]) for tensor in self._watch}
        return [_upright(known[tensor]) for tensor in self._flat.outputs]

    def _find_needed(self) -> set[Tensor]:
        needed: set[Tensor] = set()
        todo = [*self._flat.outputs, *self._watch]
        while todo:
            tensor = todo.pop()
            if tensor in needed:
                continue
            needed.add(tensor)
            if tensor in self._by_output:
                todo.append(self._by_output[tensor].source)
            elif tensor.call is not None:
                todo.extend(tensor.call.inputs)
        return needed

    def _replaced(self, each: Replacement, known: Mapping[Tensor, tuple[Any, bool]], maker: Maker) -> tuple[Any, bool]:
        value, turned = known[each.source]
        if not each.maps:
            return each.build(_upright((value, turned)), maker.weigh(each.name)), False
        if not (each.source_first and turned):
            value = _permuted(value, "last") if each.source_first else _upright((value, turned))
        return each.build(value, maker.weigh(each.name)), each.output_first

    def _made(self, call: Call, known: Mapping[Tensor, tuple[Any, bool]], maker: Maker) -> tuple[list[Any], bool]:
        import keras

        last = self._turn and is_channels_first(call)
        follow = self._turn and passes_layout(call) and any(known[tensor][1] for tensor in call.inputs)

        def value(tensor: Tensor) -> Any:
            if last or follow:
                given, turned = known[tensor]
                return given if turned else _permuted(given, "last")
            return _upright(known[tensor])

        args, kwargs = filled(call.args, value), filled(dict(call.kwargs), value)
        made = keras.tree.flatten(maker.make(call, args, kwargs, last=last))
        return made, (last or follow) and len(call.outputs[0].shape) == 4


def _permuted(value: Any, to: str) -> Any:
    import keras

    return keras.ops.transpose(value, PERMUTED[to])


def _upright(carried: tuple[Any, bool]) -> Any:
    value, turned = carried
    return _permuted(value, "first") if turned else value


def filled(value: Any, of: Callable[[Tensor], Any]) -> Any:
    """Arguments of a call with every `Tensor` replaced by what it stands for."""
    if isinstance(value, Tensor):
        return of(value)
    if isinstance(value, list | tuple):
        return type(value)(filled(each, of) for each in value)
    if isinstance(value, dict):
        return {key: filled(each, of) for key, each in value.items()}
    return value
