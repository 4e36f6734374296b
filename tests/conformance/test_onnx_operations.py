"""Operations that tf2onnx has no form for, or a wrong one: they are exported, and compute the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from exporter import ExportOptions, export

BODIES: dict[str, Callable[[Any], Any]] = {
    "exact GELU (Erfc)": layers.Activation("gelu"),
    "CELU (Expm1)": layers.Activation("celu"),
    "expm1": ops.expm1,
    "log1p": lambda x: ops.log1p(ops.square(x) * ops.exp(10 * x)),
    "a choice between a NaN and a number": lambda x: ops.where(
        x > 0.5, ops.log(x - 0.5), 1 / ops.minimum(x - 0.5, -1e-3)
    ),
    "a choice between integers": lambda x: ops.cast(ops.where(x > 0.5, 3, 4), "float32") * x,
    "7 of 11, 20 of 13, bilinear": layers.Resizing(20, 7, interpolation="bilinear"),
    "7 of 11, 20 of 13, nearest": layers.Resizing(20, 7, interpolation="nearest"),
    "one resize behind another": lambda x: layers.Resizing(31, 19)(layers.Resizing(20, 7)(x)),
    "steps of 3, kernel of 3 x 2, SAME": layers.Conv2DTranspose(4, (3, 2), strides=3, padding="same"),
    "steps of 3, kernel of 3 x 2, VALID": layers.Conv2DTranspose(4, (3, 2), strides=3),
    "steps of 4, kernel of 1": layers.Conv2DTranspose(4, 1, strides=4, padding="same"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_it_is_exported_and_computes_the_same(name: str, batch: Any, tmp_path: Path) -> None:
    inputs = keras.Input((13, 11, 6))
    model = keras.Model(inputs, BODIES[name](inputs))
    assert export(model, ExportOptions(formats=("onnx",), output=tmp_path, batch=batch)).passed


@pytest.mark.parametrize("source", ["model", "SavedModel of Keras"])
def test_argmax_knows_negative_zero(source: str, tmp_path: Path) -> None:
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    inputs = keras.Input((4,), batch_size=1)
    model = keras.Model(inputs, ops.cast(ops.argmax(inputs, axis=-1), "float32"))
    if source == "model":
        export(model, ExportOptions(formats=("onnx", "tflite"), output=tmp_path))
        interpreter = Interpreter(str(next(tmp_path.glob("*.tflite"))))
    else:
        model.export(tmp_path / "theirs", verbose=False)
        export(tmp_path / "theirs", ExportOptions(formats=("onnx",), output=tmp_path))  # TFLite has no BITWISE_AND
        interpreter = None
    session = onnxruntime.InferenceSession(next(tmp_path.glob("*.onnx")))
    for x in ([-0.0, 0.0, -1.0, -0.0], [-0.0, -1.0, -0.0, -2.0], [-np.inf, -5.0, -4.0, -4.0], [3.0, 1.0, np.inf, 0.0]):
        given = np.asarray([x], np.float32)
        expected = np.asarray(model(given))
        assert session.run(None, {session.get_inputs()[0].name: given})[0] == expected, x
        if interpreter is not None:
            run = interpreter.get_signature_runner()
            (name,) = run.get_input_details()
            assert next(iter(run(**{name: given}).values())) == expected, x
