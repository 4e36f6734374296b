"""What others build on: the keys of --json, the sidecar, and nothing else on stdout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]

ARTIFACT = {"path", "format", "precision", "sha256", "bytes", "inputs", "outputs"}
VERIFICATION = {
    *("artifact", "runtime", "output", "max_abs", "mean_abs", "relative", "cosine", "sqnr_db", "agreement"),
    *("tolerance", "verdict"),
}
TENSOR = {"name", "shape", "dtype", "layout", "scale", "zero_point"}


def test_export_prints_one_object_and_the_table_on_stderr(tmp_path: Path, run_cli: Cli) -> None:
    ran = run_cli("export", "-f", "onnx", "-f", "tflite", "--json")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert {"schema", "artifacts", "verification"} <= result.keys()
    assert result["schema"] == "cbam-export/1"
    for artifact in result["artifacts"]:
        assert artifact.keys() >= ARTIFACT
        assert artifact["bytes"] == (tmp_path / artifact["path"]).stat().st_size
        assert all(spec.keys() == TENSOR for spec in artifact["inputs"] + artifact["outputs"])
        sidecar = json.loads((tmp_path / f"{artifact['path']}.json").read_text())
        assert sidecar["sha256"] == artifact["sha256"]
        assert sidecar["path"] == Path(artifact["path"]).name
    for row in result["verification"]:
        assert row.keys() >= VERIFICATION
        assert row["verdict"] == "PASSED"
        assert row["max_abs"] / row["spread"] == row["relative"] <= row["tolerance"]
        assert row["agreement"] == 1.0
    assert [row["runtime"].split()[0] for row in result["verification"]] == ["onnxruntime", "ai-edge-litert"]
    for word in ("max abs", "mean abs", "cosine", "top-1 agrees", "tolerance", "PASSED"):
        assert word in ran.stderr
    # What TensorFlow, absl and LiteRT write when they start is not for the user.
    for noise in ("oneDNN", "XNNPACK delegate for CPU", "absl::InitializeLog", "cuda", "WARNING"):
        assert noise not in ran.stderr


def test_verbose_keeps_what_the_libraries_say(run_cli: Cli) -> None:
    assert "XNNPACK delegate for CPU" in run_cli("export", "-f", "tflite", "-v").stderr


def test_quiet_prints_the_path_alone(run_cli: Cli) -> None:
    ran = run_cli("export", "-q", "--no-verify")
    assert (ran.stdout, ran.stderr) == ("exported/cbam-mnist.onnx\n", "")


def test_inspect_and_models(run_cli: Cli) -> None:
    found = json.loads(run_cli("inspect", "--json").stdout)
    assert found["parameters"] == {"trainable": 77_666, "total": 78_056}
    assert (
        found["macs"] == 6_653_354
    )  # by hand: 6,547,968 of convolutions, 100,842 spatial gates, 3,584 MLPs, 960 classifier
    assert [block["channels"] for block in found["blocks"]] == [32, 64, 96]
    first = {"name": "stage1_cbam", "dialect": "paper", "differs": [], "channels": 32, "height": 28, "width": 28}
    assert first.items() <= found["blocks"][0].items()
    rows = json.loads(run_cli("models", "--sizes", "resnet18", "cbam-resnet18", "--json").stdout)["models"]
    assert [row["parameters"]["trainable"] for row in rows] == [11_689_512, 11_779_392]
    assert [round(row["macs"] / 1e9, 3) for row in rows] == [1.814, 1.815]


@pytest.mark.parametrize("labels", [["zero", "one"], [str(i) for i in range(10)]])
def test_labels_are_counted_and_stored(tmp_path: Path, run_cli: Cli, labels: list[str]) -> None:
    (tmp_path / "names.txt").write_text("\n".join(labels) + "\n")
    ran = run_cli("export", "--labels", "names.txt", "--no-verify", "--json")
    result: dict[str, Any] = json.loads(ran.stdout)
    if len(labels) == 10:
        sidecar = json.loads((tmp_path / "exported" / "cbam-mnist.onnx.json").read_text())
        assert sidecar["metadata"]["labels"] == labels
    else:
        assert ran.returncode == 2
        assert "2 labels were given; the model has the outputs predictions 1x10" in result["error"]["message"]


@pytest.mark.slow
def test_the_papers_multiply_adds_are_printed(run_cli: Cli) -> None:
    names = ("cbam-resnet18", "cbam-resnet34", "cbam-resnet50", "cbam-resnet101")
    ran = run_cli("models", "--sizes", "--bottleneck-stride", "1x1", *names, "-q")
    for figure in ("1.8151 G", "3.6654 G", "3.8644 G", "7.5814 G", "28,089,624", "49,435,582"):
        assert figure in ran.stdout


def test_what_cannot_be_counted_is_null_and_said(tmp_path: Path, run_cli: Cli) -> None:
    import keras

    keras.Sequential([keras.Input((7, 5)), keras.layers.LSTM(6)]).save(tmp_path / "loop.keras")
    found = json.loads(run_cli("inspect", "loop.keras", "--json").stdout)
    assert (found["macs"], found["parameters"]) == (None, {"trainable": 288, "total": 288})
    assert "a number of times that is not known" in run_cli("inspect", "loop.keras").stdout.replace("\n", " ")
