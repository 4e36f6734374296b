"""Files, references and results that are broken, foreign, endless or edited, and what a user is told of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.errors import ModelError, OptionError, OutputError
from exporter import ExportOptions, ReferenceOptions, VerifyOptions, bundle, export, reference, verify
from exporter.bundling import BundleOptions
from exporter.parity.record import Record, read

ROOT = Path(__file__).resolve().parents[2]
Cli = Callable[..., subprocess.CompletedProcess[str]]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as a file whose layers and operations bear the names that Keras gives by itself, with two outputs."""
    import keras

    from exporter.models.cbam import CBAM

    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((24, 24, 3), name="image")
    x = CBAM("paper", name="attention")(layers.Conv2D(16, 3, padding="same", activation="relu", name="reshape")(image))
    x = layers.Concatenate(name="concatenate")([layers.Multiply(name="multiply")([x, x]), x])
    pooled = layers.Add(name="add")([layers.GlobalAveragePooling2D()(x), keras.ops.mean(x, (1, 2))])
    outputs = {"scores.a": layers.Dense(4, use_bias=False)(pooled), "größe": layers.Dense(1, use_bias=False)(pooled)}
    path = tmp_path_factory.mktemp("hostile") / "named.keras"
    keras.Model(image, outputs, name="named").save(path)
    return path


