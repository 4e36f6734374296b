"""Which tensor of an artifact is which of a reference: by name, by place, by shape, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact, Precision, TensorSpec
from converters.errors import ModelError
from exporter.parity.fitting import fit
from exporter.parity.record import Record

MakeRecord = Callable[..., Record]


def artifact(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], bare: bool = False) -> Artifact:
    metadata: dict[str, Any] = {"provenance": {"weights_sha256": "f" * 64}}
    if bare:
        metadata = {"provenance": {}, "described_by": "the file itself"}
    return Artifact(Path("some.onnx"), "onnx", Precision.FP32, inputs, outputs, "", 0, metadata)


IMAGE = TensorSpec("image", (1, 4, 4, 3), "float32", "NHWC")
SCORES = TensorSpec("scores", (1, 6), "float32")


def test_names_that_a_format_restricts_are_still_the_same(make_record: MakeRecord) -> None:
    record = make_record()
    fitting = fit(record, artifact((dataclasses.replace(IMAGE, name="IMAGE:0"),), (SCORES,)))
    assert list(fitting.feed(record.inputs)) == ["IMAGE:0"]
    assert fitting.remarks == ()


def test_nchw_is_fed_as_nchw(make_record: MakeRecord) -> None:
    record = make_record()
    image = TensorSpec("image", (1, 3, 4, 4), "float32", "NCHW")
    for given, remarks in (
        (artifact((image,), (SCORES,)), 0),
        (artifact((dataclasses.replace(image, layout=None),), (SCORES,), bare=True), 1),
    ):
        fitting = fit(record, given)
        fed = fitting.feed(record.inputs)["image"]
        np.testing.assert_array_equal(fed, record.inputs["image"].transpose(0, 3, 1, 2))
        assert fed.flags["C_CONTIGUOUS"]
        assert len(fitting.remarks) == remarks


def test_quantised_tensors_are_stored_and_read_as_numbers(make_record: MakeRecord) -> None:
    record = make_record()
    image = dataclasses.replace(IMAGE, dtype="int8", scale=1 / 255, zero_point=-128)
    scores = dataclasses.replace(SCORES, dtype="int8", scale=0.1, zero_point=3)
    fitting = fit(record, artifact((image,), (scores,)))
    fed = fitting.feed(record.inputs)["image"]
    assert fed.dtype == np.int8
    np.testing.assert_allclose((fed.astype(float) + 128) / 255, record.inputs["image"], atol=0.5 / 255 + 1e-6)
    taken = fitting.take({"scores": np.array([[3, 13]], np.int8)})["scores"]
    np.testing.assert_allclose(taken, [[0.0, 1.0]])
    assert fitting.clipped(record) == {}
    wide = dict(record.inputs)
    wide["image"] = wide["image"].copy()
    wide["image"][record.cases[3].rows] *= 16
    beyond = fitting.clipped(dataclasses.replace(record, inputs=wide))
    count = record.cases[3].count
    words = f"{count} of {count} samples go beyond 0..1, which is all that the artifact's quantised input 'image' holds"
    assert beyond == {"noise": words}


def test_a_bare_file_with_other_names_is_paired_by_what_tells(make_record: MakeRecord) -> None:
    record = make_record()
    bare = artifact((dataclasses.replace(IMAGE, name="x"),), (dataclasses.replace(SCORES, name="Identity"),), bare=True)
    assert list(fit(record, bare).take({"Identity": np.zeros((1, 6))})) == ["scores"]
    two = make_record(
        input_specs=(IMAGE, dataclasses.replace(IMAGE, name="second", shape=(None, 5))),
        inputs={**record.inputs, "second": np.zeros((record.samples, 5), np.float32)},
    )
    turned = (TensorSpec("b", (1, 5), "float32"), TensorSpec("a", (1, 4, 4, 3), "float32"))
    fitting = fit(two, artifact(turned, (SCORES,), bare=True))
    assert {fit.name: fit.spec.name for fit in fitting.inputs} == {"image": "a", "second": "b"}
    assert "paired by their shapes" in fitting.remarks[0]
    alike = (TensorSpec("b", (1, 4, 4, 3), "float32"), TensorSpec("a", (1, 4, 4, 3), "float32"))
    with pytest.raises(ModelError, match="cannot be told which of its inputs"):
        fit(two, artifact(alike, (SCORES,), bare=True))


def test_other_sizes_and_other_numbers_of_inputs_are_refused(make_record: MakeRecord) -> None:
    record = make_record()
    with pytest.raises(ModelError, match=r"takes image 1x5x4x3 float32; the reference holds image"):
        fit(record, artifact((dataclasses.replace(IMAGE, shape=(1, 5, 4, 3), layout=None),), (SCORES,)))
    with pytest.raises(ModelError, match="takes 2 inputs"):
        fit(record, artifact((IMAGE, dataclasses.replace(IMAGE, name="b")), (SCORES,)))
    with pytest.raises(ModelError, match="takes batches of 2; the reference was recorded in batches of 1"):
        fit(make_record(batch=1), artifact((dataclasses.replace(IMAGE, shape=(2, 4, 4, 3)),), (SCORES,)))


def test_a_missing_output_is_left_to_the_verdict(make_record: MakeRecord) -> None:
    record = make_record()
    fitting = fit(record, artifact((IMAGE,), ()))
    assert fitting.take({}) == {}
    assert "gives 0 outputs" in fitting.remarks[0]


def test_other_weights_are_told(make_record: MakeRecord) -> None:
    record = make_record(fingerprint="0" * 64)
    assert fit(record, artifact((IMAGE,), (SCORES,))).remarks == (
        "it was exported from other weights than the reference was recorded with",
    )
