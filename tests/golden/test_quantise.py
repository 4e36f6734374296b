"""What others build on in `cbam quantize`: the keys of --json, the exit codes, the tables on stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


def test_quantize_prints_one_object_and_the_tables_on_stderr(tmp_path: Path, run_cli: Cli) -> None:
    ran = run_cli("quantize", "--json", "--no-lower", "--min-sqnr", "60", "-o", "out")
    assert ran.returncode == 1, ran.stderr  # 8 bits do not give 60 dB
    result = json.loads(ran.stdout)
    assert result["schema"] == "cbam-export/1"
    (artifact,) = result["artifacts"]
    assert artifact["precision"] == "int8"
    assert artifact["bytes"] == (tmp_path / "out" / "cbam-mnist.int8.tflite").stat().st_size
    assert [spec["scale"] for spec in artifact["inputs"] + artifact["outputs"]] == [0.003921568859368563, 0.00390625]
    assert {row["verdict"] for row in result["verification"]} == {"FAILED"}
    for row in result["verification"]:
        assert row["sqnr_db"] > 30
        assert row["agreement"] > 0.99
        assert "below 60 dB" in row["reason"]
    tried = result["candidates"]["tflite"]
    assert {row["ranges"] for row in tried} == {"minmax", "mse"}
    assert tried[0].keys() == {"form", "ranges", "sqnr_db", "agreement", "floored", "fault"}
    assert result["contents"]["tflite"]["in_float"] == []
    assert result["calibration"]["samples"] == 200
    assert result["speed"]["tflite"].keys() == {"float_ms", "quantised_ms", "ratio"}
    assert result["facts"]["tflite"]["undelegated"] >= 0
    for word in (
        "tried, best first",
        "top-1 agrees",
        "below 60 dB in ai-edge-litert",
        "FAILED",
        "real = 0.0039215689 * (stored - -128)",
    ):
        assert word in ran.stderr


def test_the_script_takes_a_users_own_images(tmp_path: Path) -> None:
    from PIL import Image

    from exporter.models.zoo import ZOO

    (tmp_path / "images" / "deep").mkdir(parents=True)
    for place, image in enumerate(ZOO["cbam-mnist"].calibration_images()[:40]):
        name = f"deep/{place}.png" if place % 2 else f"{place}.webp"
        pixels = (image[..., 0] * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / name, lossless=True)
    command = [sys.executable, str(ROOT / "scripts" / "quantize_tflite.py"), "--calibration", "images", "--no-lower"]
    ran = subprocess.run([*command, "--ranges", "minmax", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "exported/cbam-mnist.int8.tflite\n"
    assert ran.stderr == "40 calibration samples: from 100 on the ranges are reliable\n"
    sidecar = json.loads((tmp_path / "exported" / "cbam-mnist.int8.tflite.json").read_text())
    assert sidecar["metadata"]["calibration"]["described"] == "40 images of images"


def test_refused_data_are_an_error_in_json(tmp_path: Path, run_cli: Cli) -> None:
    np.save(tmp_path / "bytes.npy", np.random.default_rng(0).uniform(0, 255, (50, 28, 28, 1)).astype(np.float32))
    ran = run_cli("quantize", "--calibration", "bytes.npy", "--json")
    assert ran.returncode == 2
    error = json.loads(ran.stdout)["error"]
    assert error["kind"] == "calibration"
    assert "expected 0..1" in error["message"]
    assert not (tmp_path / "exported").exists()
