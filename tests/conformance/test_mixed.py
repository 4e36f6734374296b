"""Operations kept out of int8: by a metric of the user's, in float and in int16, in both formats; and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converters.errors import CalibrationError, OptionError
from converters.quantise import flatbuffer
from exporter import ExportOptions, QuantisationOptions, quantize
from exporter.model_run import run_model
from exporter.models.zoo import ZOO
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.source import load_source

MODEL = "cbam-mnist"
DROP = 0.0013
"""How far the root mean square of the error may be from 0; all in int8 is further away."""


def closeness(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The more the better: 0 for outputs that are the targets."""
    return -float(np.sqrt(np.mean((outputs - targets) ** 2)))


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    """Images and what the float model makes of them."""
    images = ZOO[MODEL].test_images()[:200]
    traced = trace(load_source(MODEL), ExportOptions())
    return images, run_model(traced, {"image": images})["predictions"]


def options(given: tuple[np.ndarray, np.ndarray], folder: Path, name: str, **asked: Any) -> ExportOptions:
    quantisation = QuantisationOptions(
        given[0], methods=("minmax",), io="float32", targets=given[1], metric=closeness, max_drop=DROP, **asked
    )
    return ExportOptions((name,), "int8", output=folder, lower=False, quantisation=quantisation)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int16", "float"])
def test_a_metric_decides_what_is_kept(kind: str, truth: Any, tmp_path: Path) -> None:
    result = quantize(MODEL, options(truth, tmp_path, "tflite", keep=kind))
    found = result.searches["tflite"]
    assert found.reached
    assert found.wish.measured == ("closeness", 0.0)
    assert result.candidates["tflite"][0].value < -DROP <= found.candidate.value
    contents = result.contents["tflite"]
    of_kind, other = (contents.in_float, contents.in_int16)[:: 1 if kind == "float" else -1]
    assert 0 < len(found.kept) < contents.operations / 2
    assert set(of_kind) == set(found.keys)
    assert not other
    graph = flatbuffer.describe(result.artifacts[0].path.read_bytes())
    types = {tensor.dtype for op in graph.operations[1:-1] for tensor in op.outputs}
    assert types == ({"int8", "float32"} if kind == "float" else {"int8", "int16"})
    for artifact in result.artifacts:  # in the delegate, in portable kernels, and as the sidecar has it
        sidecar = json.loads(artifact.path.with_name(f"{artifact.path.name}.json").read_text())
        assert len(sidecar["metadata"]["quantisation"]["kept"][kind]) == len(found.kept)
        runs = []
        for name in ("litert", "litert-reference"):
            with runtime(name).open(artifact) as session:
                runs.append(np.concatenate([session.run({"image": x[None]})["predictions"] for x in truth[0][:16]]))
        np.testing.assert_allclose(runs[0], runs[1], atol=0.05)


@pytest.mark.slow
def test_onnx_hands_16_bits_between_those_kept(truth: Any, tmp_path: Path) -> None:
    result = quantize(MODEL, options(truth, tmp_path, "onnx", keep="int16"))
    found = result.searches["onnx"]
    assert found.reached
    model = onnx.load(result.artifacts[0].path)
    constants = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    wide = [
        node
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and constants[node.input[2]] == onnx.TensorProto.UINT16
    ]
    assert wide
    assert {node.domain for node in wide} == {"com.microsoft"}
    assert 0 < len(result.contents["onnx"].in_int16) <= len(found.keys)
    assert set(result.contents["onnx"].in_int16) <= set(found.keys)


def test_what_does_not_go_together_is_refused(truth: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a metric compares outputs with targets"):
        QuantisationOptions(metric=closeness, max_drop=0.1)
    with pytest.raises(OptionError, match="--targets is for --max-drop"):
        QuantisationOptions(targets="own")
    with pytest.raises(OptionError, match="--keep takes float, int16 or either; got 'int32'"):
        QuantisationOptions(max_drop=0.1, keep="int32")
    images, outputs = truth
    for targets, match in (
        (outputs[:7], "7 targets for 200 samples"),
        ("folders", "targets folders are for a folder of images"),
        ("own", "others were given"),
    ):
        asked = QuantisationOptions(images, targets=targets, max_drop=0.1)
        with pytest.raises(CalibrationError, match=match):
            quantize(MODEL, ExportOptions(("tflite",), "int8", output=tmp_path / "out", quantisation=asked))
    assert not (tmp_path / "out").exists()


SEARCH = ("quantize", "cbam-mobilenet-mnist", "--no-lower", "--ranges", "minmax", "--max-drop", "0%", "--io", "float32")


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    note = tmp_path / "parts" / ".cbam-mobilenet-mnist.int8.tflite.float.search.json"
    process = subprocess.Popen(
        [sys.executable, "-c", "from exporter.cli import main; main()", *SEARCH, "-o", str(note.parent)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    known = 0
    while known < 3:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
        if note.exists():
            known = len(json.loads(note.read_text())["scores"])
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    rest = run(note.parent)
    assert rest["known_before"] >= 3
    assert rest["conversions"] == whole["conversions"] - rest["known_before"]
    assert [each["key"] for each in rest["kept"]] == [each["key"] for each in whole["kept"]]
    name = "cbam-mobilenet-mnist.int8.tflite"
    assert (note.parent / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not note.exists()


def run(folder: Path) -> Any:
    command = [sys.executable, "-c", "from exporter.cli import main; main()", *SEARCH, "--json", "-o", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)["search"]["tflite"]
