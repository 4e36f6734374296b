"""A Keras model or a SavedModel -> one inference function with fixed names and shapes, as TensorFlow sees it.

Every format is converted from this function, so that they all agree on names, shapes and what inference means: dropout
and the other training-only parts are not in it, because it is traced with training=False.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import numpy as np
import tensorflow as tf

from converters import patches
from converters.artifact import TensorSpec
from converters.calls import (
    SIGNATURE,
    Call,
    Shapes,
    dims,
    fingerprint,
    first_line,
    keras_call,
    layout,
    saved_model_call,
    sizes,
)
from converters.cost import graph_operations
from converters.errors import ModelError
from converters.twin import computes_in, twin

Batch = int | Literal["dynamic"] | None

# A graph that holds one of these gives another answer at every call, so it cannot be verified and is not inference.
_RANDOM: Final = ("Random", "Multinomial", "TruncatedNormal")


@dataclasses.dataclass(frozen=True)
class TracedModel:
    """One inference function.

    Attributes:
        function: a ConcreteFunction of named inputs that returns a dict by output name.
        inputs, outputs: names, shapes (None only for an open batch), NumPy dtypes, layouts.
        fingerprint: SHA-256 over the shapes, dtypes and bytes of the model's weights, in order.
        original: the model itself, as it is run for reference.
        traced: what `function` was traced from: the model itself, or its float32 twin where it computes otherwise.
        owner: what keeps the variables of `function` alive.
        fragments: blocks of a lowered model that ONNX has another form for (`converters.deploy.splice`).
    """

    function: Any
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fingerprint: str
    original: Call
    traced: Call
    owner: Any
    fragments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def variables(self) -> tuple[Any, ...]:
        """The tf.Variables that the function reads."""
        return tuple(self.function.graph.variables)

    @property
    def recast(self) -> bool:
        """Whether the model itself computes in another type than float32, which `function` does."""
        return self.original is not self.traced


def trace_keras(model: Any, batch: Batch = None, shapes: Shapes | None = None) -> TracedModel:
    """Trace a Keras model, which is not changed.

    A model that computes in half precision or in float64 is traced as its float32 twin, with the same weights.

    Args:
        model: a Functional or Sequential model, or a subclassed one with `shapes` given for its one input.
        batch: a fixed batch size; `dynamic`; or None: the model's own fixed batch if it has one, else 1.
        shapes: per-sample shapes (without batch) by input name, for sizes the model leaves open or to replace them.

    Raises:
        ModelError: open sizes without a shape, a shape the model cannot take, non-finite weights, or randomness left
            in inference.
    """
    _check_finite((variable.path, variable) for variable in model.weights)
    original = keras_call(model, shapes or {})
    traced = original
    if computes_in(original.model) != {"float32"}:
        traced = keras_call(twin(original.model, "float32"), {})
    weights = [variable.numpy() for variable in model.weights]
    return _trace(original, traced, batch, fingerprint(weights))


def trace_saved_model(loaded: Any, batch: Batch = None, shapes: Shapes | None = None) -> TracedModel:
    """Trace the signature of a loaded SavedModel (`converters.savedmodel.load`); arguments as `trace_keras`."""
    variables = loaded.signatures[SIGNATURE].graph.variables
    _check_finite((variable.name, variable) for variable in variables)
    for op in graph_operations(loaded.signatures[SIGNATURE]):
        # A frozen graph holds its weights as constants. Infinity is a usual constant of masks, NaN of none.
        if op.type != "Const" or not op.outputs[0].dtype.is_floating:
            continue
        if np.isnan(tf.make_ndarray(op.get_attr("value")).astype(np.float32)).any():
            raise ModelError(f"the SavedModel's constant {op.name!r} holds NaN; it cannot be exported")
    call = saved_model_call(loaded, shapes or {})
    if call.own_batch is not None and batch not in (None, call.own_batch):
        raise ModelError(
            f"the SavedModel is fixed to batch {call.own_batch}; leave --batch out, or export the Keras model"
        )
    traced = _trace(call, call, batch, fingerprint([variable.numpy() for variable in variables]))
    return dataclasses.replace(traced, owner=loaded)


def retrace(traced: TracedModel, call: Call) -> TracedModel:
    """Another model with the same inputs and outputs in the place of what was traced, under the same names and sizes.

    Args:
        call: takes and gives what the traced model does, in the same order; its own names do not count.
    """
    renamed = dataclasses.replace(
        call,
        inputs=traced.inputs,
        output_names=tuple(spec.name for spec in traced.outputs),
        data_format=traced.traced.data_format,
    )
    batch = next((spec.shape[0] for spec in traced.inputs if spec.shape), None)
    made = _trace(traced.original, renamed, "dynamic" if batch is None else batch, traced.fingerprint)
    return dataclasses.replace(made, traced=traced.traced)


def run_call(call: Call, traced: TracedModel, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the model itself or a twin of it eagerly: arrays by the traced model's input names, cast to the call's own
    types, to arrays by its output names."""
    pairs = zip(call.inputs, traced.inputs, strict=True)
    # On the CPU: a GPU rounds the operands of float32 products to TF32 unless told otherwise.
    with tf.device("/CPU:0"):
        tensors = [tf.cast(tf.convert_to_tensor(inputs[spec.name]), own.dtype) for own, spec in pairs]
        return {spec.name: out.numpy() for spec, out in zip(traced.outputs, call.run(*tensors), strict=True)}


