"""References, verification and bundles as a user meets them: real models, real runtimes, no TensorFlow where none is
needed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.errors import ModelError, OptionError, OutputError, RuntimeUnavailableError
from exporter import BundleOptions, ReferenceOptions, VerifyOptions, bundle, reference, verify
from exporter.candidates import load_candidate
from exporter.parity.record import Record, read
from exporter.parity.text import lines
from exporter.parity.tolerances import Overrides
from exporter.runtimes.process import SERVE
from exporter.runtimes.status import status

Artifacts = Callable[[str, str], Artifact]
Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 60

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in %r:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
"""
FRAMEWORKS = ("tensorflow", "keras", "jax", "torch", "tf2onnx")
HOST_ONLY = (*FRAMEWORKS, "onnx", "click", "rich", "h5py")


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "mnist.npz"
    reference("cbam-mnist", path, ReferenceOptions(samples=SAMPLES))
    return path


@pytest.fixture(scope="session")
def record(mnist: Path) -> Record:
    return read(mnist)


@pytest.fixture(scope="session")
def made(artifacts: Artifacts) -> Artifacts:
    """As `artifacts`, with the types, scales and zero points that a quantised file has itself."""

    def get(format_name: str, kind: str) -> Artifact:
        base = artifacts(format_name, kind)
        if kind == "fp32":
            return base
        return dataclasses.replace(load_candidate(base.path), metadata=base.metadata)

    return get


def blocked(code: str, modules: tuple[str, ...], **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED % (modules,) + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **{"cwd": ROOT, **options})


def test_a_reference_says_how_far_each_arithmetic_is_from_the_truth(record: Record) -> None:
    assert [case.name for case in record.cases] == ["inputs", "zeros", "extremes", "noise", "scaled"]
    assert record.truth is not None
    assert record.truth["predictions"].dtype == np.float64
    real = {level: float(errors["predictions"][:SAMPLES].max()) for level, errors in record.noise.items()}
    assert real["reference"] == real["float32"]  # both are TensorFlow on this CPU
    # u of float32, TF32 and float16 are 2^-24, 2^-11 and 2^-11; weights alone are a part of float16.
    assert 1e-8 < real["float32"] < 1e-5
    assert real["float32"] * 50 < min(real["tf32"], real["fp16"], real["fp16_weights"])
    assert max(real["tf32"], real["fp16"]) < 2e-2
    assert [gates.block for gates in record.gates] == ["stage1_cbam", "stage2_cbam", "stage3_cbam"]
    channel, spatial = record.gates[0].channel, record.gates[0].spatial
    assert channel is not None
    assert spatial is not None
    assert (channel.shape, spatial.shape) == ((8, 32), (8, 28, 28))
    assert record.environment["device"] == "cpu"
    assert record.environment["backend"] == "tensorflow"
    assert record.environment["repeatable"] is True


def test_the_gates_are_those_of_the_layer(record: Record) -> None:
    import keras

    from exporter import load_model

    model = load_model("cbam-mnist")
    block = model.get_layer("stage1_cbam")
    inner = keras.Model(model.input, block.input)
    x = inner(record.inputs["image"][:8], training=False)
    channel = np.asarray(block(x, training=False))  # x * channel * spatial
    gates = record.gates[0]
    assert gates.channel is not None
    assert gates.spatial is not None
    expected = np.asarray(x) * gates.channel[:, None, None, :] * gates.spatial[..., None]
    np.testing.assert_allclose(channel, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["fp32", "fp16", "dynamic", "int8", "uint8", "int16x8"])
def test_tflite_of_every_precision_passes_and_a_changed_one_does_not(
    kind: str, made: Artifacts, record: Record
) -> None:
    artifact = made("tflite", kind)
    found = verify([artifact], record, VerifyOptions(causes=False))
    assert found.passed, [row["reason"] for row in found.rows]
    real = found.rows[0]
    assert (real["case"], real["verdict"], real["samples"]) == ("inputs", "PASSED", SAMPLES)
    assert real["noise"]["float32"] < real["noise"]["fp16"]
    assert (real["tolerance"] is None) == (kind not in ("fp32", "fp16"))


@pytest.mark.parametrize("kind", ["fp32", "fp16", "dynamic", "int8"])
def test_onnx_of_every_precision_passes(kind: str, made: Artifacts, record: Record) -> None:
    found = verify([made("onnx", kind)], record, VerifyOptions(causes=False))
    assert found.passed, [row["reason"] for row in found.rows]


