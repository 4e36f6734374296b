"""Puts operations in the place of Lambda layers and raw TensorFlow operations, and keeps account of each."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.errors import ModelError, OptionError
from converters.lambdas import masks, rawops
from converters.lambdas.builder import Builder, Spent
from converters.lambdas.interpret import evaluate
from converters.lambdas.keras_names import RAW_LAYERS
from converters.lambdas.limits import line
from converters.lambdas.live import function_of
from converters.lambdas.nodes import LayerCall
from converters.lambdas.rules.sizes import sizes_tensor
from converters.lambdas.rules.table import find_rule
from converters.lambdas.stored import (
    StoredFunction,
    argument_names,
    from_function,
    from_source,
    function_name,
    said_name,
    stored_function,
)
from converters.lambdas.values import Era, RefusedError, Sizes, Tensor, Value, describe
from converters.lambdas.variables import Variables

__all__ = ["Refused", "Replaced", "Replacer"]

Path = tuple[str, ...]
_REASON: Final = 600  # characters


@dataclasses.dataclass(frozen=True)
class Replaced:
    """One layer that was replaced.

    layer: names from the outermost model's layer on, with `/`. source: its function as Python. became: the operations
    in its place. assumptions: what the file does not say and was taken for granted.
    """

    layer: str
    source: str
    became: str
    assumptions: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Refused:
    """One layer that cannot be replaced, and the reason. source: its function as Python, if that could be read."""

    layer: str
    reason: str
    source: str = ""


class Replacer:
    """`rebuild.Replace`: makes the operations, and remembers what it replaced and what it refused.

    functions: what a user gives for a function that the file does not hold, by its name or by the layer's: its text, a
    function of Python's, which is read and not called, or a Keras layer. taken: names that operations must not get.
    live: Lambda layers in memory by path. masks: whether masks of sequences go about in the model. made: the weights
    that the file holds for Lambdas, by path.
    """

    def __init__(
        self,
        era: Era,
        functions: Mapping[str, Any],
        taken: set[str],
        live: Mapping[Path, Any] | None = None,
        masks: bool = False,
        made: Mapping[Path, Sequence[np.ndarray]] | None = None,
    ) -> None:
        self.era, self.functions, self.taken, self.live, self.masks = era, functions, taken, live or {}, masks
        self.replaced: dict[Path, Replaced] = {}
        self.refused: dict[Path, Refused] = {}
        self.used: set[str] = set()
        self.spent = Spent()
        self._made = {path: Variables(arrays) for path, arrays in (made or {}).items()}
        self._stored: dict[Path, StoredFunction] = {}
        self._named: dict[str, set[Path]] = {}

    def resolve(self, path: Path, layer: Mapping[str, Any]) -> None:
        """Read the function of a Lambda before anything is built, so that all that cannot be read are known at once."""
        config = layer.get("config")
        if not isinstance(config, dict):
            self.refused[path] = Refused(line("/".join(path)), "it has no config")
            return
        named = function_name(config)
        if named is not None:
            self._named.setdefault(named, set()).add(path)
        given = self._given(path, config)
        if given is not None and not isinstance(given, str | types.FunctionType):
            return
        try:
            self._function(path, config)
        except OptionError:
            raise
        except Exception as error:
            self.refused[path] = Refused(line("/".join(path)), _reason(error, path, layer))

    def __call__(self, path: Path, layer: Mapping[str, Any], call: LayerCall) -> list[Any]:
        """See `rebuild.Replace`."""
        variables = self._made.get(path)
        builder = Builder(self.era, spent=self.spent, masks=self.masks, variables=variables)
        source = ""
        try:
            if not isinstance(layer.get("config"), dict):
                raise RefusedError("it has no config")
            if layer["class_name"] == "UpSampling2D":
                made, source = _enlarged(builder, layer["config"], _wrapped(call.args[0], "x"))
            elif layer["class_name"] in RAW_LAYERS:
                made, source = rawops.apply(builder, layer, _wrapped(call.args), _wrapped(dict(call.kwargs)))
            else:
                made, source = self._lambda(builder, path, layer["config"], call)
            outputs, became = self._outputs(builder, path, made, None if layer["class_name"] in RAW_LAYERS else call)
        except OptionError:
            raise
        except Exception as error:
            refused = Refused(line("/".join(path)), _reason(error, path, layer), source or self._source(path))
            self.refused.setdefault(path, refused)
            raise RefusedError(refused.reason) from error
        self._note(path, Replaced(line("/".join(path)), source, line(became), builder.assumptions))
        return outputs

    def _lambda(self, builder: Builder, path: Path, config: Mapping[str, Any], call: LayerCall) -> tuple[Value, str]:
        given = self._given(path, config)
        self._assume_one(builder, path, config)
        inputs = call.args[0] if call.args else None
        said = {name: value for name, value in call.kwargs.items() if _holds_something(value)}
        extra = set(said) - {"training", "mask"}
        if len(call.args) != 1 or extra:
            raise RefusedError(f"it is called with more than its inputs: {', '.join(sorted(extra)) or len(call.args)}")
        if given is not None and not isinstance(given, str | types.FunctionType):
            return builder.call(lambda: given(inputs), f"{given.name}({type(given).__name__})"), type(given).__name__
        stored = self._function(path, config)
        for assumption in stored.assumptions:
            builder.assume(assumption)
        if self.masks and self.era.standalone and path not in self.live:
            builder.assume("the layer has no mask function of its own, which this Keras would not write down")
        function = stored.function
        names = function.function.positional
        if "mask" in (*names[1:], *function.function.keyword):  # Keras gives it to a function that asks for it
            mask = _wrapped(said["mask"], "mask") if "mask" in said else masks.mask_of(builder, inputs)
            function = dataclasses.replace(function, values={**function.values, "mask": mask})
        return evaluate(function, _wrapped(inputs, names[0] if names else "x"), builder), stored.source

    def _assume_one(self, builder: Builder, path: Path, config: Mapping[str, Any]) -> None:
        """Note where one function is given for several layers whose functions the file calls by one name."""
        name = function_name(config)
        if name is not None and name in self.functions and not {"/".join(path), path[-1]} & self.functions.keys():
            layers = len(self._named.get(name, ()))
            if layers > 1:
                builder.assume(f"the function {name!r} that was given is that of all {layers} layers which name one so")

    def _given(self, path: Path, config: Mapping[str, Any]) -> Any:
        for name in ("/".join(path), path[-1], function_name(config)):
            if name is not None and name in self.functions:
                self.used.add(name)
                return self.functions[name]
        return None

    def _function(self, path: Path, config: Mapping[str, Any]) -> StoredFunction:
        if path not in self._stored:
            given, name = self._given(path, config), function_name(config)
            if isinstance(given, str):
                names = [each for each in (name, "/".join(path), path[-1]) if each is not None]
                self._stored[path] = from_source(given, config, names)
            elif isinstance(given, types.FunctionType):
                self._stored[path] = from_function(given, config)
            elif given is None and path in self.live:
                self._stored[path] = function_of(self.live[path])
            elif given is None and name is not None:
                raise RefusedError(
                    f"it calls the function {name!r}, of which the file holds the name only; give what that computes "
                    f"with --function {name}='lambda {argument_names(config)}: ...', or with --function {path[-1]}=... "
                    "for this layer alone"
                )
            elif given is None:
                self._stored[path] = stored_function(config)
        return self._stored[path]

    def _source(self, path: Path) -> str:
        return self._stored[path].source if path in self._stored else ""

    def _note(self, path: Path, new: Replaced) -> None:
        known = self.replaced.get(path)
        if known is not None:  # a shared layer is called several times, and may become something else each time
            both = dict.fromkeys((*known.became.splitlines(), new.became))
            assumptions = tuple(dict.fromkeys((*known.assumptions, *new.assumptions)))
            new = Replaced(new.layer, new.source, "\n".join(both), assumptions)
        self.replaced[path] = new

    @property
    def served(self) -> set[Path]:
        """Lambdas whose weights, as the file holds them, are all constants of operations now."""
        return {path for path, variables in self._made.items() if not variables.left}

    def _outputs(self, builder: Builder, path: Path, made: Value, call: LayerCall | None) -> tuple[list[Any], str]:
        """call: of a Lambda, whose result can be a constant; None of a raw operation."""
        if call is None and not isinstance(made, Tensor) and type(made) not in (list, tuple):
            return [made], describe(made)  # a shape, for other raw operations
        parts = list(made) if type(made) in (list, tuple) else [made]
        if not parts:
            raise RefusedError("it returns nothing")
        own = {id(operation) for operation in builder.operations}
        for index, part in enumerate(parts):
            if isinstance(part, Sizes) and len(parts) == 1:
                fixed = all(isinstance(size, int) for size in part)
                parts[index] = part = np.array(part, np.int32) if fixed else sizes_tensor(builder, part)
            if isinstance(part, np.ndarray) and call is not None:
                parts[index] = part = _tied(builder, part, call)
            own = {id(operation) for operation in builder.operations}
            if not isinstance(part, Tensor):
                raise RefusedError(f"it returns {describe(part)}, where a tensor is needed")
            if id(part.keras._keras_history.operation) not in own:  # the input itself: the layer keeps its place
                parts[index] = masks.give(builder, part, passed=True)
            else:
                parts[index] = masks.give(builder, part, passed=False)
        self._name(builder, path[-1], parts[0].keras._keras_history.operation)
        texts = [part.text for part in parts]
        return [part.keras for part in parts], texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

    def _name(self, builder: Builder, layer: str, last: Any) -> None:
        """The operation that gives the result is called as the layer was; the others begin with its name."""
        base = layer.replace("/", "_")
        for operation in builder.operations:
            operation.name = self.unique(base if operation is last else f"{base}_{type(operation).__name__.lower()}")

    def unique(self, wanted: str) -> str:
        """A name that no layer of the file and no operation has yet."""
        name, count = wanted, 1
        while name in self.taken:
            name, count = f"{wanted}_{count}", count + 1
        self.taken.add(name)
        return name

    def unused(self) -> None:
        """Refuse functions that were given for nothing.

        Raises:
            OptionError: naming the first, and the Lambdas there are.
        """
        for name in self.functions:
            if name not in self.used:
                known = ", ".join("/".join(path) for path in (*self.replaced, *self.refused)) or "none"
                raise OptionError(
                    f"--function {name}: no Lambda of the model is called so or calls it (Lambdas: {known})"
                )


def _tied(builder: Builder, constant: np.ndarray, call: LayerCall) -> Tensor:
    """A constant as a tensor that follows from the layer's inputs, as all in a model of Keras does."""
    import keras

    first = next(each for each in keras.tree.flatten(call.args) if isinstance(each, keras.KerasTensor))
    zeros = builder.op("zeros_like", Tensor(first, "x"), dtype="int32")  # of NaN as well
    zero = builder.op("cast", builder.op("sum", zeros), str(constant.dtype))
    made: Tensor = builder.op("logical_or" if constant.dtype == bool else "subtract", constant, zero)
    return made


