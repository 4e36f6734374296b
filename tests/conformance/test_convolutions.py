"""Exports with rewritten convolutions: wholly run by XNNPACK, verified, and searched along the layers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from converters.artifact import Precision
from drawn_weights import drawn
from exporter import ExportOptions, QuantisationOptions, export, quantize
from exporter.locating import LayerSearch
from exporter.parity.locate import Finding
from exporter.parity.verdict import Verdict
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source


def _model() -> Any:
    keras.utils.set_random_seed(3)
    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization(name="stem_bn")(layers.Conv2D(48, 3, strides=2, padding="same")(image)))
    for name in ("one", "two"):
        y = layers.Conv2D(48, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        y = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(y))
        x = layers.Add(name=f"{name}_add")([x, y])
    x = layers.Dense(5, name="scores")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x, name="net")
    return drawn(model)


@pytest.fixture(scope="module")
def model() -> Any:
    return _model()


def _operations(path: Path) -> tuple[Counter[str], Counter[str]]:
    """What is run with XNNPACK, and what is stored."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    counts = []
    for options in ({}, {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}):
        interpreter = Interpreter(model_path=str(path), num_threads=1, **options)
        interpreter.allocate_tensors()
        counts.append(Counter(op["op_name"] for op in interpreter._get_ops_details()))
    run, stored = counts
    return run - stored, stored


def _verdicts(result: Any) -> set[Verdict]:
    return {verdict.verdict for report in result.reports for verdict in report.outputs.values()}


def test_winograd_is_one_partition_verified_and_can_be_declined(model: Any, tmp_path: Path) -> None:
    made = export(model, ExportOptions(("tflite",), output=tmp_path / "winograd"))
    plain = export(model, ExportOptions(("tflite",), output=tmp_path / "plain", winograd=False))
    assert _verdicts(made) == _verdicts(plain) == {Verdict.PASSED}
    run, stored = _operations(made.artifacts[0].path)
    assert run == Counter(DELEGATE=1)
    assert stored["CONV_2D"] == 1 + 2 * 4
    assert _operations(plain.artifacts[0].path)[1]["CONV_2D"] == 3
    rules = made.artifacts[0].metadata["lowered"]["rewrites"]
    assert rules == {"one_conv": ["winograd"], "two_conv": ["winograd"]}


@pytest.mark.parametrize("named", ["one_conv", "two_bn"])
def test_a_fault_in_a_rewritten_convolution_is_found(model: Any, named: str, tmp_path: Path) -> None:
    source = load_source(model)
    given, _ = samples(trace(source, ExportOptions()).inputs, (0.0, 1.0), None)
    search = LayerSearch(source, given)
    faulty = _model()
    weight = faulty.get_layer(named).weights[0]
    value = np.array(weight)
    value.reshape(-1)[np.abs(value).argmax()] *= 1.05
    weight.assign(value)
    sound, wrong = (
        export(each, ExportOptions(("tflite",), output=tmp_path / name, verify=False)).artifacts[0]
        for name, each in (("sound", model), ("wrong", faulty))
    )
    with runtime("litert").open(sound) as session:
        profile = search.profile(sound, session)
        assert not profile.unmatched
        assert not [row for row in profile.rows if row.finding is Finding.LEAVES]
    with runtime("litert").open(wrong) as session:
        found = search.profile(wrong, session).divergence
    assert found is not None
    assert named in found.layer.split(" + ")


@pytest.mark.slow
def test_paired_columns_change_no_number_of_an_int8_file(model: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(0, 1, (120, 32, 32, 3)).astype(np.float32)
    outputs = []
    for lowered in (True, False):
        options = ExportOptions(
            ("tflite",),
            precision=Precision.INT8,
            output=tmp_path / str(lowered),
            lower=lowered,
            quantisation=QuantisationOptions(calibration=images, methods=("minmax",), force=True, io="float32"),
        )
        (artifact,) = quantize(model, options).artifacts
        with runtime("litert").open(artifact) as session:
            outputs.append(session.run({"image": images[:1]}))
        stored = _operations(artifact.path)[1]
        assert stored["RESHAPE"] == int(lowered)
    assert all(np.array_equal(outputs[0][name], outputs[1][name]) for name in outputs[0])
