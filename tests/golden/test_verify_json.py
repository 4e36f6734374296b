"""What others build on: the keys of `cbam verify --json`, of a device's result, and where each thing is printed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter import ExportOptions, ReferenceOptions, export, reference

Cli = Callable[..., subprocess.CompletedProcess[str]]

RESULT = {
    *("schema", "passed", "verification", "divergence", "reference", "causes", "gates", "remarks", "left_out"),
    *("machine", "not_located", "artifact_gates"),
}
ROW = {
    *("artifact", "runtime", "output", "max_abs", "mean_abs", "relative", "cosine", "sqnr_db", "agreement"),
    *("tolerance", "verdict"),
    *("case", "samples", "reason", "flips", "flip_count", "near_ties", "spread", "vs_reference", "noise"),
    *("tolerance_source", "overrides", "format", "precision", "sha256", "runtime_name", "machine"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify")
    export("cbam-mnist", ExportOptions(("onnx",), output=path, verify=False))
    reference("cbam-mnist", path / "ref.npz", ReferenceOptions(samples=20))
    return path


def test_verify_prints_the_table_or_one_object(folder: Path, run_cli: Cli) -> None:
    file, against = folder / "cbam-mnist.onnx", ("--against", folder / "ref.npz")
    plain = run_cli("verify", file, *against)
    assert plain.returncode == 0, plain.stderr
    for word in ("max / spread", "PASSED", "where the differences come from", "gates of the model", "10 x the model's"):
        assert word in plain.stdout
    assert "running cbam-mnist.onnx" in plain.stderr
    ran = run_cli("verify", file, *against, "--json", "--output", "result.json")
    result = json.loads(ran.stdout)
    assert result.keys() >= RESULT
    assert (result["schema"], result["passed"], result["divergence"]) == ("cbam-export/1", True, [])
    assert [row["case"] for row in result["verification"]] == ["inputs", "zeros", "extremes", "noise", "scaled"]
    for row in result["verification"]:
        assert row.keys() == ROW
        assert row["max_abs"] / row["spread"] == row["relative"] <= row["tolerance"]
        assert row["noise"].keys() == {"reference", "float32", "tf32", "fp16_weights", "fp16"}
    assert {each["cause"] for each in result["causes"]} == {
        "reference arithmetic",
        "TF32 of a GPU",
        "export",
        "graph optimisation",
    }
    assert [each["block"] for each in result["gates"]][::2] == ["stage1_cbam", "stage2_cbam", "stage3_cbam"]
    assert result["reference"].keys() >= {
        "name",
        "source",
        "against",
        "sha256",
        "weights_sha256",
        "cases",
        "environment",
    }
    merged = run_cli("verify", "--merge", "result.json", "-q")
    assert (merged.stdout, merged.returncode) == ("5 PASSED\n", 0)


def test_a_failed_check_and_bad_usage_end_as_they_should(folder: Path, run_cli: Cli) -> None:
    file, against = folder / "cbam-mnist.onnx", ("--against", folder / "ref.npz")
    ran = run_cli("verify", file, *against, "--atol", "predictions=0", "--no-causes", "--json")
    assert ran.returncode == 1
    row = json.loads(ran.stdout)["verification"][0]
    assert (row["verdict"], row["overrides"]) == ("FAILED", "--atol 0")
    assert "asked for" in row["tolerance_source"]
    for arguments, said in (
        ((file, *against, "--atol", "some=thing"), "is not a number"),
        ((file, *against, "--atol", "1", "--atol", "2"), "--atol was given twice for all outputs"),
        ((file, *against, "--min-cosine", "2"), "--min-cosine takes a number from -1 to 1"),
        ((file, *against, "--runtime", "litter"), "unknown runtime 'litter'; did you mean 'litert'"),
        ((file, "--against", "absent.npz"), "absent.npz"),
        ((), "nothing to verify"),
    ):
        refused = run_cli("verify", *arguments, "--json")
        assert refused.returncode == 2, refused.stderr
        assert said in json.loads(refused.stdout)["error"]["message"]


def test_bundle_prints_its_path(folder: Path, tmp_path: Path, run_cli: Cli) -> None:
    ran = run_cli("bundle", folder / "cbam-mnist.onnx", "--against", folder / "ref.npz", "-o", "b.pyz", "-q")
    assert (ran.stdout, ran.returncode) == ("b.pyz\n", 0)
    again = run_cli("bundle", folder / "cbam-mnist.onnx", "--against", folder / "ref.npz", "-o", "b.pyz", "--overwrite")
    assert again.returncode == 0
    assert (tmp_path / "b.pyz").stat().st_mode & 0o111
