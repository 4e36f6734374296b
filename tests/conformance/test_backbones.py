"""Every shipped model and every backbone, with and without CBAM, exports without a false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter import ExportOptions, add_cbam, export
from exporter.formats import FORMATS
from exporter.inspection import known_models
from exporter.models.zoo import ZOO
from exporter.parity.verdict import Verdict

QUICK = ("cbam-mobilenet-mnist", "small-cnn")

# With random weights, CBAM blocks that each halve the map twice leave too little of an image in front of a softmax over
# 1000 classes; ResNet-101's branches add up until it saturates. docs/decisions.md, "Random weights".
UNINFORMATIVE = {
    *("cbam-mobilenetv1", "cbam-mobilenetv1-0.7", "cbam-mobilenetv2", "cbam-small-mobilenet"),
    "resnet101",
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in known_models()]
)
def test_a_model_of_ours_exports_without_a_false_alarm(name: str, tmp_path: Path) -> None:
    shapes = {} if name in ZOO else {"": (64, 64, 3)}
    result = export(name, ExportOptions(formats=("onnx", "tflite"), input_shapes=shapes, output=tmp_path))
    expected = Verdict.NOT_INFORMATIVE if name in UNINFORMATIVE else Verdict.PASSED
    for report in result.reports:
        assert report.outputs["predictions"].verdict is expected, report


@pytest.mark.slow
def test_cbam_put_into_a_model_of_keras_applications_exports_to_all_formats(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    # Logits: behind a softmax, the signal that random weights leave of an image is lost in the ones.
    plain: Any = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10, classifier_activation=None)
    model = add_cbam(plain, after="block_*_project_BN")
    result = export(model, ExportOptions(formats=tuple(FORMATS), input_range=(-1.0, 1.0), output=tmp_path))
    for report in result.reports:
        assert report.outputs["predictions"].verdict is Verdict.PASSED, report


@pytest.mark.slow
def test_a_whole_resnet50_exports_to_all_formats(tmp_path: Path) -> None:
    result = export("cbam-resnet50", ExportOptions(formats=tuple(FORMATS), output=tmp_path))
    assert result.artifacts[0].inputs[0].shape == (1, 224, 224, 3)
    for report in result.reports:
        assert report.outputs["predictions"].verdict is Verdict.PASSED, report
