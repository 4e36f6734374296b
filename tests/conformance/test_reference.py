"""`cbam reference`: what it takes, what it refuses, and the other Keras backends, where TensorFlow is not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ModelError, OptionError, OutputError, RuntimeUnavailableError
from exporter import ReferenceOptions, reference
from exporter.parity.record import read

Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]

ALONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
from exporter import reference
record = reference(sys.argv[1], sys.argv[2])
print(record.environment["backend"], "tensorflow" in sys.modules)
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model with CBAM of ours, and gates, small enough for a backend that compiles everything."""
    import keras

    from exporter import CBAM

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = CBAM("timm", name="attention")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    scores = keras.layers.Dense(4, activation="softmax", name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    path = tmp_path_factory.mktemp("small") / "small.keras"
    keras.Model(image, scores).save(path)
    return path


def test_jax_gives_the_same_truth_without_tensorflow(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALONE, str(small), str(tmp_path / "jax.npz")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.stdout.split() == ["jax", "False"], ran.stderr[-2000:]
    ours, theirs = reference(small), read(tmp_path / "jax.npz")
    assert theirs.fingerprint == ours.fingerprint
    assert theirs.environment["versions"]["jax"]
    assert theirs.truth is not None
    assert ours.truth is not None
    real = slice(0, 16)
    np.testing.assert_array_equal(theirs.inputs["image"][real], ours.inputs["image"][real])
    np.testing.assert_allclose(theirs.truth["scores"][real], ours.truth["scores"][real], rtol=0, atol=1e-14)
    for one, other in zip(ours.gates, theirs.gates, strict=True):
        assert one.block == other.block == "attention"
        np.testing.assert_allclose(one.channel, other.channel, rtol=0, atol=1e-14)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.spatial, other.spatial, rtol=0, atol=1e-14)  # type: ignore[arg-type]
    assert 0 < theirs.noise["float32"]["scores"].max() < 1e-6


def test_own_inputs_are_taken_as_they_are(small: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((5, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "own.npz", image=images)
    np.save(tmp_path / "own.npy", images)
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, image in enumerate(images):
        np.save(folder / f"{index}.npy", image)
    for name in ("own.npz", "own.npy", "folder"):
        record = reference(small, None, ReferenceOptions(inputs=tmp_path / name))
        np.testing.assert_array_equal(record.inputs["image"][:5], images)
        assert record.cases[0].described == f"5 samples of {name}"


def test_what_is_changed_of_own_inputs_is_told(small: Path, tmp_path: Path) -> None:
    from PIL import Image

    np.save(tmp_path / "wide.npy", np.random.default_rng(0).random((5, 8, 8, 3)))
    record = reference(small, None, ReferenceOptions(inputs=tmp_path / "wide.npy"))
    assert record.cases[0].described == "5 samples of wide.npy, 'image' cast from float64 to float32"
    (tmp_path / "folder").mkdir()
    for index, side in enumerate((8, 11)):
        Image.new("RGB", (20, side), (50 * index, 90, 10)).save(tmp_path / "folder" / f"{index}.png")
    record = reference(small, None, ReferenceOptions(inputs=tmp_path / "folder"))
    assert record.cases[0].described == "2 samples of folder, pictures of 2 sizes resized to 8x8"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01."])
def test_inputs_that_are_no_arrays_are_refused(content: bytes, small: Path, tmp_path: Path) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"is neither a \.npz nor a \.npy file$"):
        reference(small, None, ReferenceOptions(inputs=tmp_path / "own.npz"))
    np.savez(tmp_path / "own.npz", image=np.array([print], dtype=object))
    with pytest.raises(ModelError, match=r"of plain arrays \(Python objects are never loaded\)"):
        reference(small, None, ReferenceOptions(inputs=tmp_path / "own.npz"))


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"image": np.zeros((1, 8, 8, 3), np.float32)}, {}, "holds 1 sample; at least 2"),
        ({"picture": np.zeros((4, 8, 8, 3)), "more": np.zeros(4)}, {}, "the model takes 'image'"),
        ({"image": np.zeros((4, 8, 9, 3))}, {}, r"is \(4, 8, 9, 3\); the model takes samples of \(8, 8, 3\)"),
        ({"image": np.zeros((4, 8, 8, 3), complex)}, {}, "of type complex128"),
        ({"image": np.full((4, 8, 8, 3), np.nan)}, {}, "holds NaN or infinity"),
        ({"image": np.zeros((0, 8, 8, 3))}, {}, "0 samples"),
        ({"image": np.full((4, 8, 8, 3), 255.0)}, {"input_range": (0.0, 1.0)}, "the model expects 0..1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    arrays: dict[str, Any], options: dict[str, Any], said: str, small: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(ModelError, match=said):
        reference(small, None, ReferenceOptions(inputs=tmp_path / "own.npz", **options))


def test_what_cannot_be_recorded_is_refused(small: Path, tmp_path: Path, open_size: Any) -> None:
    with pytest.raises(OutputError, match=r"is a \.npz file"):
        reference(small, tmp_path / "ref.json")
    (tmp_path / "ref.npz").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        reference(small, tmp_path / "ref.npz")
    assert (tmp_path / "ref.npz").read_text() == "mine"
    with pytest.raises(OptionError, match="at least 2"):
        ReferenceOptions(samples=1)
    with pytest.raises(OptionError, match="cpu or gpu"):
        ReferenceOptions(device="tpu")
    with pytest.raises(OptionError, match="there are 16"):
        reference(small, None, ReferenceOptions(samples=17))
    with pytest.raises(ModelError, match="leaves sizes open"):
        reference(open_size)
    assert reference(open_size, None, ReferenceOptions(samples=2, input_shapes={"": (12, 12, 3)})).samples > 2


def test_a_gpu_that_is_not_there_is_not_available(small: Path) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeUnavailableError, match="Keras on tensorflow sees no GPU here"):
        reference(small, None, ReferenceOptions(device="gpu"))


