"""What a Keras model is made of: its sizes and its CBAM blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from converters.errors import ModelError


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One CBAM block of a model.

    Attributes:
        name: its layer's, or that of the operation that gives its result; behind the models it stands in and `/`.
        dialect: the preset it is, or the nearest one.
        differs: the fields in which it is not that preset.
        channels, height, width: of the map it refines; a size that the model leaves open is None.
        kind: `cbam`, or `channel` or `spatial` for one gate alone.
        placement: what makes its map and what takes its result, in words; "" where the model's graph is not known.
        parameters: its weights, in numbers, statistics included; of a shared block at each call.
        macs: its multiply-adds for one example; None where the map's size is open or the graph not known.
        layers: the layers and operations that it consists of.
        facts: what it is, field by field (`exporter.models.recognition.facts`).
    """

    name: str
    dialect: str
    differs: tuple[str, ...]
    channels: int
    height: int | None
    width: int | None
    kind: str = "cbam"
    placement: str = ""
    parameters: int = 0
    macs: int | None = None
    layers: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All fields, `facts` among them."""
        shown = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "facts"}
        return {**shown, "differs": list(self.differs), "layers": list(self.layers), **self.facts}


@dataclasses.dataclass(frozen=True, slots=True)
class Lookalike:
    """A gate that is like CBAM's and not equal to it: the name of its product with the map, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """A model's sizes, CBAM blocks and gates that only look like one. `multiply_adds` is None where it cannot be known,
    and `unknown` says why.

    `lambdas` are the layers that were replaced when its file was opened (`converters.lambdas.replace.Replaced`), and
    `notes` what else was brought to today's form.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: int
    trainable: int
    total: int
    multiply_adds: int | None
    unknown: str
    blocks: tuple[Block, ...]
    lambdas: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()
    lookalikes: tuple[Lookalike, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The keys that `--json` promises, without the schema."""
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "layers": self.layers,
            "parameters": {"trainable": self.trainable, "total": self.total},
            "macs": self.multiply_adds,
            "blocks": [block.to_json() for block in self.blocks],
            "lookalikes": [dataclasses.asdict(lookalike) for lookalike in self.lookalikes],
        }


def inspect_keras(name: str, model: Any) -> Inspection:
    """Inspect a built Keras model.

    CBAM is recognised in any functional model, whatever it is made of; in a subclassed one only as our own layers.
    """
    from converters.calls import keras_call, sizes
    from exporter.models.summary import count_parameters, summarise

    if not model.built:
        raise ModelError(
            f"model {model.name!r} has no weights yet; add a keras.Input, or call it once, and save it again"
        )
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    multiply_adds, unknown = None, ""
    try:
        call = keras_call(model, {})
        inputs = tuple(f"{spec.name} {sizes(spec.shape)}" for spec in call.inputs)
        shapes = [tuple(tensor.shape) for tensor in call.model.outputs]
        outputs = tuple(f"{name} {sizes(shape)}" for name, shape in zip(call.output_names, shapes, strict=True))
        if any(size is None for spec in call.inputs for size in spec.shape[1:]):
            raise ModelError("the input's size is open")
        multiply_adds = summarise(model).multiply_adds
    except ModelError as error:  # open sizes, a loop, a subclassed model: the rest is known all the same
        unknown = str(error)
    trainable, total = count_parameters(model)
    blocks, lookalikes = _blocks(model)
    return Inspection(
        name=name,
        inputs=inputs,
        outputs=outputs,
        layers=len(list(model._flatten_layers(recursive=False, include_self=False))),
        trainable=trainable,
        total=total,
        multiply_adds=multiply_adds,
        unknown=unknown,
        blocks=blocks,
        lookalikes=lookalikes,
    )


def _blocks(model: Any) -> tuple[tuple[Block, ...], tuple[Lookalike, ...]]:
    from converters.deploy.recognise import recognise

    try:
        found = recognise(model)
    except ModelError:  # layers that are called by code: what calls what is not known
        return tuple(_own_blocks(model)), ()
    lookalikes = tuple(Lookalike(each.name, each.reason) for each in found.lookalikes)
    return tuple(_row(block) for block in found.blocks), lookalikes


def _row(block: Any) -> Block:
    from exporter.models.recognition import dialect_of, facts

    return Block(
        block.name,
        *dialect_of(block),
        channels=block.channels,
        height=block.height,
        width=block.width,
        kind=block.kind,
        placement=str(block.placement),
        parameters=block.parameters,
        macs=block.multiply_adds,
        layers=tuple(call.path for call in block.calls),
        facts=facts(block),
    )


def _own_blocks(model: Any) -> Iterable[Block]:
    from exporter.models.cbam import CBAM
    from exporter.models.recognition import nearest_dialect

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, CBAM) and layer.built:
            channels = layer.channel.mlps[0][1].units
            parameters = layer.count_params()
            yield Block(layer.name, *nearest_dialect(layer.dialect), channels, None, None, parameters=parameters)
