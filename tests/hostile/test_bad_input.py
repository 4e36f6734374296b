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

from converters.errors import ModelError, OptionError, OutputError
from exporter import ExportOptions, export

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
        ({"precision": "int8"}, "onnx cannot be written in int8; it can in: fp32"),
        ({"opset": 3}, "--opset must be from 13 to"),
        ({"batch": 0}, "--batch takes a number of at least 1"),
        ({"formats": ("tflite",), "opset": 17}, "--opset is for --format onnx"),
        ({"formats": ("tflite",), "inputs_as_nchw": True}, "--inputs-as-nchw is for --format onnx"),
        ({"select_tf_ops": True}, "--select-tf-ops is for --format tflite"),
        ({"input_range": (1.0, 0.0)}, "MIN below MAX"),
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
    with pytest.raises(OutputError, match="cannot be written"):
        export(tiny, ExportOptions(output=tmp_path / "file" / "out"))
    with pytest.raises(OutputError, match="cannot be written"):
        export(tiny, ExportOptions(output=Path("/proc/nothing")))


@pytest.mark.parametrize("name", ["onnx", "tflite", "saved_model"])
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


def test_a_saved_model_that_touches_files_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    canary = str(tmp_path / "ran")

    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.io.write_file(canary, "ran")]):
            return {"y": x + 1}

    tf.saved_model.save(module, str(tmp_path / "evil"), signatures={"serving_default": serve})
    refused(tmp_path / "evil", tmp_path / "out", "refused, its graph holds the operation WriteFile")
    assert not Path(canary).exists()


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", tmp_path / "out", "folder")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
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