def _reason(error: Exception, path: Path, layer: Mapping[str, Any]) -> str:
    """Why a layer is refused; unforeseen arguments make Python, NumPy and Keras raise any kind of exception."""
    if not isinstance(error, ModelError):
        error = ModelError(
            f"it makes Keras or this tool fail in a way that was not foreseen ({type(error).__name__}: {error})"
        )
    config = layer.get("config")
    known = config if layer.get("class_name") == "Lambda" and isinstance(config, dict) else {}
    names = argument_names(known)
    more = said_name(known) if known else ""
    if names != "t" and "--function" not in str(error):
        more += f"; --function {path[-1]}='lambda {names}: ...' would get what its `arguments` hold"
    return line(error, _REASON) + line(more, _REASON)


def _enlarged(builder: Builder, config: Mapping[str, Any], image: Value) -> tuple[Value, str]:
    """UpSampling2D as Keras computed it before it sampled at the centres of pixels."""
    size = config.get("size")
    factors = size if isinstance(size, list) and len(size) == 2 else [size, size]
    how = {"data_format": config.get("data_format"), "interpolation": config.get("interpolation")}
    made = find_rule("K.resize_images").apply(builder, [image, *factors], how)
    return made, f"UpSampling2D(size={size}, interpolation={how['interpolation']!r}), as Keras below 2.4 computed it"


def _holds_something(value: Any) -> bool:
    """Whether a value is more than None, or a list of it."""
    return any(map(_holds_something, value)) if isinstance(value, list | tuple) else value is not None


def _wrapped(value: Any, text: str = "") -> Value:
    """KerasTensors as Tensors; those of a list get their index behind the text."""
    import keras

    if isinstance(value, keras.KerasTensor):
        operation = getattr(value, "_keras_history", None)
        return Tensor(value, text or (operation.operation.name if operation else "x"))
    if type(value) in (list, tuple):
        parts = [_wrapped(each, f"{text}[{index}]" if text else "") for index, each in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        return {key: _wrapped(each, f"{text}[{key!r}]" if text else "") for key, each in value.items()}
    return value
