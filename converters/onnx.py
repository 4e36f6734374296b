"""Traced model -> ONNX, by tf2onnx, then put in order: names, opset, folded scales, open batch, metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

from converters import patches
from converters.artifact import TensorSpec
from converters.deploy.splice import HANDLERS, mark, splice
from converters.errors import ConversionError, ModelError
from converters.onnx_image import flatten_images
from converters.onnx_pads import fold_pads
from converters.onnx_sizes import state_sizes
from converters.onnx_stand_ins import SELECTION, stand_in
from converters.settings import ConversionSettings
from converters.trace import TracedModel

_NUMBER: Final = re.compile(r"__\d+(?=:|$)")
_TF2ONNX_NEWEST: Final = 18  # newer operator sets are reached by onnx.version_converter


def convert(
    traced: TracedModel, path: Path, settings: ConversionSettings
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Write the ONNX file `path` (float32) and give its inputs and outputs as the file declares them.

    Raises:
        ModelError: an operation that ONNX cannot express.
        ConversionError: a conversion whose result onnx.checker (full_check) refuses.
    """
    model = _to_onnx(traced, settings)
    if not any(_subgraphs(node) for node in model.graph.node):
        # With branches and loops, a tensor may be read from inside of them, which these do not look into.
        fold_pads(model.graph)
        _fold_scales(model.graph)
        if settings.flat_images:
            flatten_images(model.graph)
            _drop_unused(model.graph)
        _number_anew(model.graph)
    _name_batch(model.graph)
    if settings.opset > _TF2ONNX_NEWEST:
        model = onnx.version_converter.convert_version(model, settings.opset)
    _put_metadata(model, settings)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"onnx.checker refuses the converted model: {str(error).splitlines()[0]}") from error
    onnx.save(model, str(path))
    layouts = {spec.name: spec.layout for spec in (*traced.inputs, *traced.outputs)}
    if settings.inputs_as_nchw:
        layouts |= {spec.name: "NCHW" for spec in traced.inputs if spec.layout}
    return _specs(model.graph.input, layouts), _specs(model.graph.output, layouts)


def _to_onnx(traced: TracedModel, settings: ConversionSettings) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(traced.function, lower_control_flow=False)
    inputs = [tensor.name for tensor in frozen.inputs if tensor.dtype != tf.resource]
    # The flat outputs of a function that returns a dict are sorted by name.
    outputs = [tensor.name for tensor in frozen.outputs]
    output_names = sorted(spec.name for spec in traced.outputs)
    input_names = [spec.name for spec in traced.inputs]
    nchw = [tensor for tensor, spec in zip(inputs, traced.inputs, strict=True) if spec.layout == "NHWC"]
    if settings.inputs_as_nchw and not nchw:
        raise ModelError("--inputs-as-nchw: the model has no image input of rank 4 in NHWC layout")
    graph_def = patches.inline_compiled_functions(frozen.graph.as_graph_def())
    patches.plain_additions(graph_def)
    stand_in(graph_def)
    marked = mark(graph_def, traced.fragments)
    opset = min(settings.opset, _TF2ONNX_NEWEST)
    model = _from_graph(
        graph_def,
        input_names=inputs,
        output_names=outputs,
        opset=opset,
        inputs_as_nchw=nchw if settings.inputs_as_nchw else None,
        custom_op_handlers={**SELECTION, **(HANDLERS if marked else {})},
    )
    splice(model.graph, marked, opset)
    state_sizes(model)
    # tf2onnx leaves an operation that it cannot convert in the graph under TensorFlow's name, and goes on.
    unknown = sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)})
    if unknown:
        raise ModelError(f"ONNX has no form for TensorFlow's {', '.join(unknown)}; replace the layer that uses it")
    _rename(model.graph, dict(zip((*inputs, *outputs), (*input_names, *output_names), strict=True)))
    order = {spec.name: place for place, spec in enumerate(traced.outputs)}
    ordered = sorted(model.graph.output, key=lambda value: order[value.name])
    del model.graph.output[:]
    model.graph.output.extend(ordered)
    model.graph.name = "cbam-export"
    return model


def _from_graph(graph_def: Any, **arguments: Any) -> Any:
    """What tf2onnx makes of a GraphDef, without the copies of all weights that it makes left alone."""
    from tf2onnx.convert import from_graph_def

    with patches.weights_written_once():
        try:
            with patches.passes_in_place():
                model, _ = from_graph_def(graph_def, **arguments)
        except Exception:
            # tf2onnx can do without the pass that failed, if it may work on copies. Any other error comes again.
            model, _ = from_graph_def(graph_def, **arguments)
    return model


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Give graph inputs and outputs the user's names; an inner tensor that bears one of them is renamed."""
    final = set(names.values())
    nodes = list(_all_nodes(graph))
    used = {name for node in nodes for name in (*node.input, *node.output)} | {t.name for t in graph.initializer}
    table = {name: f"{name}__inner" for name in used & final if name not in names}
    table |= names
    for node in nodes:
        node.input[:] = [table.get(name, name) for name in node.input]
        node.output[:] = [table.get(name, name) for name in node.output]
        for subgraph in _subgraphs(node):
            for value in subgraph.output:
                value.name = table.get(value.name, value.name)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = table.get(value.name, value.name)


