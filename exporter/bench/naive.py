"""What everybody's conversion of a Keras model gives: stock converters, on the model as it is, with an open batch."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from converters.artifact import Precision
from converters.errors import ConversionError

_SECONDS: Final = 1800.0
_CHILD: Final = Path(__file__).with_name("naive_integers.py")


@dataclasses.dataclass(frozen=True, slots=True)
class Naive:
    """One way.

    Attributes:
        name: what it is called in tables.
        convert: (the Keras model, its inputs to calibrate with, samples first, the file to write) -> None.
    """

    name: str
    convert: Callable[[Any, Iterable[np.ndarray], Path], None]


def make_naive(way: Naive, model: Any, calibration: Iterable[np.ndarray], path: Path) -> Path:
    """Convert a Keras model in one of the ways of NAIVE.

    Raises:
        ConversionError: it cannot be converted so.
    """
    try:
        # They talk on stdout, which is the result's alone.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of theirs about themselves
            way.convert(model, calibration, path)
    except ConversionError:
        raise
    except Exception as error:  # each of them raises many kinds
        text = " ".join(str(error).split())[:300]
        raise ConversionError(f"{way.name} cannot convert the model: {type(error).__name__}: {text}") from error
    return path


def _tflite(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _tflite_dynamic(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def _tflite_fp16(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())


def _tflite_integers(op_set: str) -> Callable[[Any, Iterable[np.ndarray], Path], None]:
    """In a process of its own: TensorFlow's quantiser can die of what it is calibrated with."""

    def convert(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
        saved, samples = path.with_suffix(".saved_model"), path.with_suffix(".npz")
        model.export(str(saved), verbose=False)
        np.savez(samples, allow_pickle=False, **{str(index): array for index, array in enumerate(calibration)})
        names = [tensor.name for tensor in model.inputs]
        command = [sys.executable, "-P", str(_CHILD), op_set, str(saved), str(samples), str(path), *names]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if ran.returncode:
            lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
            how = f"exit status {ran.returncode}" if ran.returncode > 0 else f"signal {-ran.returncode}"
            raise ConversionError(f"its quantiser ended with {how}: {lines[-1][:300] if lines else 'no message'}")

    return convert


def _keras_export(format_name: str) -> Callable[[Any, Iterable[np.ndarray], Path], None]:
    def convert(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
        model.export(str(path), format=format_name, verbose=False)

    return convert


def _tf2onnx(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    import tf2onnx

    tf2onnx.convert.from_keras(model, output_path=str(path))


def _onnx_fp16(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _tf2onnx(model, calibration, path)
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def _onnx_dynamic(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    _tf2onnx(model, calibration, path)
    quantize_dynamic(path, path)


def _onnx_int8(model: Any, calibration: Iterable[np.ndarray], path: Path) -> None:
    """As ONNX Runtime's manual has it: preprocessed, then quantised with all that is default."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    arrays = list(calibration)
    names = [tensor.name for tensor in model.inputs]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._samples = (
                {name: array[index : index + 1] for name, array in zip(names, arrays, strict=True)}
                for index in range(len(arrays[0]))
            )

        def get_next(self) -> Any:
            return next(self._samples, None)

    _tf2onnx(model, calibration, path)
    quant_pre_process(path, path, skip_symbolic_shape=True)
    quantize_static(path, path, Reader())


NAIVE: Final[Mapping[tuple[str, Precision], tuple[Naive, ...]]] = MappingProxyType(
    {
        ("tflite", Precision.FP32): (
            Naive("TFLiteConverter", _tflite),
            Naive("Keras export", _keras_export("litert")),
        ),
        ("tflite", Precision.FP16): (Naive("TFLiteConverter fp16", _tflite_fp16),),
        ("tflite", Precision.DYNAMIC): (Naive("TFLiteConverter dynamic", _tflite_dynamic),),
        ("tflite", Precision.INT8): (Naive("TFLiteConverter int8", _tflite_integers("TFLITE_BUILTINS_INT8")),),
        ("tflite", Precision.INT16X8): (
            Naive(
                "TFLiteConverter int16x8",
                _tflite_integers("EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"),
            ),
        ),
        ("onnx", Precision.FP32): (Naive("tf2onnx", _tf2onnx), Naive("Keras export", _keras_export("onnx"))),
        ("onnx", Precision.FP16): (Naive("tf2onnx, ORT fp16", _onnx_fp16),),
        ("onnx", Precision.DYNAMIC): (Naive("tf2onnx, ORT dynamic", _onnx_dynamic),),
        ("onnx", Precision.INT8): (Naive("tf2onnx, ORT int8", _onnx_int8),),
    }
)
"""By format and precision; the first is the one that ratios are told against."""
