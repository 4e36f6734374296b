"""Puts CBAM into a model that has none, keeping every weight."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from converters.errors import ModelError, OptionError, closest
from exporter.models.cbam import CBAM, DialectLike
from exporter.models.dialect import Dialect

After = str | re.Pattern[str] | Callable[[Any], bool] | Sequence[Any]


def add_cbam(model: Any, after: After, dialect: DialectLike = "paper", name: str | None = None) -> keras.Model:
    """A new functional model: `model` with a CBAM block `<layer>_cbam` on the output of each layer that `after` names.

    Every weight is copied and keeps its `trainable`; the new blocks are untrained and trainable, also where the model
    as a whole was frozen. `model` itself is left as it is. A layer that is called several times gets one block, shared
    as the layer is. Models inside the model are searched too. Inputs and outputs keep their structure and names, save
    an output on which a block is put: that becomes the block's, `<layer>_cbam`. A block works in the dtype policy of
    its layer, and in its data format: the layer's own, else the one that the rest of the model agrees on.

    Args:
        model: a functional or built `Sequential` Keras model.
        after: a layer's name; a pattern such as `block_*_project_BN` (as in `fnmatch`, case matters); a compiled
            regular expression, which must match the whole name; a predicate on the layer; or a list of these, each
            of which must match. A layer inside an inner model is matched by its name or by `inner/layer`.
        dialect: which CBAM, as `Dialect.of` takes it.
        name: the new model's name; the old one's followed by `_cbam` by default.

    Raises:
        OptionError: an `after` of another kind.
        ModelError: nothing matched, an output is not one map of rank 4, the model is not functional, or one of its
            layers cannot be copied.
    """
    functional = _functional(model)
    names = dict(_names(functional))
    targets = _select(names, after, functional.name)
    surgeon = _Surgeon(targets, Dialect.of(dialect), _common_format(names))
    return surgeon.rebuild(functional, f"{functional.name}_cbam" if name is None else name)


class _Surgeon:
    """One insertion: rebuilds models with the target operations followed by CBAM, each layer copied once."""

    def __init__(self, targets: dict[int, Any], dialect: Dialect, data_format: str | None) -> None:
        self._targets = targets  # by identity: the same layer may stand in an outer and an inner model
        self._dialect = dialect
        self._data_format = data_format
        self._copies: dict[int, Any] = {}
        self._origins: dict[int, Any] = {}
        self._blocks: dict[int, CBAM] = {}

    def rebuild(self, model: keras.Model, name: str) -> keras.Model:
        """`model` with its blocks and weights under `name`. Layers are copied as they are first met."""
        taken = {operation.name for operation in model.operations}
        for operation in model.operations:
            block = f"{operation.name}_cbam"
            if id(operation) in self._targets and block in taken:
                raise ModelError(f"{model.name!r} already has a layer {block!r} where CBAM would go")
        rebuilt = keras.models.clone_model(
            # A plain functional model of the same graph: clone_model would compile its clone as the original is.
            keras.Model(model.input, model.output, name=name),
            # clone_model's own inputs forget the layer's name (unless the tensor has it), `sparse` and `optional`.
            input_tensors=keras.tree.map_structure(_fresh_input, model.input),
            clone_function=self._copy,
            call_function=self._call,
        )
        for operation in model.operations:
            if id(operation) in self._copies:
                _copy_state(operation, self._copies[id(operation)], self._is_rebuilt(operation))
        return rebuilt

    def _copy(self, operation: Any) -> Any:
        if id(operation) not in self._copies:
            if self._is_rebuilt(operation):
                copy = self.rebuild(_functional(operation), operation.name)
            else:
                copy = _clone(operation)
            self._copies[id(operation)] = copy
            self._origins[id(copy)] = operation
        return self._copies[id(operation)]

    def _is_rebuilt(self, operation: Any) -> bool:
        if not _is_functional(operation):
            return False
        return any(id(inner) in self._targets for inner in _operations(operation))

    def _call(self, copy: Any, *args: Any, **kwargs: Any) -> Any:
        operation, output = self._origins[id(copy)], copy(*args, **kwargs)
        if id(operation) not in self._targets:
            return output
        if not isinstance(output, keras.KerasTensor) or len(output.shape) != 4:
            found = getattr(output, "shape", f"{type(output).__name__} of outputs")
            raise ModelError(f"CBAM goes on a map of rank 4; the output of {operation.name!r} is {found}")
        if id(operation) not in self._blocks:
            policy = getattr(operation, "dtype_policy", None) or keras.config.dtype_policy()
            self._blocks[id(operation)] = CBAM(
                self._dialect,
                data_format=_own_format(operation) or self._data_format,
                # The block of a quantised layer is not quantised: it has nothing to take the scales from.
                dtype=getattr(policy, "source_name", None) or policy,
                name=f"{operation.name}_cbam",
            )
        return self._blocks[id(operation)](output)


def _functional(model: Any) -> keras.Model:
    """`model` if it is functional; what a built Sequential amounts to.

    Raises:
        ModelError: it is neither, or a subclass that runs something else than its graph.
    """
    if isinstance(model, keras.Sequential):
        if not model.built or not getattr(model, "inputs", None):
            raise ModelError(f"the Sequential model {model.name!r} has no input yet; start it with keras.Input(shape)")
        (image,), (output,) = model.inputs, model.outputs
        return keras.Model(image, output, name=model.name)
    if not _is_functional(model):
        kind = type(model).__name__
        raise ModelError(
            f"{getattr(model, 'name', model)!r} is a {kind}, whose layers are called by Python code; "
            f"CBAM can be put into functional and Sequential models"
        )
    return model


@functools.cache
def _functional_class() -> type:
    # Keras makes this class for keras.Model(inputs, outputs) but does not export it.
    image = keras.Input((1,), name="image")
    return type(keras.Model(image, image, name="probe"))


def _is_functional(layer: Any) -> bool:
    if isinstance(layer, keras.Sequential):
        return True
    base: Any = _functional_class()
    return isinstance(layer, base) and type(layer).call is base.call


def _operations(model: Any) -> Iterator[Any]:
    """The operations of a functional model and of the models inside it."""
    for operation in _graph(model).operations:
        yield operation
        if _is_functional(operation):
            yield from _operations(operation)


def _graph(model: Any) -> Any:
    return _functional(model) if isinstance(model, keras.Sequential) else model


def _names(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and operation of all that may be followed by CBAM: layers, and the operations of `keras.ops`."""
    for operation in _graph(model).operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        yield prefix + operation.name, operation
        if _is_functional(operation):
            yield from _names(operation, f"{prefix}{operation.name}/")