def _all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of the branches and loops in it, which read the outer graph's tensors by name."""
    for node in graph.node:
        yield node
        for subgraph in _subgraphs(node):
            yield from _all_nodes(subgraph)


def _subgraphs(node: Any) -> list[Any]:
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return graphs + [graph for attribute in node.attribute for graph in attribute.graphs]


def _fold_scales(graph: Any) -> None:
    """Fold a constant per-channel Mul, and then Add, behind a Conv into its weights and bias.

    tf2onnx folds BatchNormalization into dense convolutions, not into depthwise ones. y = s (w*x + b) + t is the
    convolution (s w)*x + (s b + t); a factor is rounded once more, which the parity check sees as one unit in the last
    place.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, int] = {}
    for name in [n for node in graph.node for n in node.input] + [value.name for value in graph.output]:
        uses[name] = uses.get(name, 0) + 1
    makers = {node.output[0]: node for node in graph.node}
    for node in list(graph.node):
        if node.op_type not in ("Mul", "Add") or len(node.input) != 2:
            continue
        data, factor = node.input if node.input[1] in constants else reversed(node.input)
        conv = makers.get(data)
        if factor not in constants or conv is None or conv.op_type != "Conv" or uses[data] != 1:
            continue
        weight = constants.get(conv.input[1])
        bias = constants.get(conv.input[2]) if len(conv.input) > 2 else None
        value = numpy_helper.to_array(constants[factor])
        if weight is None or (len(conv.input) > 2 and bias is None) or not _per_channel(value, weight.dims):
            continue
        channels = np.broadcast_to(value.reshape(-1), (weight.dims[0],))
        w, b = numpy_helper.to_array(weight), np.zeros(weight.dims[0], value.dtype)
        b = numpy_helper.to_array(bias) if bias is not None else b
        if node.op_type == "Mul":
            w, b = w * channels.reshape(-1, *[1] * (w.ndim - 1)), b * channels
        else:
            b = b + channels
        prefix = node.output[0]
        new = [numpy_helper.from_array(w, f"{prefix}__weight"), numpy_helper.from_array(b, f"{prefix}__bias")]
        graph.initializer.extend(new)
        constants |= {tensor.name: tensor for tensor in new}
        conv.input[:] = [conv.input[0], new[0].name, new[1].name]
        conv.output[0] = node.output[0]
        makers[conv.output[0]] = conv
        graph.node.remove(node)
    _drop_unused(graph)


def _per_channel(value: Any, weight_dims: Any) -> bool:
    """Whether `value` broadcasts against (N, C, *space) as one factor a channel."""
    rank, channels = len(weight_dims), weight_dims[0]
    shape = (1,) * (rank - value.ndim) + value.shape
    return value.ndim <= rank and shape in ((1, channels, *[1] * (rank - 2)), (1,) * rank)


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _number_anew(graph: Any) -> None:
    """Name inner tensors anew in the order of the graph, so that equal input gives equal bytes.

    tf2onnx numbers what it makes (`Mean_Squeeze__63`), and keeps the name of one of two equal constants, in an order
    that depends on Python's hash seed. A constant is called after the first node that reads it: `.../Conv2D.1`.
    """
    table = {value.name: value.name for value in (*graph.input, *graph.output)}
    taken, nodes = set(table), set[str]()
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        node.name = _free(_NUMBER.sub("", node.name), nodes)
        for place, name in enumerate(node.input):
            if name in constants and name not in table:
                table[name] = _free(f"{node.name}.{place}", taken)
        for name in node.output:
            if name and name not in table:
                table[name] = _free(_NUMBER.sub("", name), taken)
    for node in graph.node:
        node.input[:] = [table.get(name, name) for name in node.input]
        node.output[:] = [table.get(name, name) for name in node.output]
    order = {name: place for place, name in enumerate(table.values())}
    for value in (*graph.value_info, *graph.initializer):
        value.name = table.get(value.name, value.name)
    for field in (graph.initializer, graph.value_info):
        ordered = sorted(field, key=lambda value: order.get(value.name, len(order)))
        del field[:]
        field.extend(ordered)


def _free(name: str, taken: set[str]) -> str:
    free, count = name, 1
    while free in taken:
        free, count = f"{name}__{count}", count + 1
    taken.add(free)
    return free


def _name_batch(graph: Any) -> None:
    """An open first size of inputs and outputs is called `batch`; tf2onnx numbers it (unk__7)."""
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_param = "batch"


def _put_metadata(model: Any, settings: ConversionSettings) -> None:
    # ONNX Runtime's own domain, of 16-bit pairs, has no version of the format that it asks for.
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.producer_name = "cbam-export"
    model.producer_version = str(settings.metadata.get("provenance", {}).get("versions", {}).get("cbam-export", ""))
    model.doc_string = str(settings.metadata.get("description", ""))
    onnx.helper.set_model_props(
        model,
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.metadata.items()},
    )


def put_metadata(source: Path, target: Path, settings: ConversionSettings) -> None:
    """Write `source` again as `target`, with other metadata inside."""
    model = onnx.load(source)
    _put_metadata(model, settings)
    onnx.save(model, str(target))


def _specs(values: Any, layouts: dict[str, str | None]) -> tuple[TensorSpec, ...]:
    specs = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        specs.append(TensorSpec(value.name, shape, dtype, layouts.get(value.name)))
    return tuple(specs)
