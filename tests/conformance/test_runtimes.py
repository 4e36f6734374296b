"""Every runtime of the table, on every format and precision that its row claims."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.errors import ConversionError, OptionError
from exporter import ExportOptions, export
from exporter.runtimes.base import Traceable
from exporter.runtimes.installs.table import INSTALLS
from exporter.runtimes.status import status, survey
from exporter.runtimes.table import RUNTIMES, runtime

Artifacts = Callable[[str, str], Artifact]

STORED = {"int8": np.int8, "uint8": np.uint8, "int16x8": np.int16}
SCALE = {
    "int8": (255, -128),
    "uint8": (255, 0),
    "int16x8": (32767, 0),
}  # of images in 0..1, as TensorFlow quantises them

# The default runtime of a format, which the others are compared with.
USUAL = {"saved_model": "litert", "tflite": "litert", "onnx": "onnxruntime"}
COMPARED = {
    "saved_model": "tflite",
    "tflite": "tflite",
    "onnx": "onnx",
}  # TensorFlow has nobody else to read its format

# How far the others may be from it: of a probability where the output is float, else in steps of the output's scale
# (1/256 of a probability). Measured on 2026-11-22 (docs/runtimes.md), and about doubled.
FLOAT = {"fp32": 5e-6, "fp16": 1e-3, "dynamic": 8e-3, "int8": 9e-3, "uint8": 9e-3}
STEPS = {"int8": 10, "uint8": 10, "int16x8": 2}
# XNNPACK computes alike on every processor; what differs by more are LiteRT's and TFLite Micro's own int8 kernels.
ALIKE = {"litert-arm64-a53": 1, "litert-arm64-a76": 1, "litert-arm64-v9": 1, "openvino": 2}

# These processors compute in half precision, where x86-64 computes in float32 and rounds.
HALF = {"onnxruntime-arm64-a76": 8e-3, "onnxruntime-arm64-v9": 8e-3}

QUICK_EMULATED = {("litert-arm64-a76", "int8")}


def cases() -> Iterator[Any]:
    for row in RUNTIMES.values():
        for format_name, precisions in row.runs.items():
            for kind in [str(each) for each in precisions] + (["uint8"] if "int8" in precisions else []):
                slow = row.emulated and (row.name, kind) not in QUICK_EMULATED
                marks = [pytest.mark.slow] if slow else []
                yield pytest.param(row.name, format_name, kind, id=f"{row.name}-{format_name}-{kind}", marks=marks)


def need(name: str) -> None:
    found = status(name)
    if not found.available:
        pytest.skip(found.reason or "")


def stored(images: np.ndarray, artifact: Artifact, kind: str) -> np.ndarray:
    if kind not in STORED or artifact.format != "tflite":
        return images
    scale, zero_point = SCALE[kind]
    return np.round(images * scale + zero_point).astype(STORED[kind])


def outputs(name: str, artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with runtime(name).open(artifact) as session:
        return np.concatenate([session.run({"image": image[None]})["predictions"] for image in images])


@pytest.mark.parametrize(("name", "format_name", "kind"), list(cases()))
def test_every_runtime_computes_what_the_usual_one_does(
    name: str, format_name: str, kind: str, artifacts: Artifacts, digits: np.ndarray
) -> None:
    need(name)
    artifact = artifacts(format_name, kind)
    images = stored(digits[:6], artifact, kind)
    given, usual = (
        outputs(name, artifact, images),
        outputs(USUAL[format_name], artifacts(COMPARED[format_name], kind), images),
    )
    assert (given.shape, given.dtype) == (usual.shape, usual.dtype)
    off = float(np.max(np.abs(given.astype(np.float64) - usual.astype(np.float64))))
    if given.dtype == np.float32:
        assert off <= (HALF.get(name, FLOAT[kind]) if kind == "fp16" else FLOAT[kind])
    else:
        assert off <= ALIKE.get(name, STEPS[kind])
    assert np.array_equal(given.argmax(1), usual.argmax(1))


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_tflite_micro_is_the_reference_and_tells_its_arena(kind: str, artifacts: Artifacts, digits: np.ndarray) -> None:
    need("tflite-micro")
    artifact = artifacts("tflite", kind)
    images = stored(digits[:6], artifact, kind)
    given, reference = (outputs(name, artifact, images) for name in ("tflite-micro", "litert-reference"))
    # Equal to the bit in float32; in int8 one output of 60 was found one step off.
    assert np.max(np.abs(given.astype(np.float64) - reference)) <= (1 if kind == "int8" else 0)
    with runtime("tflite-micro").open(artifact) as session:
        arena = session.facts["arena_bytes"]
        assert f"arena {arena:,} bytes" in session.description
    # The largest maps are 28x28x16, in and out of a layer.
    assert 28 * 28 * 16 * 2 * {"fp32": 4, "int8": 1}[kind] <= arena < 1_000_000


def test_what_a_row_does_not_claim_is_refused(artifacts: Artifacts) -> None:
    need("tflite-micro")
    for kind in ("fp16", "dynamic"):
        assert kind not in RUNTIMES["tflite-micro"].runs["tflite"]
        with pytest.raises(ConversionError, match=r"tflite-micro refuses it: RuntimeError: .*(DEQUANTIZE|Hybrid)"):
            runtime("tflite-micro").open(artifacts("tflite", kind))


def test_a_runtime_for_fixed_sizes_refuses_an_open_batch(tiny: Any, tmp_path: Path) -> None:
    need("tflite-micro")
    (artifact,) = export(tiny, ExportOptions(("tflite",), batch="dynamic", output=tmp_path, verify=False)).artifacts
    with pytest.raises(OptionError, match=r"input image \?x12x12x3 .* fixed sizes only; export it with --batch 1"):
        runtime("tflite-micro").open(artifact)


# TensorFlow, whose process starts slowly, is tried with all this in test_formats.py.
NATIVE = [row for row in RUNTIMES.values() if not row.emulated and row.name != "tensorflow"]


@pytest.mark.parametrize("name", [row.name for row in NATIVE if row.open_batch])
def test_an_open_batch_and_odd_names_in_every_runtime_that_takes_them(name: str, pair: Any, tmp_path: Path) -> None:
    need(name)
    (format_name, *_) = RUNTIMES[name].runs
    result = export(pair, ExportOptions((format_name,), batch="dynamic", output=tmp_path, runtimes=(name,)))
    assert result.passed
    assert set(result.reports[0].outputs) == {"z_first", "a_second"}


@pytest.mark.parametrize("name", [row.name for row in NATIVE])
def test_a_damaged_file_is_refused_by_name(name: str, artifacts: Artifacts, tmp_path: Path) -> None:
    need(name)
    for format_name in RUNTIMES[name].runs:
        whole = artifacts(format_name, "fp32")
        damaged = tmp_path / f"damaged{whole.path.suffix}"
        damaged.write_bytes(whole.path.read_bytes()[:3000])
        with pytest.raises(ConversionError, match=r"^damaged"):
            runtime(name).open(dataclasses.replace(whole, path=damaged))


def test_an_export_is_verified_in_the_runtimes_that_were_asked_for(tiny: Any, tmp_path: Path) -> None:
    asked = tuple(name for name in ("litert-reference", "tflite-micro", "openvino") if status(name).available)
    options = ExportOptions(("tflite", "onnx"), output=tmp_path, runtimes=asked)
    result = export(tiny, options)
    assert result.passed
    ran = [(Path(report.artifact).suffix, report.runtime.split()[0]) for report in result.reports]
    packages = {"litert-reference": "ai-edge-litert"}
    expected = [(".tflite", packages.get(name, name)) for name in asked]
    expected.append((".onnx", "openvino" if "openvino" in asked else "onnxruntime"))
    assert ran == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"runtimes": ("litert",)}, "--runtime litert runs tflite in fp32, .*; asked for: onnx in fp32"),
        ({"runtimes": ("litter",)}, "unknown runtime 'litter'; did you mean 'litert'"),
        (
            {"runtimes": ("tflite-micro",), "formats": ("tflite",), "batch": "dynamic"},
            "--runtime tflite-micro takes a fixed batch only; asked for: --batch dynamic",
        ),
    ],
)
def test_a_runtime_that_cannot_run_what_is_asked_for_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ExportOptions(**options)


@pytest.mark.parametrize("kind", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["litert", "litert-builtin", "litert-reference"])
def test_inner_tensors_of_tflite(name: str, kind: str, artifacts: Artifacts, digits: np.ndarray) -> None:
    artifact = artifacts("tflite", kind)
    image = stored(digits[:1], artifact, kind)
    with runtime(name).open(artifact) as session:
        assert isinstance(session, Traceable)
        specs, values = session.tensors(), session.run_traced({"image": image})
        output = session.run({"image": image})["predictions"]
    assert [spec.name for spec in specs] == list(values)
    assert len(specs) > 20
    for spec in specs:
        value = values[spec.name]
        assert (value.shape, value.dtype) == (spec.shape, np.dtype(spec.dtype))
        assert (spec.scale is not None) == (value.dtype.kind == "i" and value.dtype != np.int32), spec
    last = list(values.values())[-1].astype(np.float64)
    assert np.max(np.abs(last - output)) <= (STEPS["int8"] if kind == "int8" else FLOAT["fp32"])


def test_inner_tensors_of_onnx(artifacts: Artifacts, digits: np.ndarray) -> None:
    artifact = artifacts("onnx", "fp32")
    before = artifact.path.read_bytes()
    with runtime("onnxruntime").open(artifact) as session:
        assert isinstance(session, Traceable)
        specs, values = session.tensors(), session.run_traced({"image": digits[:1]})
        output = session.run({"image": digits[:1]})["predictions"]
    assert [spec.name for spec in specs] == list(values)
    assert len(specs) > 20
    assert all(spec.dtype == values[spec.name].dtype.name for spec in specs)
    assert np.max(np.abs(values["predictions"] - output)) <= FLOAT["fp32"]
    assert artifact.path.read_bytes() == before


def test_inner_tensors_follow_an_open_batch(tiny: Any, tmp_path: Path) -> None:
    options = ExportOptions(("tflite", "onnx"), batch="dynamic", output=tmp_path, verify=False)
    for artifact in export(tiny, options).artifacts:
        with runtime(USUAL[artifact.format]).open(artifact) as session:
            for batch in (2, 3):
                image = np.random.default_rng(batch).random((batch, 12, 12, 3), np.float32)
                given, traced = session.run({"image": image}), session.run_traced({"image": image})
                near = [value for value in traced.values() if value.shape == given["scores"].shape]
                assert min(float(np.max(np.abs(value - given["scores"]))) for value in near) < 1e-5


def test_the_listing_says_of_each_whether_and_how(run_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    ran = run_cli("runtimes", "--json")
    assert ran.returncode == 0
    listed = json.loads(ran.stdout)["runtimes"]
    assert [each["name"] for each in listed] == list(RUNTIMES)
    for each in listed:
        assert each["available"] == (each["version"] is not None) == (each["reason"] is None)
        assert each["install"] in [row.command for row in INSTALLS.values()]
        assert each["formats"] == list(each["precisions"])
    shown = run_cli("runtimes").stdout
    for name in RUNTIMES:
        assert name in shown


def test_the_listing_is_quick_and_imports_no_framework() -> None:
    code = "import sys; from exporter.runtimes.status import survey; survey(); "
    code += "print({'tensorflow', 'keras'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert ran.stdout.strip() == "set()"
    assert len(survey()) == len(RUNTIMES)


@pytest.mark.slow
def test_the_arm64_userland_is_what_it_should_be() -> None:
    need("litert-arm64-a53")
    INSTALLS["arm64"].test(lambda step: None)
