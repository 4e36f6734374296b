"""A Keras model or a SavedModel -> one inference function with fixed names and shapes, as TensorFlow sees it.

Every format is converted from this function, so that they all agree on names, shapes and what inference means: dropout
and the other training-only parts are not in it, because it is traced with training=False.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import keras
import numpy as np
import tensorflow as tf

from converters.artifact import TensorSpec
from converters.cost import graph_operations
from converters.double import float64_twin
from converters.errors import ModelError, closest

Batch = int | Literal["dynamic"] | None
Shapes = Mapping[str, tuple[int, ...]]

SIGNATURE: Final = "serving_default"

# A graph that holds one of these gives another answer at every call, so it cannot be verified and is not inference.
_RANDOM: Final = ("Random", "Multinomial", "TruncatedNormal")
# A SavedModel is a program: these operations reach outside of the model when it is loaded or run.
_OUTSIDE: Final = frozenset(
    {"PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2", "Print"}
)


@dataclasses.dataclass(frozen=True)
class TracedModel:
    """One inference function.

    Attributes:
        function: a ConcreteFunction of named inputs that returns a dict by output name.
        owner: what keeps its variables alive (a Keras model or a loaded SavedModel).
        inputs, outputs: names, shapes (None only for an open batch), NumPy dtypes, layouts.
        fingerprint: SHA-256 over the shapes, dtypes and bytes of all weights, in order.
        call: the model itself: flat input tensors to flat outputs, eagerly, in the order of `inputs` and `outputs`.
        own_batch: the batch that the model itself is fixed to, or None.
        keras: the Keras model that was traced, in the shapes asked for; None for a SavedModel.
    """

    function: Any
    owner: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fingerprint: str
    call: Callable[..., list[Any]]
    own_batch: int | None
    keras: Any = None

    @property
    def variables(self) -> tuple[Any, ...]:
        """The tf.Variables that the function reads."""
        return tuple(self.function.graph.variables)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model itself, not the traced graph: arrays by input name to arrays by output name."""
        outputs = self.call(*(tf.convert_to_tensor(inputs[spec.name]) for spec in self.inputs))
        return {spec.name: out.numpy() for spec, out in zip(self.outputs, outputs, strict=True)}


def trace_keras(model: Any, batch: Batch = None, shapes: Shapes | None = None) -> TracedModel:
    """Trace a Keras model, which is not changed.

    Args:
        model: a Functional or Sequential model, or a subclassed one with `shapes` given for its one input.
        batch: a fixed batch size; `dynamic`; or None: the model's own fixed batch if it has one, else 1.
        shapes: per-sample shapes (without batch) by input name, for sizes the model leaves open or to replace them.

    Raises:
        ModelError: open sizes without a shape, a shape the model cannot take, non-finite weights, or randomness left
            in inference.
    """
    _check_finite((variable.path, variable) for variable in model.weights)
    wanted, call = _keras_call(model, shapes or {})
    specs = [_input_spec(spec, batch) for spec in wanted]
    fingerprint = _fingerprint((variable.path, variable) for variable in model.weights)
    return _trace(call, specs, model, fingerprint)


class Float64Twin:
    """The traced Keras model in float64.

    Raises:
        ModelError: on construction: the model was a SavedModel, or has no such twin (`converters.double`).
    """

    def __init__(self, traced: TracedModel) -> None:
        if traced.keras is None:
            raise ModelError("a SavedModel has no float64 twin")
        self._traced = traced
        self._call = _keras_call(float64_twin(traced.keras), {})[1]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays by input name to float64 arrays by output name.

        Raises:
            ModelError: a layer does not run in float64.
        """
        try:
            outputs = self._call.run(*(tf.convert_to_tensor(_as_double(inputs[s.name])) for s in self._traced.inputs))
        except Exception as error:  # layers raise many kinds for a dtype they do not know
            raise ModelError(f"its float64 twin does not run: {_first_line(error)}") from error
        return {spec.name: out.numpy() for spec, out in zip(self._traced.outputs, outputs, strict=True)}


def _as_double(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def data_format(model: Any) -> str:
    """`channels_last` or `channels_first`: what the first layer that has one says, else Keras's setting."""
    for layer in model._flatten_layers(include_self=False):
        found = getattr(layer, "data_format", None)
        if found in ("channels_last", "channels_first"):
            return str(found)
    return str(keras.config.image_data_format())


