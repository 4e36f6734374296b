"""A Keras model -> an equal one that its target runs faster, proved on the spot.

Each recognised CBAM block is computed in the form that was measured to be the fastest for a map of its size
(`targets`, `rules`), layers that convert badly are put right, and channels-first layers are run channels last. The
rewritten graph is then run in float64 beside the model itself (`equality`): a part that differs is left as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from converters.deploy.blocks import Block
from converters.deploy.equality import Difference, compare_block, compare_fragment, compare_graph, examples
from converters.deploy.flat import Call, Flat, flatten
from converters.deploy.forms import Form, Weigh, build
from converters.deploy.fragment import Fragment, cannot
from converters.deploy.layout import is_channels_first
from converters.deploy.makers import SharedMaker
from converters.deploy.recognise import blocks_of
from converters.deploy.rules import BLOCK_RULES, CALL_RULES
from converters.deploy.targets import PREFERENCES, Preference, Target
from converters.deploy.winograd import RULE as WINOGRAD
from converters.deploy.winograd import Convolution, convolutions
from converters.deploy.wiring import Replacement, Wiring
from converters.errors import ModelError
from converters.twin import computes_in

__all__ = ["Lowered", "Refusal", "Rewrite", "Target", "lower"]

FRAGMENT: Final = "onnx-fragment"
"""The rule's name: the whole block is written as ONNX nodes (`fragment`) in the place of all other rules."""

