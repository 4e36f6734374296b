"""A Keras model or a SavedModel -> one call from flat tensors to flat tensors, with names and declared sizes."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import keras
import numpy as np

from converters.artifact import TensorSpec
from converters.errors import ModelError, closest

Shapes = Mapping[str, tuple[int, ...]]

SIGNATURE: Final = "serving_default"

_NAME: Final = re.compile(r"[A-Za-z0-9_.>/\\-]*")

_NOISE: Final = re.compile(r"\x1b\[[0-9;]*m|\{\{function_node [^}]*\}\} ?")


@dataclasses.dataclass(frozen=True)
class Call:
    """A model as a function.

    Attributes:
        run: flat input tensors, in the order of `inputs`, to flat outputs, in the order of `output_names`.
        inputs: names, declared shapes (None where open, the batch included) and dtypes.
        output_names: as the user's model calls them; no two alike, none like an input's.
        data_format: `channels_last` or `channels_first`, of image maps.
        model: the Keras model that is called, in the shapes asked for; None for a SavedModel.
    """

    run: Callable[..., list[Any]]
    inputs: tuple[TensorSpec, ...]
    output_names: tuple[str, ...]
    data_format: str
    model: Any = None

    @property
    def own_batch(self) -> int | None:
        """The batch that the model itself is fixed to, or None."""
        return next((spec.shape[0] for spec in self.inputs if spec.shape), None)


def keras_call(model: Any, shapes: Shapes) -> Call:
    """The call of a Keras model, in inference form.

    Args:
        model: Functional or Sequential, or subclassed with the shape of its one input in `shapes`.
        shapes: per-sample shapes by input name ("" for the only input), for open sizes or to replace them.

    Raises:
        ModelError: an unknown input, a shape that the model cannot take, or inputs that are not known.
    """
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ModelError(f"Sequential model {model.name!r} has no input shape yet; add a keras.Input first")
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "inputs", None):
        return _subclassed_call(model, shapes)
    for operation in model.operations:
        if not _NAME.fullmatch(operation.name):
            raise ModelError(
                f"layer {operation.name!r}: TensorFlow takes A-Z a-z 0-9 _ . - in a layer's name; rename the layer "
                f"(layer.name = ...) and save the model again"
            )
    specs = _declared(model)
    shapes = _named(shapes, specs)
    if shapes:
        if _replaces(specs, shapes):
            model = _with_shapes(model, specs, shapes)
            specs = _declared(model)
        specs = _filled(specs, shapes)
    structure, outputs = model.input, model.output
    names = list(outputs) if isinstance(outputs, dict) else list(model.output_names)

    def call(*tensors: Any) -> list[Any]:
        result = model(keras.tree.pack_sequence_as(structure, list(tensors)), training=False)
        return [result[n] for n in outputs] if isinstance(outputs, dict) else list(keras.tree.flatten(result))

    called: dict[str, str] = {}
    for spec in specs:
        alike = called.setdefault(re.sub(r"\W", "_", spec.name), spec.name)
        if alike != spec.name:
            raise ModelError(f"inputs {alike!r} and {spec.name!r} are one name to TensorFlow; rename one of them")
    unique = _unique(names, [spec.name for spec in specs])
    return Call(call, tuple(specs), tuple(unique), data_format(model), model)


def _subclassed_call(model: Any, shapes: Shapes) -> Call:
    if len(shapes) != 1:
        raise ModelError(
            f"model {model.name!r} is a subclass of keras.Model and does not say what it takes; give its input shape"
        )
    ((name, shape),) = shapes.items()
    spec = TensorSpec(name or "input", (None, *shape), model.input_dtype)
    # Only a call() that asks for `training` may be given it.
    asks = {"training": False} if "training" in inspect.signature(model.call).parameters else {}

    def call(tensor: Any) -> list[Any]:
        return list(keras.tree.flatten(model(tensor, **asks)))

    try:
        result = model(keras.ops.zeros((1, *shape), spec.dtype), **asks)
    except Exception as error:  # whatever the user's own code raises
        raise ModelError(f"model {model.name!r} cannot take {spec}: {first_line(error)}") from error
    # keras.tree flattens a dict in the order of its sorted keys.
    count = len(keras.tree.flatten(result))
    outputs = sorted(result) if isinstance(result, dict) else [f"output_{index}" for index in range(count)]
    return Call(call, (spec,), tuple(_unique(outputs, [spec.name])), data_format(model), model)


def saved_model_call(loaded: Any, shapes: Shapes) -> Call:
    """The call of a loaded SavedModel's `serving_default` signature. Arguments and errors as `keras_call`."""
    signature = loaded.signatures[SIGNATURE]
    declared = signature.structured_input_signature[1]
    specs = [TensorSpec(name, tuple(dims(spec.shape)), spec.dtype.name) for name, spec in declared.items()]
    specs = _filled(specs, _named(shapes, specs))
    names, outputs = list(declared), list(signature.structured_outputs)

    def call(*tensors: Any) -> list[Any]:
        result = signature(**dict(zip(names, tensors, strict=True)))
        return [result[name] for name in outputs]

    return Call(call, tuple(specs), tuple(_unique(outputs, names)), "channels_last")


