"""Builds a Keras model from the config in a file, layer by layer, with operations in the place of its Lambdas.

Keras itself would rebuild the same graph, but knows neither what older Kerases wrote nor how to leave a layer out. The
config was judged by `trust` before; classes are taken from Keras's own by name and nothing else is looked up.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from converters.errors import ModelError
from converters.lambdas import drift, hard_sigmoid, local, masks
from converters.lambdas.archive import layer_name
from converters.lambdas.gone import GONE, call_recurrent, is_recurrent
from converters.lambdas.graph import Graph, Part, Path, cannot_build, single
from converters.lambdas.keras_names import LAYERS, MODELS, OPERATIONS, RAW_LAYERS, REMOVED_LAYERS
from converters.lambdas.limits import show
from converters.lambdas.masked_steps import MaskedSteps
from converters.lambdas.nodes import LayerCall
from converters.lambdas.rows import Rows
from converters.lambdas.values import Era, OpenSize, Shape, describe

__all__ = ["Part", "Rebuilder", "Replace", "is_replaced"]

_WRAPPERS: Final = ("TimeDistributed", "Bidirectional", "SpectralNormalization")


class Replace(Protocol):
    """What turns one call of a Lambda, or of a raw TensorFlow operation, into tensors."""

    def __call__(self, path: Path, layer: Mapping[str, Any], call: LayerCall) -> list[Any]:
        """The outputs of one call: KerasTensors, or what only other replaced calls can use, such as a shape.

        path: names from the outermost model on; call: with such values in place of references.

        Raises:
            RefusedError: it cannot be replaced; noted by the callee, so that the others can be tried too.
        """


class Rebuilder:
    """Builds models from configs.

    era: of the libraries that wrote the file. unique: makes names for operations. `notes` tells what was mended,
    `states` how many numbers the recurrent layers' sequences hold, and so at most their states.
    """

    def __init__(self, replace: Replace, era: Era, unique: Callable[[str], str]) -> None:
        self.replace, self.era, self.unique = replace, era, unique
        self._built: dict[str, Part] = {}  # by name and config, for layers that several models share
        self.notes: dict[str, None] = {}
        self._split: set[Path] = set()  # layers whose activation is called after them
        self._gated: list[Any] = []
        self.states = 0
        self.masked_steps = MaskedSteps(era.zeroes_masked)
        self._rows = Rows()
        self._steps = 0  # TimeDistributed layers around what is being built

    def model(self, config: Mapping[str, Any], path: Path = ()) -> Part:
        """The model of {"class_name": ..., "config": ...}.

        Raises:
            ModelError: the config is broken, or Keras cannot build what it says.
        """
        inner = config.get("config")
        if config.get("class_name") == "Sequential":
            return self._sequential(inner, layer_name(dict(config)), path, None)
        if not isinstance(inner, dict) or not isinstance(inner.get("layers"), list):
            raise ModelError(f"model {show(layer_name(dict(config)))} has no list of layers in its config")
        return Graph(self, inner, path).build()

    def call(
        self, path: Path, entry: Mapping[str, Any], made: Part | None, call: LayerCall
    ) -> tuple[Part | None, list[Any]]:
        """The outputs of one call of a layer of the file; made: its Part, if that could be built before."""
        made, outputs = self._call(path, entry, made, call)
        self.masked_steps.follow(path, entry, call, outputs)
        return made, outputs

    def _call(
        self, path: Path, entry: Mapping[str, Any], made: Part | None, call: LayerCall
    ) -> tuple[Part | None, list[Any]]:
        import keras

        name = str(entry.get("class_name"))
        if is_replaced(entry) or self._samples_corners(entry):
            outputs = self.replace(path, entry, call)
            if self._steps and self.era.keras < 3 and not self._rows.apart(call.args[0] if call.args else [], outputs):
                raise ModelError(
                    f"layer {show('/'.join(path))}: computes across the examples of a batch, or may do so, within "
                    "TimeDistributed, which called it on the steps of all examples at once in Keras 2"
                )
            return None, outputs
        if name in GONE and len(call.args) == 1:
            self.notes.setdefault(f"layer {show('/'.join(path))}: {name}, which Keras 3 has not, became operations")
            return None, [GONE[name](call.args[0], entry["config"], self.unique)]
        if name in local.LOCAL and len(call.args) == 1:
            return self._local(path, entry, made, call.args[0])
        if made is None:
            made = self._late(path, entry, call)
        for value in keras.tree.flatten([call.args, dict(call.kwargs)]):
            if isinstance(value, OpenSize | Shape):
                raise ModelError(
                    f"layer {show('/'.join(path))} is called on {describe(value)}, which is no tensor here"
                )
        try:
            if is_recurrent(name) and self.era.keras < 3:
                outputs = call_recurrent(made.layer, entry["config"], call, self.unique)
            else:
                outputs = made.layer(*call.args, **{k: v for k, v in call.kwargs.items() if v is not None})
            outputs = keras.tree.flatten(outputs)
            if is_recurrent(name) or name in _WRAPPERS:
                self.states += math.prod(size or 1 for size in outputs[0].shape)
            if path in self._split:
                outputs = [hard_sigmoid.after(output, path[-1], self.unique) for output in outputs]
            masks.name_operations(outputs, self.unique)
            return made, outputs
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
            raise cannot_build(path, error) from error

    def _local(
        self, path: Path, entry: Mapping[str, Any], made: Part | None, tensor: Any
    ) -> tuple[Part | None, list[Any]]:
        """A LocallyConnected layer: its windows, an EinsumDense, and perhaps its activation."""
        import keras

        name, where = str(entry["class_name"]), show("/".join(path))
        linear = hard_sigmoid.take_out(entry)
        if not isinstance(tensor, keras.KerasTensor):
            raise ModelError(f"layer {where}, a {name}, is not called on one tensor")
        config = {**linear["config"], "name": layer_name(dict(entry))}
        try:
            if made is None:
                layer = local.layer(name, config, tuple(tensor.shape))
                made = Part(layer_name(dict(entry)), layer, was=name)
            output = made.layer(local.windows(name, config, tensor, self.unique))
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise cannot_build(path, error) from error
        self.notes.setdefault(f"layer {where}: {name}, which Keras 3 has not, became slices and an EinsumDense")
        if linear is not entry:
            self._split.add(path)
            output = hard_sigmoid.after(output, path[-1], self.unique)
        return made, [output]

    def part(self, path: Path, entry: Mapping[str, Any]) -> Part | None:
        """The layer of one entry of a model, or None if it can be built only when it is called."""
        known = json.dumps([layer_name(dict(entry)), _unshared(entry.get("config"))], sort_keys=True, default=str)
        if "shared_object_id" in entry and known in self._built:
            return self._built[known]  # written out twice, but one layer, whose weights the file holds once
        made = self._part(path, entry)
        if made is not None:
            self._built[known] = made
        return made

    def _part(self, path: Path, entry: Mapping[str, Any]) -> Part | None:
        name, inner = str(entry.get("class_name")), entry.get("config")
        if is_replaced(entry) or name in GONE or name in local.LOCAL or self._samples_corners(entry):
            return None
        if name in REMOVED_LAYERS and name not in drift.RENAMED:
            raise ModelError(f"layer {show('/'.join(path))} is a {name}, which Keras 3 no longer has")
        if name in MODELS and (name != "Sequential" or _sequential_shape(inner) is not None):
            return self.model(entry, path)
        if name == "Sequential":
            return None
        if not isinstance(inner, dict):
            raise ModelError(f"layer {show('/'.join(path))} has no config")
        wrapped = inner.get("layer")
        if (
            name in _WRAPPERS
            and isinstance(wrapped, dict)
            and (is_replaced(wrapped) or wrapped.get("class_name") in MODELS)
        ):
            return None
        if self.era.keras >= 3:
            return Part(layer_name(dict(entry)), self.layer(path, entry))
        return self._of_keras_2(path, entry)

    def _samples_corners(self, entry: Mapping[str, Any]) -> bool:
        """Whether a layer enlarges images at other points than Keras 3's of the same name would, or may do so."""
        config = entry.get("config")
        smooth = isinstance(config, dict) and config.get("interpolation", "nearest") != "nearest"
        return entry.get("class_name") == "UpSampling2D" and smooth and self.era.keras < 3 and not self.era.centred

    def _of_keras_2(self, path: Path, entry: Mapping[str, Any]) -> Part:
        where = show("/".join(path))
        linear = hard_sigmoid.take_out(entry)
        part = Part(layer_name(dict(entry)), self.layer(path, linear))
        if linear is not entry:
            self._split.add(path)
            self.notes.setdefault(
                f"layer {where}: Keras 2's hard_sigmoid, which Keras 3 changed, became clip(0.2 x + 0.5)"
            )
        if str(entry["class_name"]).startswith("CuDNN"):
            self.notes.setdefault(
                f"layer {where}: {entry['class_name']}, which Keras 3 has not, became {type(part.layer).__name__}"
            )
        if hard_sigmoid.in_gates(entry):
            self._gated.append(part.layer)
            self.notes.setdefault(
                f"layer {where}: the weights of its gates are scaled by {hard_sigmoid.SCALE}, since Keras 3's "
                "hard_sigmoid is flatter than Keras 2's by that"
            )
        return part

    def finish(self) -> None:
        """What is done once the weights are there."""
        for layer in self._gated:
            hard_sigmoid.scale_gates(layer)

    def _late(self, path: Path, entry: Mapping[str, Any], call: LayerCall) -> Part:
        """A layer whose input's shape is needed to build it."""
        import keras

        name, inner = entry["class_name"], entry["config"]
        tensor = call.args[0] if call.args else None
        if not isinstance(tensor, keras.KerasTensor):
            raise ModelError(
                f"layer {show('/'.join(path))} is not called on one tensor, which a {name} of its kind needs"
            )
        if name == "Sequential":
            return self._sequential(inner, layer_name(dict(entry)), path, tensor)
        wrapped = dict(inner["layer"])
        inside = (*path, layer_name(wrapped))
        step = keras.KerasTensor((tensor.shape[0], *tensor.shape[2:]), dtype=tensor.dtype)
        self._steps += name == "TimeDistributed"
        if is_replaced(wrapped) or wrapped["class_name"] == "Sequential":
            layers = [wrapped] if is_replaced(wrapped) else _sequential_layers(wrapped["config"])
            within = path if is_replaced(wrapped) else inside
            part = self._chain(layers, layer_name(wrapped), within, step, wrapped)
        else:
            part = self.model(wrapped, inside)
        self._steps -= name == "TimeDistributed"
        _, config = drift.mend(name, {key: value for key, value in inner.items() if key != "layer"}, self.era.keras)
        if _holds_code(config):
            raise ModelError(f"layer {show('/'.join(path))} holds a Lambda inside it, where none can be replaced")
        wrapper = getattr(keras.layers, name)(part.layer, **config)
        return Part(layer_name(dict(entry)), wrapper, [part], "Wrapper")

    def layer(self, path: Path, entry: Mapping[str, Any]) -> Any:
        """A single layer or operation of Keras's, or a registered one.

        Raises:
            ModelError: Keras cannot build it.
        """
        import keras

        name, module = str(entry["class_name"]), entry.get("module")
        if _holds_code(entry):
            raise ModelError(f"layer {show('/'.join(path))} holds a Lambda inside it, where none can be replaced")
        try:
            of_layers = module is None or str(module).startswith(("keras.layers", "keras.src.layers"))
            # An HDF5 file of Keras 3 calls the operation Multiply as it calls the layer, which says if it is trained.
            operation = module is None and self.era.keras >= 3 and "trainable" not in entry["config"]
            operation = operation and _module_of(name) is not None
            if drift.RENAMED.get(name, name) not in LAYERS or not of_layers or operation:
                return keras.saving.deserialize_keras_object(_with_module(_alone(entry)))
            name, config = drift.mend(name, self._inner(entry["config"], path), self.era.keras)
            return getattr(keras.layers, name).from_config(config)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError, ImportError) as error:
            raise cannot_build(path, error) from error

    def _inner(self, config: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """A config with those of the layers and cells inside it mended."""
        mended = dict(config)
        for key in ("layer", "forward_layer", "backward_layer", "cell", "cells"):
            value = mended.get(key)
            if isinstance(value, dict) and isinstance(value.get("config"), dict):
                mended[key] = self._mended(value, path)
            elif isinstance(value, list):
                mended[key] = [self._mended(each, path) for each in value]
        return mended

    def _mended(self, entry: Any, path: Path) -> Any:
        name = str(entry.get("class_name")) if isinstance(entry, dict) else ""
        if drift.RENAMED.get(name, name) not in LAYERS:
            return entry
        name, config = drift.mend(entry["class_name"], self._inner(entry["config"], path), self.era.keras)
        return {"class_name": name, "config": config, "module": "keras.layers", "registered_name": None}

    def _sequential(self, config: Any, name: str, path: Path, tensor: Any) -> Part:
        import keras

        layers = _sequential_layers(config)
        if tensor is None:
            shape = _sequential_shape(config)
            if shape is None:
                raise ModelError(f"Sequential {show(name)} was never built: the file does not give its input's shape")
            first = layers[0].get("config") if layers else None
            dtype = first.get("dtype") if isinstance(first, dict) and isinstance(first.get("dtype"), str) else None
            if str(layers[0].get("class_name")) == "Embedding":
                dtype = "float32"
            try:
                tensor = keras.KerasTensor(shape, dtype=dtype if dtype and "mixed" not in dtype else "float32")
            except (ValueError, TypeError) as error:
                raise cannot_build((*path, name), error) from error
        return self._chain(layers, name, path, tensor, config)

    def _chain(self, layers: list[dict[str, Any]], name: str, path: Path, tensor: Any, config: Any) -> Part:
        """Layers in a row as a model: a Sequential, or a Functional where something is replaced."""
        import keras

        rest = [layer for layer in layers if layer.get("class_name") != "InputLayer"]
        given = next((layer for layer in layers if layer.get("class_name") == "InputLayer"), None)
        label = layer_name(given) if given else f"{name}_input"
        parts: list[Part] = []
        try:
            inputs = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=label)
        except (ValueError, TypeError) as error:
            raise cannot_build((*path, label), error) from error
        outputs: list[Any] = [inputs]
        for entry in rest:
            inside = (*path, layer_name(entry))
            part, outputs = self.call(inside, entry, self.part(inside, entry), LayerCall((single(outputs),), {}))
            parts += [part] if part else []
        self.masked_steps.check(outputs)
        trainable = config.get("trainable") if isinstance(config, dict) else None
        extra = {} if trainable is None else {"trainable": trainable}
        try:
            more = any((*path, layer_name(each)) in self._split or each["class_name"] in local.LOCAL for each in rest)
            if len(parts) == len(rest) and not more:
                model = keras.Sequential([inputs, *(part.layer for part in parts)], name=name, **extra)
            else:
                model = keras.Model(inputs, single(outputs), name=name, **extra)
        except (ValueError, TypeError, AttributeError) as error:
            raise cannot_build((*path, name), error) from error
        return Part(name, model, parts, "Sequential")


