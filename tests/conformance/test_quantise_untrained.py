"""A model before training, its scores nearly alike, is quantised or refused in words: no runtime ends the process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.errors import ConversionError
from exporter import ExportOptions, QuantisationOptions, build_model, export
from exporter.parity.gates import Gates

IMAGES = np.random.default_rng(0).random((16, 16, 16, 3), np.float32)


def asked(folder: Path, precision: str) -> ExportOptions:
    gates = Gates(agreement=0.0, sqnr_db=-1000.0)
    options = QuantisationOptions(calibration=IMAGES, force=True, min_samples=1, methods=("minmax",), gates=gates)
    return ExportOptions(("tflite",), precision=precision, output=folder, quantisation=options)


def test_a_runtime_that_dies_of_a_candidate_is_its_fault(tmp_path: Path) -> None:
    model = build_model("cbam-small-cnn", input_shape=(16, 16, 3))
    with pytest.raises(ConversionError, match="litert-reference died of SIGABRT"):
        export(model, asked(tmp_path, "int8"))


@pytest.mark.slow
def test_runtimes_that_differ_as_float32_does_agree(tmp_path: Path) -> None:
    model = build_model("cbam-small-mobilenet", input_shape=(16, 16, 3))
    (artifact,) = export(model, asked(tmp_path, "fp16")).artifacts
    assert artifact.path.is_file()
