"""Traced model -> TensorFlow SavedModel folder with one `serving_default` signature, and back into memory."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from converters.artifact import TensorSpec
from converters.calls import SIGNATURE, first_line
from converters.errors import ModelError
from converters.settings import ConversionSettings
from converters.trace import TracedModel

METADATA_ASSET: Final = "metadata.json"
LABELS_ASSET: Final = "labels.txt"

# A SavedModel is a program. Of the operations that have effects or state, these stay inside of the model; any other is
# refused, and so are those that read or write files without being marked as stateful.
_INSIDE: Final = frozenset(
    {
        *("VarHandleOp", "ReadVariableOp", "AssignVariableOp", "VarIsInitializedOp", "ResourceGather", "Placeholder"),
        *("AssignAddVariableOp", "AssignSubVariableOp", "PartitionedCall", "StatefulPartitionedCall", "Assert"),
        *("If", "While", "Case", "StatelessIf", "StatelessWhile", "NoOp", "DisableCopyOnRead"),
        *("HashTableV2", "MutableHashTableV2", "LookupTableFindV2", "LookupTableImportV2", "LookupTableSizeV2"),
        *("LookupTableInsertV2", "LookupTableExportV2", "TensorListReserve", "TensorListFromTensor", "EmptyTensorList"),
        # Randomness is refused with its own message when the model is traced.
        *("RandomUniform", "RandomStandardNormal", "RandomUniformInt", "TruncatedNormal", "Multinomial"),
        *("RandomShuffle", "ParameterizedTruncatedNormal", "RandomGamma", "RandomPoissonV2"),
    }
)
_FILES: Final = frozenset(
    {
        *(
            "ReadFile",
            "WriteFile",
            "MatchingFiles",
            "DecodeProtoV2",
            "EncodeProto",
            "ShardedFilename",
            "MergeV2Checkpoints",
        ),
        *("SaveV2", "RestoreV2", "Save", "Restore", "SaveSlices", "RestoreSlice", "PyFuncStateless"),
    }
)
_SAVER: Final = frozenset({"SaveV2", "RestoreV2", "ShardedFilename", "MergeV2Checkpoints"})


def convert(
    traced: TracedModel, path: Path, settings: ConversionSettings
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the SavedModel folder `path` and give its inputs and outputs.

    Variables stay variables, so that BatchNormalization is not folded: a SavedModel can be loaded and looked into. The
    metadata is `assets/metadata.json`, the labels `assets/labels.txt`, one a line.
    """
    with tempfile.TemporaryDirectory(prefix=".cbam-", dir=path.parent) as folder:
        module = Servable(traced)
        for name, text in _assets(settings).items():
            file = Path(folder, name)
            file.write_text(text, encoding="utf-8")
            module.assets[name] = tf.saved_model.Asset(str(file))
        write(module, traced, path)
    return _declared(path, traced)


def _declared(path: Path, traced: TracedModel) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as the folder declares them, in the model's order."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def[SIGNATURE]

    def spec(info: Any, model: TensorSpec) -> TensorSpec:
        shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
        return TensorSpec(model.name, shape, tf.as_dtype(info.dtype).name, model.layout)

    return (
        tuple(spec(signature.inputs[model.name], model) for model in traced.inputs),
        tuple(spec(signature.outputs[model.name], model) for model in traced.outputs),
    )


def write(module: tf.Module, traced: TracedModel, path: Path) -> None:
    """Save `module` with the traced function as its signature."""
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: traced.function})


def load(path: Path) -> Any:
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
        _check_operations(path, meta_graph)
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds here; all mean the same to the user
        raise ModelError(f"{path}: TensorFlow cannot load this SavedModel ({first_line(error)})") from error
    if METADATA_ASSET in (getattr(loaded, "assets", None) or {}):
        del loaded.assets  # of an earlier export of ours: the new one brings its own
    if SIGNATURE not in getattr(loaded, "signatures", {}):
        have = ", ".join(map(repr, getattr(loaded, "signatures", {}))) or "none"
        raise ModelError(f"{path}: has no {SIGNATURE!r} signature (it has: {have}); save it with model.export()")
    return loaded


def _check_operations(path: Path, meta_graph: Any) -> None:
    """Refuse a graph with an operation that reaches outside of the model. Only the saver may name checkpoint files."""
    from tensorflow.python.framework import op_def_registry

    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    functions = {function.signature.name: function for function in graph.library.function}
    saving = {name.split(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name) if name}
    calls = [value.func.name for node in graph.node if node.name in saving for value in node.attr.values()]
    savers: set[str] = set()
    while calls:  # the functions that only the saver's two nodes lead to
        name = calls.pop()
        if name in functions and name not in savers:
            savers.add(name)
            calls += [value.func.name for node in functions[name].node_def for value in node.attr.values()]
    places = [("", node) for node in graph.node]
    places += [(name, node) for name, function in functions.items() for node in function.node_def]
    for function, node in places:
        definition = op_def_registry.get(node.op)
        stateful = definition is not None and definition.is_stateful and node.op not in _INSIDE
        allowed = node.op in _SAVER and function in savers
        if (stateful or node.op in _FILES) and not allowed:
            raise ModelError(
                f"{path}: refused, its graph holds the operation {node.op} (node {node.name!r}), which reaches files "
                f"or Python outside of the model, or keeps state; save the model without it"
            )


class Servable(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """Tracks what the function reads, and nothing of Keras: the folder loads where Keras is not installed."""

    def __init__(self, traced: TracedModel) -> None:
        super().__init__(name="served")
        self.read = list(traced.variables)
        # A loaded SavedModel may also hold tables and assets of its own, which only the loaded object tracks.
        self.source = traced.owner if traced.original.model is None else None
        self.assets: dict[str, tf.saved_model.Asset] = {}


def _assets(settings: ConversionSettings) -> dict[str, str]:
    assets = {METADATA_ASSET: json.dumps(settings.metadata, indent=2) + "\n"}
    labels = settings.metadata.get("labels")
    if labels:
        assets[LABELS_ASSET] = "\n".join(map(str, labels)) + "\n"
    return assets