def is_replaced(entry: Mapping[str, Any]) -> bool:
    """Whether a layer is a Lambda or a raw TensorFlow operation."""
    return entry.get("class_name") == "Lambda" or entry.get("class_name") in RAW_LAYERS


def _holds_code(value: Any) -> bool:
    """Whether a config holds a Lambda or a lambda at any depth; Keras would run it if its safe mode is off."""
    if isinstance(value, dict):
        return value.get("class_name") in ("Lambda", "__lambda__") or any(map(_holds_code, value.values()))
    return isinstance(value, list) and any(map(_holds_code, value))


def _unshared(config: Any) -> Any:
    """A config without the numbers that mark what is shared."""
    if isinstance(config, dict):
        return {key: _unshared(each) for key, each in config.items() if key != "shared_object_id"}
    return [_unshared(each) for each in config] if isinstance(config, list) else config


def _alone(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("inbound_nodes", "name")}


def _with_module(entry: dict[str, Any]) -> dict[str, Any]:
    """An operation of keras.ops as Keras can find it: an HDF5 file leaves its module out, and no two share a name."""
    import keras

    if entry.get("module") is not None or entry["class_name"] in keras.saving.get_custom_objects():
        return entry
    module = _module_of(str(entry["class_name"]))
    return entry if module is None else {**entry, "module": module, "registered_name": entry["class_name"]}


def _module_of(name: str) -> str | None:
    """The module that holds an operation of keras.ops."""
    return next((module for module in sorted(OPERATIONS) if hasattr(sys.modules.get(module), name)), None)


def _sequential_layers(config: Any) -> list[dict[str, Any]]:
    layers = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(layers, list) or not all(isinstance(layer, dict) and "class_name" in layer for layer in layers):
        raise ModelError("a Sequential model's config holds no list of layers")
    return layers


def _sequential_shape(config: Any) -> tuple[int | None, ...] | None:
    """The batch shape of a Sequential's input, if its config tells."""
    layers = _sequential_layers(config)
    first: Any = layers[0] if layers else None
    while isinstance(first, dict):
        inner = first.get("config")
        if isinstance(inner, dict) and (shape := drift.input_shape(inner)):
            return shape
        if first.get("class_name") not in MODELS:
            break
        below = inner.get("layers") if isinstance(inner, dict) else inner
        first = below[0] if isinstance(below, list) and below else None
    built = config.get("build_input_shape") if isinstance(config, dict) else None
    if isinstance(built, dict):
        built = built.get("items")
    return tuple(built) if isinstance(built, list | tuple) and all(isinstance(s, int | None) for s in built) else None
