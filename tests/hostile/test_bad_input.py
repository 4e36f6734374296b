"""Input that cannot work gives one clear line and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.errors import ModelError, OptionError, OutputError
from exporter import ExportOptions, export
from exporter.publish import workspace

Cli = Callable[..., subprocess.CompletedProcess[str]]


def refused(model: Any, out: Path, match: str, kind: type[Exception] = ModelError, **options: Any) -> str:
    """Export must fail with this message, one line, and leave no file in `out`."""
    with pytest.raises(kind, match=match) as caught:
        export(model, ExportOptions(output=out, **options))
    assert "\n" not in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "absent.keras", tmp_path / "out", "absent.keras: no such file or folder")


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    refused("cbam-resnet5", tmp_path / "out", "no model named 'cbam-resnet5'.*did you mean 'cbam-resnet50'")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.keras").touch()
    refused(tmp_path / "empty.keras", tmp_path / "out", "empty")


def test_a_text_file_named_h5(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("these are not weights\n" * 20)
    refused(tmp_path / "notes.h5", tmp_path / "out", "text")


def test_a_truncated_keras_file(tiny: Any, tmp_path: Path) -> None:
    tiny.save(tmp_path / "whole.keras")
    content = (tmp_path / "whole.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: len(content) * 2 // 3])
    refused(tmp_path / "cut.keras", tmp_path / "out", r"cut\.keras")


def test_weights_without_a_model(tiny: Any, tmp_path: Path) -> None:
    tiny.save_weights(tmp_path / "only.weights.h5")
    refused(tmp_path / "only.weights.h5", tmp_path / "out", "weights.*save the whole model")


def test_an_unknown_custom_layer_is_named(tmp_path: Path) -> None:
    import keras

    class Doubling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2

    image = keras.Input((4,))
    keras.Model(image, Doubling(name="twice")(image)).save(tmp_path / "custom.keras")
    refused(tmp_path / "custom.keras", tmp_path / "out", "Doubling.*twice")


def test_a_lambda_is_refused_and_not_run(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,))
    canary = tmp_path / "ran"
    body = eval(f"lambda x: (open({str(canary)!r}, 'w').close(), x)[1]")  # noqa: S307
    model = keras.Model(image, keras.layers.Lambda(body, output_shape=(4,), name="payload")(image))
    canary.unlink(missing_ok=True)
    model.save(tmp_path / "lambda.keras")
    canary.unlink(missing_ok=True)
    refused(tmp_path / "lambda.keras", tmp_path / "out", "payload")
    assert not canary.exists()


def test_a_shape_the_model_cannot_take(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((8, 8, 1), name="image"), keras.layers.Flatten(), keras.layers.Dense(2)]
    refused(
        keras.Sequential(layers),
        tmp_path / "out",
        "cannot take the input shape image 9x9x1; it was built for image 8x8x1",
        input_shapes={"": (9, 9, 1)},
    )


def test_a_shape_of_another_rank(tiny: Any, tmp_path: Path) -> None:
    refused(tiny, tmp_path / "out", r"takes 3 sizes per sample \(12x12x3\); got 12x12", input_shapes={"": (12, 12)})


def test_an_input_name_the_model_has_not(tiny: Any, tmp_path: Path) -> None:
    refused(tiny, tmp_path / "out", "no input 'imge'; did you mean 'image'", input_shapes={"imge": (12, 12, 3)})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"formats": ("onx",)}, "unknown format 'onx'; did you mean 'onnx'"),
        ({"formats": ()}, "no format asked for"),
        ({"precision": "int9"}, "unknown precision 'int9'; did you mean 'int8'"),
        ({"precision": "int16x8"}, "onnx cannot be written in int16x8; it can in: fp32, fp16, dynamic, int8"),
        ({"opset": 3}, "--opset must be from 13 to"),
        ({"batch": 0}, "--batch takes a number of at least 1"),
        ({"formats": ("tflite",), "opset": 17}, "--opset is for --format onnx"),
        ({"formats": ("tflite",), "inputs_as_nchw": True}, "--inputs-as-nchw is for --format onnx"),
        ({"select_tf_ops": True}, "--select-tf-ops is for --format tflite"),
        ({"input_range": (1.0, 0.0)}, "MIN below MAX"),
        ({"input_range": (0.0, float("inf"))}, "both finite"),
        ({"input_shapes": {"": (0, 3)}}, "every size must be at least 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        ExportOptions(**options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_weights_name_their_layer(value: float, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="broken")])
    kernel = model.get_weights()
    kernel[0][1, 2] = value
    model.set_weights(kernel)
    refused(model, tmp_path / "out", "layer '.*broken' has 1 non-finite value .* of 12 in weight 'kernel'")


def test_randomness_at_inference_is_refused(tmp_path: Path) -> None:
    import keras

    class Dice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + keras.random.normal((1, 4))

    image = keras.Input((4,))
    refused(keras.Model(image, Dice(name="dice")(image)), tmp_path / "out", "random at inference: operation .*dice")


def test_an_output_folder_that_cannot_be_made(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file; --output takes a folder"):
        export(tiny, ExportOptions(output=tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        export(tiny, ExportOptions(output=tmp_path / "file" / "out"))
    with pytest.raises(OutputError, match="cannot be written"):
        export(tiny, ExportOptions(output=Path("/proc/nothing")))


@pytest.mark.parametrize(
    "name", ["onnx", *(pytest.param(each, marks=pytest.mark.slow) for each in ("tflite", "saved_model"))]
)
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """The limit on a file's size stands in for the disk: the same errors reach the writers, without a mount."""
    code = """
import resource, signal, sys
from pathlib import Path
from exporter import ExportOptions, export, load_model
from converters.errors import OutputError
model = load_model()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    export(model, ExportOptions(formats=(sys.argv[1],), output=Path("out")))
except OutputError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code, name], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.stdout.startswith("out: the disk is full"), ran.stderr[-2000:]
    assert not (tmp_path / "out").exists()


def test_the_model_itself_is_never_overwritten(tiny: Any, tmp_path: Path) -> None:
    tiny.export(tmp_path / "served", format="tf_saved_model", verbose=False)
    with pytest.raises(OutputError, match="is the model itself, which is never overwritten"):
        export(tmp_path / "served", ExportOptions(formats=("saved_model",), output=tmp_path))
    assert (tmp_path / "served" / "saved_model.pb").is_file()


def test_a_folder_of_someone_else_is_not_replaced(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="did not write"):
        export(tiny, ExportOptions(formats=("saved_model",), output=tmp_path))
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "operation", ["WriteFile", "ReadFile", "SaveV2", "RestoreV2", "TextLineDataset", "EagerPyFunc"]
)
def test_a_saved_model_that_reaches_outside_is_refused(operation: str, tmp_path: Path) -> None:
    import tensorflow as tf

    file = str(tmp_path / "file")
    effects: dict[str, Callable[[Any], Any]] = {
        "WriteFile": lambda x: tf.io.write_file(file, "ran"),
        "ReadFile": lambda x: tf.io.read_file(file),
        "SaveV2": lambda x: tf.raw_ops.SaveV2(prefix=file, tensor_names=["x"], shape_and_slices=[""], tensors=[x]),
        "RestoreV2": lambda x: tf.raw_ops.RestoreV2(
            prefix=file, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
        ),
        "TextLineDataset": lambda x: tf.data.TextLineDataset(file).reduce(0, lambda n, _: n + 1),
        "EagerPyFunc": lambda x: tf.py_function(lambda: Path(file).touch(), [], []),
    }

    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        effect = effects[operation](x)
        with tf.control_dependencies(effect if isinstance(effect, list) else [effect]):
            return {"y": x + 1}

    tf.saved_model.save(tf.Module(), str(tmp_path / "evil"), signatures={"serving_default": serve})
    # A dataset is several nodes, in no certain order; the first is named.
    named = "(TextLineDataset|TensorSliceDataset)" if operation == "TextLineDataset" else operation
    refused(tmp_path / "evil", tmp_path / "out", f"refused, its graph holds the operation {named}")
    assert not list(tmp_path.glob("file*"))


def test_nan_in_a_frozen_saved_model_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    kernel = np.ones((2, 3), np.float32)
    kernel[1, 1] = np.nan

    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        return {"y": x @ tf.constant(kernel, name="kernel")}

    tf.saved_model.save(tf.Module(), str(tmp_path / "frozen"), signatures={"serving_default": serve})
    refused(tmp_path / "frozen", tmp_path / "out", "constant '.*kernel' holds NaN")


def test_a_name_that_is_also_a_folder_is_asked_about(tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "cbam-mnist").mkdir()
    ran = run_cli("export", "cbam-mnist", "--no-verify")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "is a model's name and also a file or folder here; give ./cbam-mnist" in ran.stderr
    assert run_cli("export", "--no-verify", "-q").stdout == "exported/cbam-mnist.onnx\n"


def test_inputs_that_tensorflow_takes_for_one_are_refused(tmp_path: Path) -> None:
    import keras

    inputs = [keras.Input((2,), name=name) for name in ("a-b", "a_b")]
    refused(keras.Model(inputs, keras.layers.Add()(inputs)), tmp_path / "out", "'a-b' and 'a_b' are one name")


def test_names_that_tensorflow_cannot_take_are_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4,), name="meta data")
    refused(keras.Model(image, keras.layers.Dense(2)(image)), tmp_path / "out", "layer 'meta data'.*rename the layer")
    image = keras.Input((4,))
    refused(keras.Model(image, keras.layers.Dense(2, name="größe")(image)), tmp_path / "out", "layer 'größe'.*rename")


def test_a_saved_model_of_fixed_batch_takes_no_other(tiny: Any, tmp_path: Path) -> None:
    first = export(tiny, ExportOptions(formats=("saved_model",), output=tmp_path / "a", verify=False))
    refused(first.artifacts[0].path, tmp_path / "out", "fixed to batch 1; leave --batch out", batch=4)


def test_labels_that_fit_no_output_are_refused(pair: Any, tmp_path: Path) -> None:
    refused(pair, tmp_path / "out", "7 labels were given", labels=tuple("abcdefg"))


def test_a_zoo_model_keeps_its_range(tmp_path: Path) -> None:
    refused(None, tmp_path / "out", r"takes values in 0\.\.1", input_range=(0.0, 255.0))


def test_of_two_formats_both_are_written_or_none(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8,), name="x")
    model = keras.Model(image, keras.layers.Dense(3)(keras.ops.sinh(image)), name="hyperbolic")
    refused(model, tmp_path / "out", "TFLite has no operation for TensorFlow's Sinh", formats=("onnx", "tflite"))


def test_a_file_of_someone_else_is_not_taken_for_a_sidecar(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "thesis.txt").write_text("years of work")
    (tmp_path / "tiny.json").write_text('{"architecture": 1}')
    with pytest.raises(OutputError, match=r"tiny\.json: a file that this tool did not write"):
        export(tiny, ExportOptions(formats=("saved_model",), output=tmp_path))
    assert (tmp_path / "tiny" / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "tiny.json").read_text() == '{"architecture": 1}'


def test_a_failed_replacement_leaves_what_was_there(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ExportOptions(formats=("saved_model",), output=tmp_path, verify=False)
    first = export(tiny, options).artifacts[0]
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target) == tmp_path / "tiny":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        export(tiny, options)
    monkeypatch.undo()
    assert Artifact.load(tmp_path / "tiny") == first
    assert export(tiny, options).artifacts[0].path == first.path  # and it can be replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", "tiny.json"]


def test_what_a_killed_replacement_set_aside_comes_back(tiny: Any, tmp_path: Path) -> None:
    aside = tmp_path / ".cbam-partial-dead" / ".replaced" / "tiny"
    aside.mkdir(parents=True)
    (aside / "saved_model.pb").write_bytes(b"the last good one")
    with workspace(tmp_path):
        assert (tmp_path / "tiny" / "saved_model.pb").read_bytes() == b"the last good one"


def test_a_live_workspace_is_left_alone(tmp_path: Path) -> None:
    with workspace(tmp_path) as first:
        (first / "half").touch()
        with workspace(tmp_path) as second:
            assert first != second
            assert (first / "half").exists()
    assert not list(tmp_path.iterdir())


def test_a_symbolic_link_is_not_written_through(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tiny").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="a symbolic link"):
        export(tiny, ExportOptions(formats=("saved_model",), output=tmp_path))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", tmp_path / "out", "folder")


@pytest.mark.parametrize("stop", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_killed_export_leaves_nothing_under_the_final_name(tmp_path: Path, stop: signal.Signals) -> None:
    code = "from exporter.cli import main; import sys; sys.argv = ['cbam', 'export', '-f', 'saved_model']; main()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.DEVNULL)
    out = tmp_path / "exported"
    deadline = time.monotonic() + 120
    while not list(out.glob(".cbam-partial-*/cbam-mnist/*")):  # it is writing now
        assert process.poll() is None, "the export ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(stop)
    process.wait(timeout=60)
    if stop is signal.SIGTERM:
        assert not out.exists()
    else:  # what a kill that cannot be caught leaves bears no final name, and the next run clears it away
        assert not [path for path in out.iterdir() if not path.name.startswith(".cbam-partial-")]
        result = export(None, ExportOptions(output=out, verify=False))
        assert {path.name for path in out.iterdir()} == {"cbam-mnist.onnx", "cbam-mnist.onnx.json"}
        assert result.artifacts[0].path.is_file()


def test_errors_on_the_command_line_are_one_line_and_one_object(tmp_path: Path, run_cli: Cli) -> None:
    ran = run_cli("export", "absent.keras", "--json")
    assert ran.returncode == 2
    assert ran.stderr == "error: absent.keras: no such file or folder\n"
    expected = {"kind": "model", "message": "absent.keras: no such file or folder"}
    assert json.loads(ran.stdout) == {"schema": "cbam-export/1", "error": expected}
    assert os.listdir(tmp_path) == []


def test_usage_errors_are_one_line_too(run_cli: Cli) -> None:
    for args, text in (
        (("exprot",), "unknown command 'exprot'; did you mean 'export'?"),
        (("export", "-f", "onx"), "unknown name 'onx'; did you mean 'onnx'?"),
        (("export", "--batch", "none"), "'none' is neither a number of at least 1 nor 'dynamic'"),
        (("export", "--inptu-shape", "12"), "--input-shape"),
        (("models", "resnet5"), "unknown model 'resnet5'; did you mean 'resnet50'?"),
    ):
        ran = run_cli(*args)
        assert ran.returncode == 2
        assert ran.stderr.startswith("error: ")
        assert ran.stderr.count("\n") == 1
        assert text in ran.stderr


def test_a_traceback_is_shown_only_when_asked_for(run_cli: Cli) -> None:
    assert "Traceback" not in run_cli("export", "absent.keras").stderr
    assert "Traceback" in run_cli("export", "absent.keras", "-v").stderr


def test_a_reader_that_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    script = "import sys; from exporter.cli import main; sys.argv = ['cbam', 'runtimes', '--json']; main()"
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=120
        )
    finally:
        os.close(writing)
    assert ran.returncode == 141, ran.stderr
    assert "fault" not in ran.stderr
    assert "Traceback" not in ran.stderr