def trace_saved_model(loaded: Any, batch: Batch = None, shapes: Shapes | None = None) -> TracedModel:
    """Trace the `serving_default` signature of a loaded SavedModel (`load_saved_model`); arguments as `trace_keras`."""
    signature = loaded.signatures[SIGNATURE]
    declared = signature.structured_input_signature[1]
    names = list(declared)
    weights = [(variable.name, variable) for variable in signature.graph.variables]
    _check_finite(iter(weights))
    wanted = [TensorSpec(name, tuple(_dims(spec.shape)), spec.dtype.name) for name, spec in declared.items()]
    for name, shape in _named(shapes or {}, wanted).items():
        at = names.index(name)
        wanted[at] = dataclasses.replace(wanted[at], shape=(wanted[at].shape[0], *shape))
    specs = [_input_spec(spec, batch) for spec in wanted]
    outputs = list(signature.structured_outputs)

    def call(*tensors: Any) -> list[Any]:
        result = signature(**dict(zip(names, tensors, strict=True)))
        return [result[name] for name in outputs]

    return _trace(_Call(call, outputs, "channels_last", _batch(wanted)), specs, loaded, _fingerprint(iter(weights)))


def load_saved_model(path: Path) -> Any:
    """Load a SavedModel after looking through its graph for operations that reach outside of it.

    Raises:
        ModelError: not a readable SavedModel, no `serving_default` signature, or file or Python operations in it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise ModelError(f"{path}: its saved_model.pb cannot be read ({error})") from error
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
            if node.op in _OUTSIDE:
                raise ModelError(
                    f"{path}: refused, its graph holds the operation {node.op} (node {node.name!r}), which reaches "
                    f"files or Python outside of the model; save the model without it"
                )
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds here; all mean the same to the user
        raise ModelError(f"{path}: TensorFlow cannot load this SavedModel ({_first_line(error)})") from error
    if SIGNATURE not in getattr(loaded, "signatures", {}):
        have = ", ".join(map(repr, getattr(loaded, "signatures", {}))) or "none"
        raise ModelError(f"{path}: has no {SIGNATURE!r} signature (it has: {have}); save it with model.export()")
    return loaded


@dataclasses.dataclass(frozen=True)
class _Call:
    """A call from flat input tensors to flat outputs, the outputs' names, and the layout of image maps."""

    run: Callable[..., list[Any]]
    output_names: Sequence[str]
    data_format: str
    own_batch: int | None
    keras: Any = None


