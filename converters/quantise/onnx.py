"""Float ONNX file -> half precision, dynamically quantised, or static int8 in QDQ form, by ONNX Runtime's tools.

Runs in a child process (`converters.quantise.child`).
"""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType

from converters.artifact import Precision
from converters.errors import ConversionError
from converters.quantise.floors import SMALLEST_SCALE
from converters.quantise.kept import Kept
from converters.quantise.widen import widen

_METHODS: Final = {
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_TYPES: Final = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What int8 needs; from JSON by `Calibration(**given)`.

    Attributes:
        samples: an .npz of the calibration calls, by input name with the calls stacked first.
        method: how ONNX Runtime finds ranges, entropy or percentile, where none are given.
        ranges: by tensor, what it is stored to hold.
        activations: uint8 or int8; weights are int8, one scale a channel.
    """

    samples: str
    method: str = "minmax"
    ranges: Mapping[str, Sequence[float]] | None = None
    activations: str = "uint8"


def quantise(
    source: str,
    target: str,
    *,
    precision: str,
    io: str = "float32",
    calibration: Mapping[str, Any] | None = None,
    kept: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `target` from the float file `source`; JSON-able in and out.

    Args:
        precision: fp16, dynamic or int8.
        io: fp16: dtype of inputs and outputs, float32 or float16.
        calibration: int8: the fields of a `Calibration`.
        kept: int8: the fields of a `Kept`.
    """
    logging.getLogger().setLevel(logging.ERROR)  # the tools advise to preprocess, which the converter has done
    wanted, apart = Precision(precision), Kept(**(kept or {}))
    if apart.in_float:
        source = _with_own_biases(source, apart.plain, apart.in_float, f"{target}.float")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what half precision rounds to zero
        if wanted is Precision.FP16:
            _half(source, target, io)
        elif wanted is Precision.DYNAMIC:
            quantization.quantize_dynamic(
                source, target, weight_type=QuantType.QInt8, nodes_to_exclude=_depthwise(source)
            )
        else:
            assert calibration is not None
            _static(source, target, Calibration(**calibration), apart.in_float)
            widen(target, apart.in_int16)
    _finish(source, target)
    return {"bytes": Path(target).stat().st_size}


def _depthwise(source: str) -> list[str]:
    """The depthwise convolutions, which stay in float: ONNX Runtime's dynamic form has one scale for all weights of an
    operation, and with a normalisation folded in those of one channel are often hundreds of times those of another.
    Measured on `cbam-mobilenet-mnist`: 12.4 dB with them, 33.4 dB without, in a file that is 1% larger."""
    model = onnx.load(source)
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    groups = {
        node.name: max((each.i for each in node.attribute if each.name == "group"), default=1)
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in shapes and shapes[node.input[1]][1] == 1
    }
    return [name for name, count in groups.items() if count > 1]


def _static(source: str, target: str, calibration: Calibration, in_float: Sequence[str]) -> None:
    """QDQ form, from given ranges or by ONNX Runtime's method of that name."""
    extra: dict[str, Any] = {"MinimumRealRange": 2 * SMALLEST_SCALE * 255}
    kind = _TYPES[calibration.activations]
    if calibration.ranges is None:
        reader, how = _Samples(calibration.samples), _METHODS[calibration.method]
    else:
        reader, how = _Samples(calibration.samples, most=1), CalibrationMethod.MinMax  # it is calibrated all the same
        extra["TensorQuantOverrides"] = {
            name: [{"quant_type": kind, "rmin": np.float32(low), "rmax": np.float32(high)}]
            for name, (low, high) in calibration.ranges.items()
        }
    quantization.quantize_static(
        source,
        target,
        reader,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=kind,
        weight_type=QuantType.QInt8,
        calibrate_method=how,
        nodes_to_exclude=list(in_float),
        extra_options=extra,
    )


def _with_own_biases(source: str, plain: str, in_float: Sequence[str], target: str) -> str:
    """Write `source` again with the own biases of nodes that stay in float: their weights are not rounded."""
    model, before = onnx.load(source), onnx.load(plain)
    own = {node.name: node for node in before.graph.node}
    values = {tensor.name: tensor for tensor in before.graph.initializer}
    present = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.name in in_float and len(node.input) > 2 and node.name in own:
            node.input[:] = own[node.name].input
            model.graph.initializer.extend(values[name] for name in node.input if name in values.keys() - present)
            present.update(node.input)
    onnx.save(model, target)
    return target


def _half(source: str, target: str, io: str) -> None:
    from onnxruntime.transformers import float16

    model = float16.convert_float_to_float16(onnx.load(source), keep_io_types=io == "float32")
    _sort(model.graph)  # the casts of inputs were put at the end
    onnx.save(model, target)


def _sort(graph: Any) -> None:
    """Put every node behind those whose results it reads."""
    waiting, sorted_nodes = list(graph.node), list[Any]()
    made = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    while waiting:
        ready = [node for node in waiting if made.issuperset(node.input)]
        if not ready:
            raise ConversionError("the half-precision graph reads what nothing computes")
        sorted_nodes += ready
        made.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not made.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(sorted_nodes)


class _Samples(quantization.CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Hands out the stored calls one by one."""

    def __init__(self, path: str, most: int | None = None) -> None:
        with np.load(path, allow_pickle=False) as stored:
            self._arrays: Mapping[str, np.ndarray] = {name: stored[name][:most] for name in stored.files}
        self._left = self._calls()

    def _calls(self) -> Iterator[dict[str, np.ndarray]]:
        for place in range(len(next(iter(self._arrays.values())))):
            yield {name: array[place] for name, array in self._arrays.items()}

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


def _finish(source: str, target: str) -> None:
    """Put the float file's metadata into the new one, and have it checked."""
    model, before = onnx.load(target), onnx.load(source)
    del model.metadata_props[:]
    model.metadata_props.extend(before.metadata_props)
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    model.doc_string, model.graph.name = before.doc_string, before.graph.name
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"onnx.checker refuses the converted model: {str(error).splitlines()[0]}") from error
    onnx.save(model, target)