def _select(names: dict[str, Any], after: After, model: str) -> dict[int, Any]:
    parts: list[Any] = list(after) if isinstance(after, list | tuple | set | frozenset) else [after]
    if not parts:
        raise OptionError("after names no layer; give a name, a pattern, a regular expression or a predicate")
    found: dict[int, Any] = {}
    for part in parts:
        matches = {id(operation): operation for path, operation in names.items() if _matches(part, path, operation)}
        if not matches:
            if isinstance(part, str):
                raise ModelError(f"no layer of {model!r} matches {part!r}{_near(part, names)}")
            what = f"the whole of {part.pattern!r}" if isinstance(part, re.Pattern) else "the predicate"
            raise ModelError(f"no layer of {model!r} matches {what}; it has {len(names)} layers, {_some(names)}")
        found.update(matches)
    return found


def _matches(part: Any, path: str, operation: Any) -> bool:
    bare = path.rpartition("/")[2]
    if isinstance(part, str):
        return part in (path, bare) or fnmatch.fnmatchcase(path, part) or fnmatch.fnmatchcase(bare, part)
    if isinstance(part, re.Pattern):
        return part.fullmatch(path) is not None or part.fullmatch(bare) is not None
    if callable(part):
        return isinstance(operation, keras.layers.Layer) and bool(part(operation))
    raise OptionError(f"after takes names, patterns, regular expressions and predicates; got {part!r}")


def _near(name: str, names: dict[str, Any]) -> str:
    # A deep model's hundreds of names would drown the message.
    return closest(name, names).partition(" (known:")[0] + f"; it has {len(names)} layers, {_some(names)}"


def _some(names: dict[str, Any]) -> str:
    listed = list(names)
    return ", ".join(listed) if len(listed) <= 6 else f"{', '.join(listed[:3])} ... {', '.join(listed[-2:])}"


def _own_format(operation: Any) -> str | None:
    """The data format that a layer names itself, or that its normalisation axis implies for a map of rank 4."""
    if isinstance(found := getattr(operation, "data_format", None), str):
        return found
    if isinstance(operation, keras.layers.BatchNormalization):
        return {1: "channels_first", 3: "channels_last", -1: "channels_last"}.get(operation.axis)
    return None


def _common_format(names: dict[str, Any]) -> str | None:
    formats = {_own_format(operation) for operation in names.values()} - {None}
    return formats.pop() if len(formats) == 1 else None


def _fresh_input(tensor: Any) -> Any:
    layer = tensor._keras_history.operation  # an InputLayer: a functional model's inputs are nothing else
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        sparse=bool(tensor.sparse),
        name=layer.name,
        optional=bool(layer.optional),
    )


def _clone(operation: Any) -> Any:
    if isinstance(operation, keras.layers.Lambda):
        # From its config it would come as bytecode to execute; the function itself is at hand.
        return keras.layers.Lambda(
            operation.function,
            output_shape=operation._output_shape,
            mask=operation.mask,
            arguments=operation.arguments,
            name=operation.name,
            trainable=operation.trainable,
            dtype=operation.dtype_policy,
        )
    try:
        return type(operation).from_config(operation.get_config())
    except Exception as error:
        raise ModelError(
            f"{type(operation).__name__} {operation.name!r} cannot be made again from its configuration: {error}"
        ) from error


def _copy_state(old: Any, new: Any, rebuilt: bool) -> None:
    """Values and `trainable` flags of one layer onto its copy; of a rebuilt model only what its layers did not do."""
    if not isinstance(old, keras.layers.Layer) or rebuilt:
        return
    # Outer layers first: setting the flag of a layer sets those inside it too.
    for before, after in zip(_sublayers(old), _sublayers(new), strict=True):
        if before.trainable != after.trainable:
            after.trainable = before.trainable
    for before, after in zip(old.variables, new.variables, strict=True):
        if tuple(before.shape) != tuple(after.shape):
            raise ModelError(f"{old.name!r} came out with {after.path} of {after.shape} instead of {before.shape}")
        after.assign(before.value)
        if before.trainable != after.trainable:
            after.trainable = before.trainable
    for layer in _sublayers(new):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with constants made from its weights


def _sublayers(layer: Any) -> list[Any]:
    return list(layer._flatten_layers())