def test_a_bare_file_is_what_its_sidecar_would_say(made: Artifacts, record: Record, tmp_path: Path) -> None:
    for format_name, kinds in (("tflite", ("fp32", "fp16", "dynamic", "int8", "int16x8")), ("onnx", ("fp32", "int8"))):
        for kind in kinds:
            artifact = made(format_name, kind)
            copy = tmp_path / f"{kind}-copy{artifact.path.suffix}"
            shutil.copy(artifact.path, copy)
            found = verify([copy], record, VerifyOptions(samples=20, causes=False))
            assert found.passed
            assert {(row["format"], row["precision"]) for row in found.rows} == {(format_name, kind)}
            (remark,) = found.result["remarks"]
            assert f"no sidecar: taken for {format_name} {kind} by its content" in remark["remark"]


def test_causes_are_runs_that_differ_in_one_thing(made: Artifacts, record: Record) -> None:
    candidates = [made("tflite", "fp32"), made("tflite", "int8"), made("onnx", "fp32")]
    found = verify(candidates, record)
    parts = {(Path(each["artifact"]).name, each["cause"]): each for each in found.result["causes"]}
    float_file, int8_file, onnx_file = (each.path.name for each in candidates)
    assert parts[float_file, "TF32 of a GPU"]["measured"] is False
    assert all(each["measured"] for (_, cause), each in parts.items() if cause != "TF32 of a GPU")
    assert 0 < parts[float_file, "export"]["relative"] < 1e-4
    assert 0 < parts[float_file, "delegate"]["relative"] < 1e-4
    assert parts[onnx_file, "graph optimisation"]["relative"] < 1e-4
    assert "from the fp32 file" in parts[int8_file, "quantisation"]["how"]
    assert parts[int8_file, "quantisation"]["relative"] > 100 * parts[int8_file, "export"]["relative"]


def test_a_changed_weight_and_turned_axes_fail(made: Artifacts, record: Record, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    source = made("onnx", "fp32")
    model = onnx.load(source.path)
    tensor = max(model.graph.initializer, key=lambda each: int(np.prod(each.dims)))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[int(np.argmax(np.abs(values)))] *= 1.01
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "changed.onnx")
    found = verify([tmp_path / "changed.onnx"], record, VerifyOptions(causes=False))
    assert not found.passed
    assert "x the tolerance" in found.rows[0]["reason"]
    assert found.result["divergence"] == []  # without the model no layer can be named
    found = verify([tmp_path / "changed.onnx"], record, VerifyOptions(causes=False, model="cbam-mnist"))
    (divergence,) = found.result["divergence"]
    assert divergence.keys() >= {"artifact", "layer", "block", "tensor"}
    assert divergence["artifact"] == str(tmp_path / "changed.onnx")
    named = [text for text in lines(found.result) if "leaves the model" in text]
    assert named
    assert divergence["layer"] in named[0]
    assert "conv" in divergence["layer"] or "stage" in divergence["layer"]


