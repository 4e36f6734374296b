"""The matrix in short, with ARM64: the userland is installed as a user installs it, and `cbam-mnist` verified in it.

Where it is installed already, that one is taken. It is skipped where it cannot be had: no Debian machine, no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import ExportOptions, ReferenceOptions, VerifyOptions, export, reference, verify
from exporter.runtimes.status import status

RUNTIMES = ("litert-arm64-a53", "onnxruntime-arm64-a53")
SAMPLES = 4  # real ones; with the edge cases they are some twenty
SECONDS = 900  # for one command, on a machine that does much else

FORGED = ("is not the file", "offers another file", "DO NOT MATCH THE HASHES")
"""What an installation says when a download is not what it should be; that is no reason to skip."""


@pytest.fixture(scope="module")
def userland(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """It is installed: in the user's own cache, or in one that is gone afterwards."""
    if all(status(name).available for name in RUNTIMES):
        yield
        return
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        _install(folder)
        yield
    shutil.rmtree(folder)  # 230 MB, which pytest would keep


def _install(folder: Path) -> None:
    script = "import sys; from exporter.cli import main; sys.argv[0] = 'cbam'; main()"
    command = [sys.executable, "-c", script, "runtimes", "install", "arm64"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    if ran.returncode == 4:
        assert not any(words in ran.stderr for words in FORGED), ran.stderr
        pytest.skip(f"no ARM64 userland here: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.usefixtures("userland")
def test_the_shipped_model_passes_on_an_emulated_arm64_processor(tmp_path: Path) -> None:
    artifacts = export("cbam-mnist", ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False)).artifacts
    record = reference("cbam-mnist", None, ReferenceOptions("cpu", samples=SAMPLES))
    found = verify(artifacts, record, VerifyOptions(RUNTIMES, causes=False))
    assert found.passed
    ran = {(Path(row["artifact"]).suffix, row["runtime_name"]) for row in found.rows}
    assert ran == set(zip((".tflite", ".onnx"), RUNTIMES, strict=True))
    assert [row["verdict"] for row in found.rows if row["case"] == "inputs"] == ["PASSED", "PASSED"]
    assert {row["verdict"] for row in found.rows} <= {"PASSED", "NOT INFORMATIVE"}
    assert all("cortex-a53" in row["runtime"] for row in found.rows)