def _keras_call(model: Any, shapes: Shapes) -> tuple[list[TensorSpec], _Call]:
    """Input specs, open sizes None, and the call."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ModelError(f"Sequential model {model.name!r} has no input shape yet; add a keras.Input first")
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not getattr(model, "inputs", None):
        return _subclassed_call(model, shapes)
    specs = _declared(model)
    shapes = _named(shapes, specs)
    if shapes:
        if _replaces(specs, shapes):
            model = _with_shapes(model, specs, shapes)
            specs = _declared(model)
        specs = [dataclasses.replace(s, shape=(s.shape[0], *shapes.get(s.name, s.shape[1:]))) for s in specs]
    structure, outputs = model.input, model.output
    names = list(outputs) if isinstance(outputs, dict) else list(model.output_names)

    def call(*tensors: Any) -> list[Any]:
        result = model(keras.tree.pack_sequence_as(structure, list(tensors)), training=False)
        return [result[n] for n in outputs] if isinstance(outputs, dict) else list(keras.tree.flatten(result))

    return specs, _Call(call, _unique(names), data_format(model), _batch(specs), model)


def _subclassed_call(model: Any, shapes: Shapes) -> tuple[list[TensorSpec], _Call]:
    if len(shapes) != 1:
        raise ModelError(
            f"model {model.name!r} is a subclass of keras.Model and does not say what it takes; give its input shape"
        )
    ((name, shape),) = shapes.items()
    probe = model.compute_output_spec(keras.KerasTensor((1, *shape), model.input_dtype), training=False)
    count = len(keras.tree.flatten(probe))
    outputs = sorted(probe) if isinstance(probe, dict) else [f"output_{index}" for index in range(count)]

    def call(tensor: Any) -> list[Any]:
        result = model(tensor, training=False)
        return [result[n] for n in outputs] if isinstance(result, dict) else list(keras.tree.flatten(result))

    spec = TensorSpec(name or "input", (None, *shape), model.input_dtype)
    return [spec], _Call(call, outputs, data_format(model), None, model)


def _declared(model: Any) -> list[TensorSpec]:
    return [TensorSpec(tensor.name, tuple(_dims(tensor.shape)), tensor.dtype) for tensor in model.inputs]


def _named(shapes: Shapes, specs: Sequence[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """`shapes` by input name: the one given without a name goes to the one input; sizes are counted."""
    known = {spec.name: spec for spec in specs}
    if "" in shapes and len(specs) != 1:
        raise ModelError(f"the model has {len(specs)} inputs ({', '.join(known)}); give each shape as NAME=HxWxC")
    named = {name or specs[0].name: tuple(shape) for name, shape in shapes.items()}
    for name, shape in named.items():
        if name not in known:
            raise ModelError(f"the model has no input {name!r}{closest(name, known)}")
        sizes = known[name].shape[1:]
        if len(shape) != len(sizes):
            raise ModelError(
                f"input {name!r} takes {len(sizes)} sizes per sample ({_sizes(sizes)}); got {_sizes(shape)}"
            )
    return named


def _replaces(specs: Sequence[TensorSpec], shapes: Shapes) -> bool:
    """Whether `shapes` changes a size that the model fixed, not only fills one that it left open."""
    return any(
        size not in (None, new)
        for spec in specs
        for size, new in zip(spec.shape[1:], shapes.get(spec.name, spec.shape[1:]), strict=True)
    )


def _with_shapes(model: Any, specs: Sequence[TensorSpec], shapes: Shapes) -> Any:
    """A copy of the model, weights included, built on other input shapes."""
    inputs = [
        keras.Input(shapes.get(s.name, s.shape[1:]), batch_size=s.shape[0], dtype=s.dtype, name=s.name) for s in specs
    ]
    packed = keras.tree.pack_sequence_as(model.input, inputs)
    try:
        copy = keras.models.clone_model(model, input_tensors=packed)
        copy.set_weights(model.get_weights())
    except Exception as error:  # layers raise many kinds for a shape they cannot take
        wanted = ", ".join(f"{s.name} {_sizes(shapes[s.name])}" for s in specs if s.name in shapes)
        built = ", ".join(f"{s.name} {_sizes(s.shape[1:])}" for s in specs)
        raise ModelError(
            f"the model cannot take the input shape {wanted}; it was built for {built} ({_first_line(error)})"
        ) from error
    return copy


def _trace(call: _Call, specs: Sequence[TensorSpec], owner: Any, fingerprint: str) -> TracedModel:
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in specs]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        # tf.identity gives every output a node of its own, even where it is an input or appears twice.
        return {name: tf.identity(out) for name, out in zip(call.output_names, call.run(*tensors), strict=True)}

    with tf.device("/CPU:0"):
        try:
            function = serve.get_concrete_function()
        except ModelError:
            raise
        except Exception as error:
            shapes = ", ".join(str(spec) for spec in specs)
            raise ModelError(f"the model cannot be traced for inference on {shapes}: {_first_line(error)}") from error
    for op in graph_operations(function):
        if any(word in op.type for word in _RANDOM):
            raise ModelError(
                f"the model is random at inference: operation {op.name!r} ({op.type}); a layer was called with "
                f"training=True or draws noise itself, so no two runs agree and nothing could be verified"
            )
    inputs = tuple(dataclasses.replace(spec, layout=_layout(spec.shape, call.data_format)) for spec in specs)
    outputs = []
    for name in call.output_names:
        tensor = function.structured_outputs[name]
        shape = tuple(_dims(tensor.shape))
        outputs.append(TensorSpec(name, shape, tensor.dtype.name, _layout(shape, call.data_format)))
    return TracedModel(function, owner, inputs, tuple(outputs), fingerprint, call.run, call.own_batch, call.keras)


def _batch(specs: Sequence[TensorSpec]) -> int | None:
    return next((spec.shape[0] for spec in specs if spec.shape), None)


def _input_spec(spec: TensorSpec, batch: Batch) -> TensorSpec:
    if not spec.shape:
        return spec
    own, *sizes = spec.shape
    if any(size is None for size in sizes):
        raise ModelError(
            f"input {spec.name!r} leaves sizes open ({_sizes(sizes)}); fix them with --input-shape, "
            f"for example --input-shape {'x'.join('224' if size is None else str(size) for size in sizes)}"
        )
    size = (own or 1) if batch is None else None if batch == "dynamic" else batch
    return dataclasses.replace(spec, shape=(size, *sizes))


def _check_finite(weights: Iterator[tuple[str, Any]]) -> None:
    for path, variable in weights:
        value = variable.numpy()
        if np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16":
            bad = int(np.count_nonzero(~np.isfinite(value.astype(np.float32))))
            if bad:
                layer, _, weight = path.rpartition("/")
                raise ModelError(
                    f"layer {layer or weight!r} has {bad} non-finite value{'s' * (bad > 1)} (NaN or infinity) of "
                    f"{value.size} in weight {weight!r}; a training run that diverged cannot be exported"
                )


def _fingerprint(weights: Iterator[tuple[str, Any]]) -> str:
    # Without names: loaders of old formats name inner weights otherwise, and the model is the same.
    digest = hashlib.sha256()
    for _, variable in weights:
        value = np.ascontiguousarray(variable.numpy())
        digest.update(f"{value.shape}\0{value.dtype}\0".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _layout(shape: Sequence[int | None], data_format: str) -> str | None:
    if len(shape) != 4:
        return None
    return "NHWC" if data_format == "channels_last" else "NCHW"


def _dims(shape: Any) -> list[int | None]:
    return [None if size is None else int(size) for size in tuple(shape)]


def _sizes(shape: Sequence[int | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _unique(names: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    result = []
    for name in names:
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        taken.add(unique)
        result.append(unique)
    return result


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