def data_format(model: Any) -> str:
    """`channels_last` or `channels_first`: what the first layer that has one says, else Keras's setting."""
    for layer in model._flatten_layers(include_self=False):
        found = getattr(layer, "data_format", None)
        if found in ("channels_last", "channels_first"):
            return str(found)
    return str(keras.config.image_data_format())


def _declared(model: Any) -> list[TensorSpec]:
    # The input layer's name: an unnamed tensor's own (`keras_tensor_7`) depends on what was built before it.
    return [
        TensorSpec(tensor._keras_history.operation.name, tuple(dims(tensor.shape)), tensor.dtype)
        for tensor in model.inputs
    ]


def _named(shapes: Shapes, specs: Sequence[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """`shapes` by input name: the one given without a name goes to the one input; sizes are counted."""
    known = {spec.name: spec for spec in specs}
    if "" in shapes and len(specs) != 1:
        raise ModelError(f"the model has {len(specs)} inputs ({', '.join(known)}); give each shape as NAME=HxWxC")
    named = {name or specs[0].name: tuple(shape) for name, shape in shapes.items()}
    for name, shape in named.items():
        if name not in known:
            raise ModelError(f"the model has no input {name!r}{closest(name, known)}")
        declared = known[name].shape[1:]
        if len(shape) != len(declared):
            raise ModelError(
                f"input {name!r} takes {len(declared)} sizes per sample ({sizes(declared)}); got {sizes(shape)}"
            )
    return named


def _filled(specs: Sequence[TensorSpec], shapes: Shapes) -> list[TensorSpec]:
    return [dataclasses.replace(s, shape=(s.shape[0], *shapes[s.name])) if s.name in shapes else s for s in specs]


def _replaces(specs: Sequence[TensorSpec], shapes: Shapes) -> bool:
    """Whether `shapes` changes a size that the model fixed, not only fills one that it left open."""
    return any(
        size not in (None, new)
        for spec in specs
        for size, new in zip(spec.shape[1:], shapes.get(spec.name, spec.shape[1:]), strict=True)
    )


def _with_shapes(model: Any, specs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
    """A copy of the model, weights included, built on other input shapes."""
    inputs = [
        keras.Input(shapes.get(s.name, s.shape[1:]), batch_size=s.shape[0], dtype=s.dtype, name=s.name) for s in specs
    ]
    packed = keras.tree.pack_sequence_as(model.input, inputs)
    try:
        copy = keras.models.clone_model(model, input_tensors=packed)
        copy.set_weights(model.get_weights())
    except Exception as error:  # layers raise many kinds for a shape they cannot take
        wanted = ", ".join(f"{s.name} {sizes(shapes[s.name])}" for s in specs if s.name in shapes)
        built = ", ".join(f"{s.name} {sizes(s.shape[1:])}" for s in specs)
        raise ModelError(f"the model cannot take the input shape {wanted}; it was built for {built}") from error
    return copy


def sized(call: Call) -> Any:
    """The model of a Keras call, built anew on the call's own sizes if it leaves some of them open."""
    specs = _declared(call.model) if getattr(call.model, "inputs", None) else []
    shapes = {spec.name: spec.shape[1:] for spec in call.inputs if None not in spec.shape[1:]}
    filled = any(None in spec.shape[1:] and spec.name in shapes for spec in specs)
    return _with_shapes(call.model, specs, shapes) if filled else call.model


def fingerprint(weights: Sequence[np.ndarray]) -> str:
    """SHA-256 over the shapes, dtypes and bytes of weights, in order.

    Without names: loaders of old formats name inner weights otherwise, and the model is the same.
    """
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(f"{weight.shape}\0{weight.dtype}\0".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def layout(shape: Sequence[int | None], data_format: str) -> str | None:
    """`NHWC` or `NCHW` for an image map of rank 4, else None."""
    if len(shape) != 4:
        return None
    return "NHWC" if data_format == "channels_last" else "NCHW"


def dims(shape: Any) -> list[int | None]:
    return [None if size is None else int(size) for size in tuple(shape)]


def sizes(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _unique(names: Sequence[str], inputs: Sequence[str]) -> list[str]:
    taken = set(inputs)
    result = []
    for name in names:
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        taken.add(unique)
        result.append(unique)
    return result


def first_line(error: BaseException) -> str:
    """The line of an error's message that says what is wrong, without the colours and graph paths of TensorFlow.

    Keras puts a line before it that says only where.
    """
    text = _NOISE.sub("", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Exception encountered when calling")] or lines
    return (lines[0] if lines else type(error).__name__)[:300]
