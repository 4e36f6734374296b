"""What a Keras model is made of: its sizes and its CBAM blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from converters.errors import ModelError
from exporter.models.dialect import DIALECTS, PAPER, Dialect


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One CBAM block of a model.

    Attributes:
        name: of its layer.
        dialect: the preset it is, or the nearest one.
        differs: the fields in which it is not that preset.
        channels, height, width: of the map it refines; a size that the model leaves open is None.
    """

    name: str
    dialect: str
    differs: tuple[str, ...]
    channels: int
    height: int | None
    width: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """A model's sizes and CBAM blocks. `multiply_adds` is None where it cannot be known, and `unknown` says why.

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

    def to_json(self) -> dict[str, Any]:
        """The keys that `--json` promises, without the schema."""
        return {
            "name": self.name,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "layers": self.layers,
            "parameters": {"trainable": self.trainable, "total": self.total},
            "macs": self.multiply_adds,
            "blocks": [{**dataclasses.asdict(block), "differs": list(block.differs)} for block in self.blocks],
        }


def inspect_keras(name: str, model: Any) -> Inspection:
    """Inspect a built Keras model. Only blocks made of this package's own layers are known as CBAM."""
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
    return Inspection(
        name=name,
        inputs=inputs,
        outputs=outputs,
        layers=len(list(model._flatten_layers(recursive=False, include_self=False))),
        trainable=trainable,
        total=total,
        multiply_adds=multiply_adds,
        unknown=unknown,
        blocks=tuple(_blocks(model)),
    )


def _blocks(model: Any) -> Iterable[Block]:
    from exporter.models.cbam import CBAM

    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, CBAM):
            shape = tuple(layer.input.shape)
            if layer.data_format == "channels_first":
                shape = (shape[0], *shape[2:], shape[1])
            preset, differs = nearest_dialect(layer.dialect)
            yield Block(layer.name, preset, differs, shape[3], shape[1], shape[2])


def nearest_dialect(dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The preset that differs from `dialect` in the fewest fields, and those fields. Ties go to the paper's."""
    name = min(DIALECTS, key=lambda name: (len(dialect.differs(DIALECTS[name])), DIALECTS[name] != PAPER))
    return name, dialect.differs(DIALECTS[name])