def float64_call(traced: TracedModel) -> Call:
    """The call of the model's float64 twin.

    Raises:
        ModelError: the model was a SavedModel, or has no such twin (`converters.twin`).
    """
    return _twin_call(traced, "float64")


def float32_call(traced: TracedModel) -> Call:
    """The call of a copy of the model, rebuilt from its config in float32. Errors as `float64_call`."""
    return _twin_call(traced, "float32")


def _twin_call(traced: TracedModel, dtype: str) -> Call:
    if traced.original.model is None:
        raise ModelError("a SavedModel has no float64 twin")
    return keras_call(twin(traced.original.model, dtype), {})


def _trace(original: Call, call: Call, batch: Batch, fingerprint: str) -> TracedModel:
    specs = [_input_spec(spec, batch) for spec in call.inputs]
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in specs]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def serve(*tensors: Any) -> dict[str, Any]:
        # tf.identity gives every output a node of its own, even where it is an input or appears twice.
        return {name: tf.identity(out) for name, out in zip(call.output_names, call.run(*tensors), strict=True)}

    with tf.device("/CPU:0"), patches.sign_bit_in_floats():
        try:
            function = serve.get_concrete_function()
        except ModelError:
            raise
        except Exception as error:
            shapes = ", ".join(str(spec) for spec in specs)
            raise ModelError(f"the model cannot be traced for inference on {shapes}: {first_line(error)}") from error
    for op in graph_operations(function):
        if any(word in op.type for word in _RANDOM):
            raise ModelError(
                f"the model is random at inference: operation {op.name!r} ({op.type}); a layer was called with "
                f"training=True or draws noise itself, so no two runs agree and nothing could be verified"
            )
    inputs = tuple(dataclasses.replace(spec, layout=layout(spec.shape, call.data_format)) for spec in specs)
    outputs = []
    for name in call.output_names:
        tensor = function.structured_outputs[name]
        shape = tuple(dims(tensor.shape))
        outputs.append(TensorSpec(name, shape, tensor.dtype.name, layout(shape, call.data_format)))
    return TracedModel(function, inputs, tuple(outputs), fingerprint, original, call, call.model)


def _input_spec(spec: TensorSpec, batch: Batch) -> TensorSpec:
    if not spec.shape:
        return spec
    own, *per_sample = spec.shape
    if any(size is None for size in per_sample):
        raise ModelError(
            f"input {spec.name!r} leaves sizes open ({sizes(per_sample)}); fix them with --input-shape, "
            f"for example --input-shape {'x'.join('224' if size is None else str(size) for size in per_sample)}"
        )
    size = (own or 1) if batch is None else None if batch == "dynamic" else batch
    return dataclasses.replace(spec, shape=(size, *per_sample))


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