TURNED: Final = "channels-last"
"""The rule's name: all channels-first layers are run channels last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rewrite:
    """One part of a model that was rewritten.

    Attributes:
        name: of the block or layer.
        rules: what was done to it.
        error: largest difference in float64 between it and what it replaces, relative to the largest result.
    """

    name: str
    rules: tuple[str, ...]
    error: float

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "rules": list(self.rules), "error": self.error}


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that the target prefers for a block or layer, and why it was not applied."""

    name: str
    rule: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Lowered:
    """A model for one target.

    Attributes:
        model: the given one itself where nothing was rewritten.
        rewrites: what was done, in the order of the graph.
        refused: rules that would have been faster.
        error: as `Rewrite.error`, of the whole model.
        reason: why nothing was tried at all, or ``.
        fragments: for ONNX Runtime, blocks that the ONNX converter writes in a form of their own, by the name that
            their marks in `model` begin with.
    """

    model: Any
    target: Target
    rewrites: tuple[Rewrite, ...]
    refused: tuple[Refusal, ...]
    error: float = 0.0
    reason: str = ""
    fragments: Mapping[str, Fragment] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`target`, `rewrites`, `refused`, `error`, `reason`."""
        return {
            "target": str(self.target),
            "rewrites": [each.to_json() for each in self.rewrites],
            "refused": [each.to_json() for each in self.refused],
            "error": self.error,
            "reason": self.reason or None,
        }

    @property
    def blocks(self) -> bool:
        """Whether a CBAM block is among what was rewritten."""
        other = {WINOGRAD, TURNED, *(rule.name for rule in CALL_RULES)}
        return any(set(each.rules) - other for each in self.rewrites)

    def summary(self) -> dict[str, Any]:
        """The part of `to_json` that is the same on every machine: the target, and by name the rules applied."""
        return {"target": str(self.target), "rewrites": {each.name: list(each.rules) for each in self.rewrites}}


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """A replacement with the rules that made it."""

    replacement: Replacement
    rules: tuple[str, ...]
    block: Block | None = None

    def refused(self, reason: str) -> list[Refusal]:
        """Each of its rules, refused for one reason."""
        return [Refusal(self.replacement.name, rule, reason) for rule in self.rules]


def lower(
    model: Any,
    target: Target | str,
    *,
    batch: int | None = None,
    samples: Sequence[Sequence[Any]] = (),
    without: Collection[str] = (),
    left: Collection[str] = (),
) -> Lowered:
    """Rewrite a functional or built Sequential model for a target. The model is not changed; weights are shared.

    Args:
        model: it computes in float32; models inside it are opened, so that the result is one flat model.
        target: the runtime and arithmetic to be fast in.
        batch: the number of examples of a call, if that is fixed.
        samples: what the proof runs besides random numbers: for each, one array for each of the model's inputs.
        without: names of rules for convolutions and calls that are not to be applied.
        left: names of blocks and layers that are left as they are.

    Raises:
        ModelError: the model is not functional, computes in another type, or has no float64 twin to prove anything by.
    """
    target = Target(target)
    preference = PREFERENCES[target]
    types = computes_in(model)
    if types != {"float32"}:
        raise ModelError(f"model {model.name!r} computes in {' and '.join(sorted(types))}; lower its float32 twin")
    flat = flatten(model)
    fragments: dict[str, Fragment] = {}
    parts, refused = _plan(flat, preference, _Fragments(batch, fragments) if target is Target.ONNXRUNTIME else None)
    parts = [part for part in parts if not set(part.rules) & set(without) and part.replacement.name not in left]
    turned = preference.channels_last and any(map(is_channels_first, flat.calls))
    if not parts and not turned:
        return Lowered(model, target, (), tuple(refused))
    kept: list[tuple[_Part, float]] = []
    for part in parts:
        alone = compare_block(part.block, part.replacement) if part.block is not None else Difference(0.0)
        if alone.reason:
            refused.extend(part.refused(alone.reason))
        else:
            kept.append((part, alone.error))
    inputs = examples(flat, samples)
    compared = compare_graph(flat, [part.replacement for part, _ in kept], inputs, turn=turned)
    wrong = [(part, real.reason) for (part, _), real in zip(kept, compared.parts, strict=True) if real.reason]
    rewrites = [
        Rewrite(part.replacement.name, part.rules, max(error, real.error))
        for (part, error), real in zip(kept, compared.parts, strict=True)
        if not real.reason
    ]
    if wrong:  # what is left is proved anew without them
        refused.extend(each for part, reason in wrong for each in part.refused(reason))
        gone = [part for part, _ in wrong]
        kept = [(part, error) for part, error in kept if part not in gone]
        compared = compare_graph(flat, [part.replacement for part, _ in kept], inputs, turn=turned)
    if compared.reason:
        refused.extend(each for part, _ in kept for each in part.refused(compared.reason))
        return Lowered(model, target, (), tuple(refused))
    if turned:
        rewrites.append(Rewrite(model.name, (TURNED,), compared.error))
    made = _rebuilt(model, flat, [part.replacement for part, _ in kept], turned, batch)
    return Lowered(made, target, tuple(rewrites), tuple(refused), compared.error, fragments=fragments)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fragments:
    """Where fragments are wanted: for calls of `batch` examples. made: is filled when the lowered model is made."""

    batch: int | None
    made: dict[str, Fragment]


def _plan(flat: Flat, preference: Preference, fragments: _Fragments | None) -> tuple[list[_Part], list[Refusal]]:
    parts, refused = [], []
    inside: set[Call] = set()
    for block in blocks_of(flat).blocks:
        inside.update(block.calls)
        form, applied = Form(), []
        for rule in BLOCK_RULES:
            if not rule.wanted(block, preference):
                continue
            reason = rule.check(block, preference)
            if reason:
                refused.append(Refusal(block.name, rule.name, reason))
            else:
                form = rule.apply(form, block, preference)
                applied.append(rule.name)
        made = None
        if fragments is not None:
            reason = cannot(block, fragments.batch) or compare_fragment(block).reason
            if reason:
                refused.append(Refusal(block.name, FRAGMENT, reason))
            else:
                made, applied = fragments.made, [FRAGMENT]
        parts.append(_Part(_of_block(block, form, made), tuple(applied), block))
    if preference.winograd_from is not None:
        for convolution in convolutions(flat, preference.winograd_from):
            if not inside.intersection(convolution.calls):
                inside.update(convolution.calls)
                parts.append(_of_convolution(convolution))
    for call in flat.calls:
        for each in CALL_RULES:
            calls = each.find(flat, call, preference)
            if not calls or inside.intersection(calls):
                continue
            reason = each.check(call)
            if reason:
                refused.append(Refusal(call.path, each.name, reason))
                continue

            def build_call(x: Any, weigh: Weigh, calls: Any = calls, rule: Any = each) -> Any:
                return rule.build(calls, x, weigh)

            source = calls[0].inputs[0]
            parts.append(_Part(Replacement(call.path, source, call.outputs[0], build_call), (each.name,)))
    return parts, refused


def _of_convolution(each: Convolution) -> _Part:
    first = each.channels_first
    replacement = Replacement(
        each.conv.path,
        each.conv.inputs[0],
        each.output,
        each.build,
        maps=True,
        source_first=first,
        output_first=first,
    )
    return _Part(replacement, (WINOGRAD,))


def _of_block(block: Block, form: Form, fragments: dict[str, Fragment] | None) -> Replacement:
    def made(x: Any, weigh: Weigh) -> Any:
        if fragments is None or weigh.prefix is None:
            return build(block, form, x, weigh)
        from converters.deploy.boundary import Boundary

        fragments[weigh.prefix] = Fragment(block)
        inner = build(block, form, Boundary(name=f"{weigh.prefix}_enter")(x), weigh)
        return Boundary(name=f"{weigh.prefix}_leave")(inner)

    return Replacement(
        block.name,
        block.input,
        block.output,
        made,
        maps=True,
        source_first=block.data_format == "channels_first",
        output_first=block.output_format == "channels_first",
    )


def _rebuilt(model: Any, flat: Flat, replacements: Sequence[Replacement], turned: bool, batch: int | None) -> Any:
    import keras

    inputs = {
        id(tensor.keras): keras.Input(
            batch_shape=(tensor.shape[0] or batch, *tensor.shape[1:]) if tensor.shape else (),
            dtype=tensor.keras.dtype,
            name=tensor.keras._keras_history.operation.name,
        )
        for tensor in flat.inputs
    }
    maker = SharedMaker()
    made = Wiring(flat, replacements, turn=turned).run(list(inputs.values()), maker)
    maker.name_apart(made)
    known = {id(tensor.keras): value for tensor, value in zip(flat.outputs, made, strict=True)}
    places = {
        id(each): known[id(tensor.keras)]
        for each, tensor in zip(keras.tree.flatten(model.outputs), flat.outputs, strict=True)
    }
    return keras.Model(
        keras.tree.map_structure(lambda tensor: inputs[id(tensor)], model.input),
        keras.tree.map_structure(lambda tensor: places[id(tensor)], model.output),
        name=model.name,
    )
