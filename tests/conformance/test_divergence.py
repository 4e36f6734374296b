"""`cbam verify` names the layer at fault, where the model is at hand, says why where it is not, and writes its page."""

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
from converters.errors import ModelError, OptionError
from exporter import ExportOptions, ReferenceOptions, VerifyOptions, export, reference, verify
from exporter.parity.record import Record
from exporter.report.page import PAGE, RESULT, page

Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
FAULTY = ("faulty/small.tflite", "faulty/small.onnx")
SOUND = ("sound/small.tflite", "sound/small.onnx")


@pytest.fixture(scope="module")
def faults() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    import faults

    yield faults
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def model(faults: Any) -> Any:
    return faults.small((16, 12, 3))


def larger(kernel: np.ndarray) -> np.ndarray:
    """One weight a third larger, so that the outputs show it in every case."""
    changed = kernel.copy()
    changed[np.unravel_index(np.abs(kernel).argmax(), kernel.shape)] *= 1.3
    return changed


@pytest.fixture(scope="module")
def folder(model: Any, faults: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small.keras`, sound exports of it, and exports of a copy with a changed weight in conv2."""
    path = tmp_path_factory.mktemp("divergence")
    model.save(path / "small.keras")
    bad = faults.with_weights("conv2", larger)(model)
    for name, each in (("sound", model), ("faulty", bad)):
        export(each, ExportOptions(("tflite", "onnx"), output=path / name, verify=False))
    return path


@pytest.fixture(scope="module")
def record(model: Any) -> Record:
    return reference(model, None, ReferenceOptions(samples=8))


def test_a_changed_weight_is_named_by_its_layer_and_sound_files_have_none(folder: Path, run_cli: Cli) -> None:
    ran = run_cli("verify", *FAULTY, *SOUND, "--against", "small.keras", "--json", "--report", "page", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    found = json.loads(ran.stdout)
    verdicts = {row["artifact"]: set() for row in found["verification"]}
    for row in found["verification"]:
        verdicts[row["artifact"]].add(row["verdict"])
    assert [name for name, those in verdicts.items() if "FAILED" in those] == list(FAULTY)
    named = [(each["artifact"], each["layer"], each["block"]) for each in found["divergence"]]
    assert named == [(name, "conv2", "") for name in FAULTY]
    assert all(each["tensor"] for each in found["divergence"])
    for name in FAULTY:
        assert f"{name}: first leaves the model at layer conv2;" in ran.stderr
    # A report shows all artifacts along the layers.
    assert [each["artifact"] for each in found["profiles"]] == [*FAULTY, *SOUND]
    assert {row["finding"] for row in found["profiles"][2]["rows"]} == {"agrees"}
    gates = {(each["artifact"], each["block"], each["gate"]): each for each in found["artifact_gates"]}
    assert gates[FAULTY[0], "cbam1", "channel"]["error"] < 1e-5 < gates[FAULTY[0], "cbam2", "channel"]["error"]
    assert json.loads((folder / "page" / RESULT).read_text()) == found
    assert (folder / "page" / PAGE).read_text(encoding="utf-8") == page(found)
    maps = [each for each in found["pictures"]["attention"] if each["artifact"] == FAULTY[0]]
    assert {each["block"] for each in maps} == {"cbam1", "cbam2", "cbam3"}
    first, second = (next(each for each in maps if each["block"] == name) for name in ("cbam1", "cbam2"))
    assert (first["height"], first["width"]) == (16, 12)
    assert first["error"] < 1e-5 < second["error"]
    assert {each["sample"] for each in maps} <= {each["sample"] for each in found["pictures"]["inputs"]}


def test_the_model_may_stand_beside_a_recorded_reference(folder: Path, record: Record, model: Any, faults: Any) -> None:
    files = [folder / name for name in (FAULTY[1], SOUND[1])]
    options = VerifyOptions(causes=False, model=folder / "small.keras")
    found = verify(files, record, options).result
    assert [each["layer"] for each in found["divergence"]] == ["conv2"]
    assert found["not_located"] == []
    assert "profiles" not in found
    whole = verify(files[1:], record, dataclasses.replace(options, per_layer=True))
    assert whole.passed
    assert whole.result["divergence"] == []
    assert [each["divergence"] for each in whole.result["profiles"]] == [None]
    other = faults.with_weights("conv1", faults.one_percent)(model)
    with pytest.raises(ModelError, match="other weights than the reference of small was recorded with"):
        verify(files, record, dataclasses.replace(options, model=other))


def test_where_no_layer_can_be_named_the_reason_is_told(folder: Path, record: Record, tmp_path: Path) -> None:
    bad, good = folder / FAULTY[0], folder / SOUND[0]

    def reason(options: VerifyOptions, file: Any = bad) -> str:
        found = verify([file, good], record, dataclasses.replace(options, causes=False)).result
        assert found["divergence"] == []
        (told,) = found["not_located"]
        return str(told["reason"])

    assert reason(VerifyOptions()) == "the model itself is not at hand; give it with --locate MODEL"
    assert reason(VerifyOptions(locate=False)) == "--no-locate was given"
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(good.read_bytes()[:4000])
    artifact = dataclasses.replace(Artifact.load(good), path=cut)
    assert "no runtime ran it" in reason(VerifyOptions(model=folder / "small.keras"), artifact)


def test_what_contradicts_itself_is_refused(folder: Path, record: Record, run_cli: Cli) -> None:
    for against, options, said in (
        (record, {"per_layer": True}, "--per-layer needs the model itself"),
        (folder / "small.keras", {"model": folder / "small.keras"}, "--against names a model already"),
        (record, {"locate": False, "per_layer": True}, "--no-locate contradicts"),
    ):
        with pytest.raises(OptionError, match=said):
            verify([folder / SOUND[0]], against, VerifyOptions(**options))
    (folder / "mine").write_text("")
    ran = run_cli("verify", SOUND[0], "--against", "x.npz", "--report", "mine", "--json", cwd=folder)
    assert ran.returncode == 2
    assert "--report takes a folder" in json.loads(ran.stdout)["error"]["message"]


def test_a_page_of_a_recorded_reference_alone_shows_the_models_own_maps(folder: Path, record: Record) -> None:
    found = verify([folder / FAULTY[0]], record, VerifyOptions(pictures=True)).result
    shown = found["pictures"]["attention"]
    assert {(each["artifact"], each["given"]) for each in shown} == {(None, None)}
    text = page(json.loads(json.dumps(found, allow_nan=False)))
    assert "The model alone" in text
    assert "give it with --locate MODEL" in text
