"""Float TFLite flatbuffer and the ranges of its tensors -> full-integer TFLite flatbuffer, by TensorFlow's quantiser.

Runs in a child process (`converters.quantise.child`): the quantiser ends the process where a range is not a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert
from tensorflow.lite.python.optimize import calibrator

from converters.artifact import Precision
from converters.errors import ConversionError
from converters.quantise import flatbuffer
from converters.quantise.kept import Kept
from converters.quantise.stitch import stitch


def quantise(
    source: str,
    target: str,
    ranges: Mapping[str, Sequence[float]],
    *,
    precision: str,
    io: str,
    kept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `target`, a full-integer form of the float file `source`; JSON-able in and out.

    Args:
        ranges: by tensor, what it is stored to hold: low <= 0 <= high, as `converters.quantise.floors` leaves them.
        precision: int8 or int16x8.
        io: dtype of inputs and outputs: int8, uint8 or float32 for int8; int16 or float32 for int16x8.
        kept: int8: the fields of a `Kept`.
    """
    apart = Kept(**(kept or {}))
    model = flatbuffer.read(Path(source).read_bytes())
    flatbuffer.set_ranges(model, {name: (low, high) for name, (low, high) in ranges.items()})
    if apart.in_float:
        _restore_biases(model, flatbuffer.read(Path(apart.plain).read_bytes()), apart.in_float)
    _tell_apart(model)
    ranged = flatbuffer.write(model)
    if Precision(precision) is Precision.INT16X8:
        content = _int16x8(ranged, io)
    else:
        content = convert.mlir_quantize(
            ranged,
            input_data_type=tf.as_dtype(io),
            output_data_type=tf.as_dtype(io),
            denylisted_nodes=set(apart.in_float) or None,
        )
        if apart.in_int16:
            flatbuffer.set_ranges(model, {name: (low, high) for name, (low, high) in apart.wide.items()})
            content = stitch(bytes(content), _int16x8(flatbuffer.write(model), "int16"), apart.in_int16)
    if content[4:8] != flatbuffer.IDENTIFIER:
        raise ConversionError("TensorFlow's quantiser gave bytes that are not a TFLite flatbuffer")
    Path(target).write_bytes(content)
    return {"bytes": len(content)}


def _int16x8(ranged: bytes, io: str) -> Any:
    """By the older of TensorFlow's two quantisers: the newer one writes int16 with zero points, for no kernel."""
    number = {name: np.dtype(name).num for name in (io, "int16", "int64")}
    per_tensor = False
    return calibrator.Calibrator(ranged)._calibrator.QuantizeModel(
        number[io], number[io], False, number["int16"], number["int64"], per_tensor, per_tensor
    )


def _restore_biases(model: Any, plain: Any, in_float: Sequence[str]) -> None:
    """Give operations that stay in float their own bias again: their weights are not rounded."""
    graph, before = model.subgraphs[0], plain.subgraphs[0]
    names, names_before = flatbuffer.tensor_names(graph), flatbuffer.tensor_names(before)
    values = flatbuffer.constant_values(plain)
    own = {names_before[int(operation.outputs[0])]: operation for operation in before.operators}
    for operation in graph.operators:
        output = names[int(operation.outputs[0])]
        inputs = [int(index) for index in operation.inputs]
        if output not in in_float or len(inputs) < 3 or output not in own:
            continue
        had = [int(index) for index in own[output].inputs]
        bias = names_before[had[2]] if len(had) > 2 and had[2] >= 0 else None
        place = flatbuffer.add_tensor(model, inputs[2], "/own", values[bias]) if bias in values else -1
        operation.inputs = np.array([*inputs[:2], place, *inputs[3:]], np.int32)


def _tell_apart(model: Any) -> None:
    """Give every operation a bias of its own, even where one layer is called twice.

    A bias is stored in steps of input scale times weight scale. The two calls of a shared Dense have different input
    scales, and the quantiser gives both the first one's: the bias of the other is then off by the ratio of the two.
    Constants of equal values are merged, of different layers too, so each copy differs in the last bit of one value.
    """
    graph = model.subgraphs[0]
    values = flatbuffer.constant_values(model)
    names = flatbuffer.tensor_names(graph)
    used: set[bytes] = set()
    for operation in graph.operators:
        for place, index in enumerate(operation.inputs):
            index = int(index)
            if index < 0 or names[index] not in values or values[names[index]].ndim != 1:
                continue
            value = values[names[index]]
            if value.tobytes() in used:
                value = value.copy()
                at = int(np.argmax(np.abs(value)))
                while value.tobytes() in used:
                    value[at] = np.nextafter(value[at], np.float32(np.inf))
                operation.inputs[place] = flatbuffer.add_tensor(model, index, f"/use{len(used)}", value)
            used.add(value.tobytes())