def test_a_worker_that_dies_is_a_failed_row_and_the_others_go_on(
    made: Artifacts, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "serve.py"
    script.write_text(
        "import os, runpy, signal, sys\n"
        "if sys.argv[1].endswith('run_tensorflow.py'):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"runpy.run_path({str(SERVE)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr("exporter.runtimes.process.SERVE", script)
    found = verify([made("saved_model", "fp32"), made("onnx", "fp32")], record, VerifyOptions(causes=False))
    dead, *rest = found.rows
    assert not found.passed
    assert (dead["verdict"], dead["case"], dead["max_abs"]) == ("FAILED", "all", None)
    assert "died of SIGKILL" in dead["reason"]
    assert [row["runtime_name"] for row in rest] == ["onnxruntime"] * 5
    assert {row["verdict"] for row in rest} == {"PASSED"}


def test_a_refused_file_is_a_failed_row(made: Artifacts, record: Record, tmp_path: Path) -> None:
    artifact = made("onnx", "fp32")
    (tmp_path / "cut.onnx").write_bytes(artifact.path.read_bytes()[:3000])
    (row,) = verify([dataclasses.replace(artifact, path=tmp_path / "cut.onnx")], record).rows
    assert row["verdict"] == "FAILED"
    assert "ONNX Runtime refuses it" in row["reason"]


def test_what_cannot_be_asked_for_is_refused(made: Artifacts, record: Record, tmp_path: Path) -> None:
    tflite = made("tflite", "fp32")
    for options, error, said in (
        ({"runtimes": ("onnxruntime",)}, OptionError, "runs onnx in .*; the candidates are tflite in fp32"),
        ({"runtimes": ("litter",)}, OptionError, "did you mean 'litert'"),
        ({"samples": 1}, OptionError, "at least 2"),
        ({"overrides": {"prediction": Overrides(atol=1.0)}}, OptionError, "did you mean 'predictions'"),
    ):
        with pytest.raises(error, match=said):
            verify([tflite], record, VerifyOptions(**options))
    with pytest.raises(OptionError, match="nothing to verify"):
        verify([], record)
    (tmp_path / "text.tflite").write_text("this is no model")
    with pytest.raises(ModelError, match="neither a TFLite nor an ONNX file"):
        verify([tmp_path / "text.tflite"], record)
    with pytest.raises(ModelError, match="no such file"):
        verify([tmp_path / "absent.tflite"], record)


def test_a_runtime_that_is_not_here_ends_with_4(made: Artifacts, mnist: Path, run_cli: Cli) -> None:
    found = status("onnxruntime-arm64-a53")
    if found.available:
        pytest.skip("the emulator is installed")
    ran = run_cli("verify", made("onnx", "fp32").path, "--against", mnist, "--runtime", "onnxruntime-arm64-a53")
    assert ran.returncode == 4, ran.stderr
    with pytest.raises(RuntimeUnavailableError):
        verify([made("onnx", "fp32")], mnist, VerifyOptions(("onnxruntime-arm64-a53",)))


def test_verify_needs_no_framework(made: Artifacts, mnist: Path) -> None:
    paths = [str(made("tflite", "fp32").path), str(made("onnx", "fp32").path)]
    code = (
        f"from exporter import verify; found = verify({paths!r}, {str(mnist)!r}); print(len(found.rows), found.passed)"
    )
    ran = blocked(code, FRAMEWORKS)
    assert ran.stdout.split() == ["10", "True"], ran.stderr[-2000:]


@pytest.fixture(scope="session")
def packed(made: Artifacts, mnist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "device.pyz"
    return bundle([made("tflite", "fp32"), made("onnx", "fp32"), made("tflite", "int8")], mnist, path)


def test_a_bundle_runs_with_numpy_and_two_runtimes(packed: Path, tmp_path: Path, mnist: Path, made: Artifacts) -> None:
    """Neither this checkout nor anything but NumPy and the runtimes can be imported."""
    alone = tmp_path / "elsewhere" / packed.name
    alone.parent.mkdir()
    shutil.copy(packed, alone)
    code = (
        f"import runpy\nsys.path[:] = [each for each in sys.path if each not in ('', {str(ROOT)!r})]\n"
        f"sys.argv = [{str(alone)!r}, '--json', 'result.json']\n"
        # An editable installation would lend the bundle what it lacks.
        "sys.meta_path[:] = [each for each in sys.meta_path if 'editable' not in repr(each).lower()]\n"
        "import atexit\n"
        "ours = lambda: [module.__file__ for name, module in sys.modules.items() "
        "if name.partition('.')[0] in ('converters', 'exporter')]\n"
        "atexit.register(lambda: print('OURS', {'cbam-bundle-' in each for each in ours()}))\n"
        f"runpy.run_path({str(alone)!r}, run_name='__main__')"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = blocked(code, HOST_ONLY, cwd=alone.parent, env=environment)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "OURS {True}" in ran.stdout
    result = json.loads((alone.parent / "result.json").read_text())
    assert result["passed"] is True
    assert len(result["verification"]) == 15
    assert {row["artifact"] for row in result["verification"]} >= {str(made("tflite", "fp32").path)}
    parts = {each["cause"] for each in result["causes"] if each["artifact"].endswith(".onnx")}
    assert {"export", "graph optimisation"} <= parts  # told without the onnx package, too
    for word in ("max / spread", "PASSED", "quantisation", "against the float64 truth"):
        assert word in ran.stdout
    merged = verify([], None, VerifyOptions(merge=(alone.parent / "result.json",)))
    assert merged.passed
    both = verify([made("onnx", "fp32")], mnist, VerifyOptions(merge=(alone.parent / "result.json",)))
    assert len(both.rows) == 5 + 15
    assert both.rows[0]["machine"] is None
    assert both.rows[-1]["machine"].startswith("Linux")


def test_the_script_takes_a_bundle_or_the_same_arguments(packed: Path, made: Artifacts, mnist: Path) -> None:
    script = str(ROOT / "scripts" / "check_parity.py")
    for arguments in (
        [str(packed), "--runtime", "litert-reference"],
        [str(made("tflite", "fp32").path), "--against", str(mnist), "--samples", "10", "--no-causes"],
    ):
        code = f"import runpy\nsys.argv = {[script, *arguments]!r}\nrunpy.run_path({script!r}, run_name='__main__')"
        ran = blocked(code, HOST_ONLY, cwd="/")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "PASSED" in ran.stdout
    text = Path(script).read_text(encoding="utf-8")
    assert text.count("# ///") == 2
    assert "tensorflow" not in [line.strip('# "') for line in text.splitlines()]


def test_a_result_that_contradicts_itself_is_not_merged(made: Artifacts, mnist: Path, tmp_path: Path) -> None:
    found = verify([made("onnx", "fp32")], mnist, VerifyOptions(samples=10, causes=False))
    for change, said in (
        (lambda result: result.update(passed=False), "its rows say otherwise"),
        (lambda result: result["verification"][0].update(relative=1.0), "beyond its tolerance"),
        (lambda result: result["verification"][0].update(max_abs=None), "measured nothing"),
        (lambda result: result["verification"][0].update(verdict="FINE"), "FINE"),
        (lambda result: result.update(schema="x"), "schema 'x'"),
        (lambda result: result["reference"].pop("sha256"), "sha256"),
    ):
        result = json.loads(json.dumps(found.result))
        change(result)
        (tmp_path / "result.json").write_text(json.dumps(result))
        with pytest.raises(ModelError, match=said):
            verify([], None, VerifyOptions(merge=(tmp_path / "result.json",)))
    other = json.loads(json.dumps(found.result))
    other["reference"]["sha256"] = "0" * 64
    (tmp_path / "result.json").write_text(json.dumps(other))
    with pytest.raises(ModelError, match="was made against another reference"):
        verify([made("onnx", "fp32")], mnist, VerifyOptions(merge=(tmp_path / "result.json",)))


def test_a_bundle_of_few_samples_carries_no_others_and_is_merged(
    made: Artifacts, mnist: Path, packed: Path, tmp_path: Path
) -> None:
    few, result = tmp_path / "few.pyz", tmp_path / "result.json"
    bundle([made("onnx", "fp32")], mnist, few, BundleOptions(samples=2))
    with zipfile.ZipFile(few) as one, zipfile.ZipFile(packed) as all_of_them:
        one.extract("reference.npz", tmp_path)
        assert one.getinfo("reference.npz").file_size < all_of_them.getinfo("reference.npz").file_size
    cut, whole = read(tmp_path / "reference.npz"), read(mnist)
    assert cut.cases[0].count == 2
    assert cut.samples == whole.samples - whole.cases[0].count + 2
    subprocess.run([sys.executable, str(few), "--json", str(result), "--no-causes"], check=True, capture_output=True)
    real = cut.cases[0].name
    assert {row["samples"] for row in json.loads(result.read_text())["verification"] if row["case"] == real} == {2}
    both = verify([made("onnx", "fp32")], mnist, VerifyOptions(merge=(result,), causes=False))
    assert {row["samples"] for row in both.rows if row["case"] == real} == {2, whole.cases[0].count}
    with pytest.raises(OptionError, match="at least 2"):
        bundle([made("onnx", "fp32")], mnist, tmp_path / "one.pyz", BundleOptions(samples=1))


def test_a_bundle_refuses_what_no_device_runs(made: Artifacts, mnist: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a bundle is for devices, which run tflite and onnx"):
        bundle([made("saved_model", "fp32")], mnist, tmp_path / "b.pyz")
    with pytest.raises(OutputError, match=r"is a \.pyz file"):
        bundle([made("onnx", "fp32")], mnist, tmp_path / "b.zip")
    (tmp_path / "b.pyz").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        bundle([made("onnx", "fp32")], mnist, tmp_path / "b.pyz")
    assert (tmp_path / "b.pyz").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76", "max,sve=off,sme=off"])
def test_a_bundle_runs_on_an_emulated_arm64(core: str, packed: Path, tmp_path: Path) -> None:
    if not status("litert-arm64-a53").available:
        pytest.skip(status("litert-arm64-a53").reason or "")
    from exporter.runtimes.arm64.userland import userland

    result = tmp_path / "result.json"
    command = [*userland().command(core), str(packed), "--samples", "4", "--no-causes", "--json", str(result)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    merged = verify([], None, VerifyOptions(merge=(result,)))
    assert merged.passed
    assert merged.result["machine"]["processor"] == "aarch64"