def test_a_model_without_a_float64_twin_is_recorded_and_says_so(tmp_path: Path, small: Path) -> None:
    from exporter import ExportOptions, export

    (artifact,) = export(small, ExportOptions(("saved_model",), output=tmp_path, verify=False)).artifacts
    record = reference(artifact.path)
    assert record.truth is None
    assert record.noise == {}
    assert record.remarks == ("no float64 truth: a SavedModel has no float64 twin",)
    assert record.batch == 1
    assert record.workload.contractions >= 3


def test_a_random_model_is_refused() -> None:
    import keras

    class Dice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + keras.random.normal((1, 4))

    image = keras.Input((4,))
    with pytest.raises(ModelError, match="random at inference"):
        reference(keras.Model(image, Dice()(image)))


def test_a_model_that_mixes_samples_is_recorded_one_by_one() -> None:
    import keras

    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    record = reference(keras.Model(image, pooled - keras.ops.mean(pooled, axis=0, keepdims=True)))
    assert record.batch == 1


def test_half_precision_is_its_own_error(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    with_policy = {"dtype": "mixed_float16"}
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", **with_policy)(image)
    x = keras.layers.GlobalAveragePooling2D(**with_policy)(x)
    record = reference(keras.Model(image, keras.layers.Dense(4, dtype="float32")(x)))
    (output,) = record.outputs
    assert record.environment["mixed_precision"] is True
    assert record.environment["computes_in"] == ["float16", "float32"]
    assert record.noise["reference"][output].max() > 100 * record.noise["float32"][output].max()


def test_the_command_writes_the_file_and_says_what_it_is(small: Path, tmp_path: Path, run_cli: Cli) -> None:
    ran = run_cli("reference", small, "-o", "ref.npz", "--samples", "4", "--json")
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["path"] == "ref.npz"
    assert told["sha256"] == read(tmp_path / "ref.npz").sha256()
    assert told["cases"][0]["count"] == 4
    assert "TF32 of a GPU" in ran.stderr
    assert "(predicted)" in ran.stderr
    again = run_cli("reference", small, "-o", "ref.npz")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