@pytest.fixture(scope="module")
def made(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    import keras

    keras.backend.clear_session()  # as in a process that only reads the file: no name is taken yet
    options = ExportOptions(formats=("tflite", "onnx"), output=tmp_path_factory.mktemp("out"), verify=False)
    return {each.format: each for each in export(model, options).artifacts}


@pytest.fixture(scope="module")
def recorded(model: Path) -> Path:
    path = model.with_suffix(".npz")
    reference(model, path, ReferenceOptions("cpu"))
    return path


@pytest.fixture(scope="module")
def record(recorded: Path) -> Record:
    return read(recorded)


def test_names_that_keras_gives_do_not_clash_with_those_of_the_model(made: dict[str, Artifact]) -> None:
    for artifact in made.values():
        assert artifact.metadata["lowered"]["rewrites"], "nothing was lowered, so that nothing was tried"
        assert len(artifact.outputs) == 2


def test_a_mean_of_equal_values_is_no_fault(made: dict[str, Artifact], record: Record) -> None:
    """LiteRT sums a constant map one value after the other, which rounds each time in the same direction."""
    found = verify([made["tflite"]], record, VerifyOptions(causes=False))
    assert found.passed
    (row,) = (row for row in found.rows if (row["output"], row["case"]) == ("größe", "extremes"))
    assert row["verdict"] == "PASSED"
    assert row["relative"] > 10 * row["noise"]["float32"], "the framework's own error would have told this alone"
    assert "for means of equal values" in row["tolerance_source"]
    assert record.workload.averaged >= 3 * 24 * 24
    assert all("equal values" not in (row["tolerance_source"] or "") for row in found.rows if row["case"] != "extremes")


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """An ONNX file for the same input that never gives anything."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def value(name: str, kind: int, shape: tuple[int, ...]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    state = [value("i", kinds.INT64, ()), value("go", kinds.BOOL, ()), value("x", kinds.FLOAT, (1, 3))]
    given = [value("on", kinds.BOOL, ()), value("y", kinds.FLOAT, (1, 3))]
    steps = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Loop", ["", "true", "mean"], ["scores"], body=helper.make_graph(steps, "loop", state, given)),
    ]
    graph = helper.make_graph(
        nodes,
        "endless",
        [value("image", kinds.FLOAT, (1, 24, 24, 3))],
        [value("scores", kinds.FLOAT, (1, 3))],
        [helper.make_tensor("true", kinds.BOOL, [], [True])],
    )
    path = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_file_that_never_ends_or_is_cut_short_fails_and_the_others_go_on(
    made: dict[str, Artifact], recorded: Path, endless: Path, tmp_path: Path, run_cli: Cli
) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(made["tflite"].path.read_bytes()[:9000])
    files = [endless, cut, made["onnx"].path]
    options = ["--against", recorded, "--no-causes", "--time-limit", "3", "--output", tmp_path / "result.json"]
    ran = run_cli("verify", *files, *options)
    assert ran.returncode == 1, ran.stderr
    rows = json.loads((tmp_path / "result.json").read_text())["verification"]
    reasons = {row["artifact"]: row["reason"] for row in rows if row["case"] == "all"}
    assert "onnxruntime hangs: no answer in 3 s while running it; it was ended" in reasons[str(endless)]
    assert "LiteRT refuses it" in reasons[str(cut)]
    whole = [row["verdict"] for row in rows if row["artifact"] == str(made["onnx"].path)]
    assert len(whole) == 10
    assert "FAILED" not in whole
    assert "no runtime ran it" in ran.stdout
    assert ran.stderr.count("Traceback") == 0


def test_a_worker_in_an_endless_call_ends_with_its_parent(endless: Path, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = (
        "import json, numpy as np; from pathlib import Path; from exporter.candidates import load_candidate\n"
        f"from exporter.runtimes.apart import open_apart; artifact = load_candidate({str(endless)!r})\n"
        f"session = open_apart('onnxruntime', artifact); Path({str(told)!r}).write_text(str(session._process.pid))\n"
        "session.run({'image': np.zeros((1, 24, 24, 3), np.float32)})\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    child = int(told.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the worker outlived its parent")


def _edited(source: Path, target: Path, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Path:
    with np.load(source) as file:
        held = dict(file)
    head = {**json.loads(held.pop("header").tobytes()), **header}
    np.savez(target, header=np.frombuffer(json.dumps(head).encode(), np.uint8), **{**held, **arrays})
    return target


@pytest.mark.parametrize(
    ("header", "change", "said"),
    [
        ({"schema": "cbam-export/reference/2"}, None, "read it with the version of cbam-export that wrote it"),
        ({"workload": {"contractions": "x", "fan_in": 3}}, None, "not counted in whole numbers"),
        ({"workload": {"contractions": 1, "fan_in": -1}}, None, "not counted in whole numbers"),
        ({"environment": [1]}, None, "is not a reference file"),
        ({}, ("input_0", lambda array: np.full_like(array, np.nan)), "input 'image' holds NaN or infinity"),
        ({}, ("input_0", lambda array: array[:, :8]), "does not fit image"),
        ({}, ("input_0", lambda array: array.astype(np.float64)), "is of float64, not of float32"),
        ({}, ("input_0", lambda array: array.astype(str)), "which are no numbers"),
        ({}, ("truth_0", lambda array: np.full_like(array, np.nan)), "NaN or infinity for its real inputs"),
        ({}, ("truth_0", lambda array: array.astype(complex)), "which are no numbers"),
        ({}, ("truth_1", lambda array: array[:, :0]), "of different shapes"),
        ({}, ("noise_float32_0", lambda array: np.full_like(array, np.nan)), "are not all distances"),
        ({}, ("noise_float32_0", lambda array: -1 - array), "are not all distances"),
    ],
)
def test_a_reference_whose_parts_do_not_fit_is_refused(
    header: dict[str, Any], change: Any, said: str, recorded: Path, tmp_path: Path
) -> None:
    arrays = {}
    if change is not None:
        with np.load(recorded) as file:
            arrays = {change[0]: change[1](file[change[0]])}
    with pytest.raises(ModelError, match=said):
        read(_edited(recorded, tmp_path / "edited.npz", header, arrays))


def test_a_reference_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000, 4096), }".ljust(117) + "\n"
    import zipfile

    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file:
        file.writestr("header.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode())
    with pytest.raises(ModelError, match="more than fits into memory"):
        read(tmp_path / "huge.npz")


@pytest.fixture(scope="module")
def result(made: dict[str, Artifact], record: Record) -> dict[str, Any]:
    return dict(verify([made["onnx"]], record, VerifyOptions(causes=False)).result)


def _first(**values: Any) -> Change:
    return lambda result: result["verification"][0].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_first(reason="SQNR 3 dB, below 20 dB"), "says why it did not"),
        (_first(tolerance=9.0, relative=8.0), "a tolerance above 0.05 of the spread"),
        (_first(tolerance=None, sqnr_db=3.0), "below 20 dB"),
        (_first(tolerance=None, sqnr_db=0.0), "below 20 dB"),
        (_first(tolerance=None, agreement=0.5), "agrees on less than 98%"),
        (_first(relative=-1.0), "relative is -1"),
        (_first(agreement="high"), "'agreement' of a row is 'high'"),
        (_first(samples=True), "'samples' of a row is 'True'"),
        (_first(artifact=5), "'artifact' of a row is '5'"),
        (_first(flips=[3], flip_count=1), "a flip is no object"),
        (_first(near_ties=3), "more flips than it counts"),
        (lambda result: result["verification"][0].pop("noise"), "a row has no 'noise'"),
        (lambda result: result["verification"].pop(0), "are not of all cases: inputs"),
        (
            lambda result: result.update(
                verification=[row for row in result["verification"] if row["output"] == "scores.a"]
            ),
            "do not tell of the outputs of the reference: 'größe'",
        ),
        (lambda result: result["reference"].pop("cases"), "its reference has no 'cases'"),
        (lambda result: result.pop("machine"), "it has no 'machine'"),
        (lambda result: result.update(causes=[1]), "is not the result"),
        (lambda result: result.update(gates=[{}]), "is not the result"),
        (lambda result: result.update(verification="none"), "'verification' of it is 'none'"),
    ],
)
def test_an_edited_result_is_not_merged(change: Change, said: str, result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert verify([], None, VerifyOptions(merge=(path,))).passed
    edited = copy.deepcopy(result)
    change(edited)
    path.write_text(json.dumps(edited))
    with pytest.raises(ModelError, match=said):
        verify([], None, VerifyOptions(merge=(path,)))


def test_rows_from_elsewhere_say_where_also_alone(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    told = verify([], None, VerifyOptions(merge=(path,)))
    assert all(row["machine"] for row in told.rows)
    assert len(told.rows) == len(result["verification"])
    path.write_text("[" * 100_000)
    with pytest.raises(ModelError, match="is not JSON"):
        verify([], None, VerifyOptions(merge=(path,)))


def test_a_result_alone_is_held_against_the_reference_that_is_named(
    result: dict[str, Any], record: Record, recorded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    assert verify([], recorded, VerifyOptions(merge=(path,))).passed
    other = dataclasses.replace(record, outputs={name: array + 1 for name, array in record.outputs.items()})
    with pytest.raises(ModelError, match="was made against another reference"):
        verify([], other, VerifyOptions(merge=(path,)))


def test_how_to_run_is_not_asked_for_where_nothing_is_run(result: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    with pytest.raises(OptionError, match=r"^--runtime, --samples: there is nothing to run"):
        verify([], None, VerifyOptions(merge=(path,), runtimes=("litert",), samples=3))


def test_what_cannot_be_written_is_told_before_the_work(
    made: dict[str, Artifact], recorded: Path, tmp_path: Path, run_cli: Cli
) -> None:
    for place, said in ((tmp_path, "is a folder"), (tmp_path / "none" / "x.json", "there is no folder")):
        ran = run_cli("verify", made["onnx"].path, "--against", recorded, "--output", place)
        assert ran.returncode == 2
        assert said in ran.stderr
        assert "running" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_holds_only_what_a_device_can_judge(
    made: dict[str, Artifact], record: Record, endless: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(made["tflite"].path.read_bytes()[:9000])
    with pytest.raises(ModelError, match="cannot be opened here, so there is no use in bundling it"):
        bundle([cut], record, tmp_path / "a.pyz")
    import onnx

    model = onnx.load(made["onnx"].path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 32
    onnx.save(model, tmp_path / "smaller.onnx")
    with pytest.raises((ModelError, OutputError)):
        bundle([tmp_path / "smaller.onnx"], record, tmp_path / "a.pyz")
    assert not (tmp_path / "a.pyz").exists()


def test_no_exit_code_of_a_bundle_says_that_a_check_failed_where_none_was_made(
    made: dict[str, Artifact], record: Record, tmp_path: Path
) -> None:
    path = bundle([made["tflite"]], record, tmp_path / "device.pyz", BundleOptions(samples=4))
    script = ROOT / "scripts" / "check_parity.py"

    def run(code: str, *arguments: str, program: Path = path) -> subprocess.CompletedProcess[str]:
        whole = f"import runpy, sys\n{code}\nsys.argv[1:] = {list(arguments)!r}\n"
        whole += f"sys.argv[0] = {str(program)!r}\nrunpy.run_path({str(program)!r}, run_name='__main__')"
        command = [sys.executable, "-c", whole]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    for ran in (run("sys.version_info = (3, 10)"), run("sys.version_info = (3, 10)", str(path), program=script)):
        assert (ran.returncode, ran.stdout) == (4, ""), ran.stderr
        assert ran.stderr.startswith("error: Python 3.11 or newer is needed")
    ran = run("", "--samples", "0")
    assert ran.returncode == 2
    assert "at least 2" in ran.stderr
    ran = run("", "--json", str(tmp_path))
    assert ran.returncode == 2
    assert "is a folder" in ran.stderr
    interrupt = "import numpy\ndef stop(*args, **kwargs): raise KeyboardInterrupt\nnumpy.load = stop"
    ran = run(interrupt)
    assert (ran.returncode, ran.stderr.splitlines()[-1]) == (130, "interrupted")
    (tmp_path / "half.pyz").write_bytes(path.read_bytes()[:50_000])
    ran = run("", str(tmp_path / "half.pyz"), program=script)
    assert ran.returncode == 2
    assert "damaged or no bundle" in ran.stderr


def test_on_a_device_too_a_file_that_never_ends_is_a_result(
    made: dict[str, Artifact], recorded: Path, endless: Path, tmp_path: Path
) -> None:
    path = bundle([endless, made["onnx"]], recorded, tmp_path / "device.pyz", BundleOptions(samples=4))
    command = [sys.executable, str(path), "--no-causes", "--json", "result.json"]
    ran = subprocess.run([*command, "--time-limit", "3"], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ran.returncode == 1, ran.stderr
    rows = json.loads((tmp_path / "result.json").read_text())["verification"]
    failed = {(row["artifact"], row["reason"]) for row in rows if row["verdict"] == "FAILED"}
    said = "endless.onnx: onnxruntime hangs: no answer in 3 s while running it; it was ended"
    assert failed == {(str(endless), said)}
    assert [row["verdict"] for row in rows if row["artifact"] == str(made["onnx"].path)].count("PASSED") >= 3
    # Where no process can be started, as under an emulator, that is said and everything runs in this one.
    code = f"import runpy, sys\nsys.argv = {[str(path), *command[2:]]!r}\nsys.executable = '/nowhere/python'\n"
    code += f"runpy.run_path({str(path)!r}, run_name='__main__')"
    bundle([made["onnx"]], recorded, path, BundleOptions(samples=4, overwrite=True))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "no process can be started here: a runtime that crashes or hangs ends this run" in ran.stderr


def test_the_layer_search_finds_nothing_in_sound_files(tmp_path: Path) -> None:
    """Gates without a live unit, a block whose mean ONNX has in one with it, and a mask that is cast."""
    import keras

    from exporter.models.cbam import CBAM

    keras.utils.set_random_seed(5)
    image, mask = keras.Input((16, 16, 3), name="image"), keras.Input((16, 16, 1), dtype="bool", name="mask")
    x = CBAM("paper", name="inner")(keras.layers.Conv2D(16, 3, padding="same", activation="relu")(image))
    x = CBAM("paper", name="last")(x * keras.ops.cast(mask, "float32"))
    scores = keras.layers.Dense(4, name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    masked = keras.Model([image, mask], scores, name="masked")
    options = ExportOptions(formats=("tflite", "onnx"), output=tmp_path, verify=False)
    found = verify(export(masked, options).artifacts, masked, VerifyOptions(causes=False, per_layer=True))
    assert found.passed
    assert len(found.result["profiles"]) == 2
    for profile in found.result["profiles"]:
        assert profile["divergence"] is None, profile["divergence"]
        assert profile["rows"]
    means = [row for row in found.result["profiles"][1]["rows"] if "global_average_pooling2d" in row["layers"][-1]]
    assert means, "the mean behind the last block is not in the file's own form"


@pytest.mark.slow
def test_a_quantised_input_that_holds_too_little_is_named(tmp_path: Path) -> None:
    """Calibrated with images of a hundredth of the contrast, by TensorFlow's own converter."""
    import keras
    import tensorflow as tf

    from exporter.models.zoo import ZOO

    net = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            keras.layers.Conv2D(8, 3, activation="relu", name="first"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="scores"),
        ],
        name="net",
    )
    net.export(tmp_path / "saved", verbose=False)
    images = ZOO["cbam-mnist"].test_images()[:16]
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None] * 0.01] for image in images)
    path = tmp_path / "net.tflite"
    path.write_bytes(converter.convert())
    np.save(tmp_path / "images.npy", images)
    record = reference(net, None, ReferenceOptions("cpu", inputs=tmp_path / "images.npy"))
    found = verify([path], record, VerifyOptions(causes=False, model=net))
    assert not found.passed
    (told,) = found.result["divergence"]
    assert told["layer"] == "image"
    assert "it is quantised to 0..0.01" in told["reason"]
    assert "clipped" in told["reason"]


def test_without_a_truth_nothing_is_said_to_be_worst(tmp_path: Path) -> None:
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="image")])  # type: ignore[misc]
        def __call__(self, image: Any) -> dict[str, Any]:
            return {"scores": tf.reduce_mean(image, (1, 2)) ** 2}

    module = Module()
    tf.saved_model.save(module, tmp_path / "saved", signatures=module.__call__)
    record = reference(tmp_path / "saved", None, ReferenceOptions("cpu"))
    (case,) = (case for case in record.cases if case.name == "scaled")
    assert "no truth tells which is worst" in case.described
    factors = case.described.partition("times ")[2].partition(":")[0].split(", ")
    assert len(set(factors)) == 4
