"""Which TensorFlow wrote a file, where five of them write one version, and what else they compute apart.

Files of real TensorFlow 1.13 to 2.3 and of Keras 2.3 on TensorFlow 1.15 and 2.0 (scripts/legacy/marks.py), with what
each computed itself. The default suite takes some of each stack, the slow one all.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

from converters.errors import ModelError, OptionError
from exporter import RescueOptions, rescue

FIXTURE = Path(__file__).parents[1] / "fixtures" / "marks.tar.xz"
TF_KERAS = tuple(f"tf{version}-py3.7-tf.keras" for version in ("1.13", "1.14", "1.15", "2.0", "2.1"))
STACKS = (*TF_KERAS, "tf2.3-py3.8-tf.keras", "tf1.15-py3.7-keras", "tf2.0-py3.7-keras")
NAMES = (
    "across", "constant", "each", "enlarge", "enlarge_in_a_row", "eye", "joined", "masked_left_out", "masked_seen",
    "mixed", "mixed_trained", "ones", "ones_named", "ones_nested", "resize", "resize_after_dense", "resize_in_a_row",
    "shape", "upsampling",
)  # fmt: skip
SAMPLES = "sample images at other points"
ACROSS = "computes across the examples of a batch, or may do so, within TimeDistributed"
SEEN = "a Bidirectional whose masked steps are zero in Keras 3"
SCALED = "its optimizer scales the loss, so its layers may compute in float16"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("marks")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _refusal(stack: str, name: str) -> str | None:
    """What a file is refused with where nothing is said of it."""
    alone, first = stack.endswith("-keras"), "tf1.13" in stack
    shared = stack in TF_KERAS
    if name == "across":
        return ACROSS
    if name == "masked_seen" and (alone or stack in TF_KERAS[3:]):
        return SEEN
    if name == "mixed_trained" and shared:
        return SCALED
    if name in ("resize_in_a_row", "enlarge_in_a_row") and shared and not first:
        return SAMPLES
    return SAMPLES if name.startswith("resize") and alone else None


def _far(file: Path, options: RescueOptions | None = None, target: Path | None = None) -> float:
    """How far what is rescued computes from what was computed, relative to the largest."""
    made = rescue(file, target, options=options)
    model = made.model if target is None else keras.models.load_model(target)
    with np.load(file.with_suffix(".npz")) as stored:
        x, y = stored["x0"], stored["y0"]
    result = np.asarray(model(x, training=False))
    assert result.shape == y.shape
    return float(np.abs(result - y).max() / np.abs(y).max())


def _check(file: Path, stack: str, name: str, target: Path) -> None:
    refused = _refusal(stack, name)
    if refused is not None:
        with pytest.raises(ModelError, match=refused):
            rescue(file, target)
        assert not target.exists()
        return
    far = _far(file, target=target)
    if name.startswith("mixed"):  # float16, which only the last stack writes down
        assert (far <= 2.0**-9) if stack not in TF_KERAS else (1e-5 < far < 1e-2)
    elif name == "upsampling" and stack in TF_KERAS[:2]:  # its interpolation is not in the file
        assert far > 0.1
        assert any("do not write down UpSampling2D's interpolation" in note for note in rescue(file).notes)
    else:
        assert far <= 1e-5


CASES = [(stack, name) for stack in STACKS for name in NAMES]
SOME = [case for index, case in enumerate(CASES) if index % 5 == 0 or case[1] in ("ones_nested", "joined")]


def _run(files: Path, stack: str, name: str, target: Path) -> None:
    file = files / stack / f"{name}.h5"
    if not file.exists():  # what that Keras could not build or save
        assert name in ("eye", "constant", "ones", "ones_named", "ones_nested", "mixed", "mixed_trained")
        return
    _check(file, stack, name, target)


@pytest.mark.parametrize(("stack", "name"), SOME)
def test_some_files(files: Path, stack: str, name: str, tmp_path: Path) -> None:
    _run(files, stack, name, tmp_path / "new.keras")


@pytest.mark.slow
@pytest.mark.parametrize(("stack", "name"), [case for case in CASES if case not in SOME])
def test_all_other_files(files: Path, stack: str, name: str, tmp_path: Path) -> None:
    _run(files, stack, name, tmp_path / "new.keras")


@pytest.mark.parametrize(
    "stack", ["tf1.15-py3.7-tf.keras", "tf2.0-py3.7-tf.keras", "tf1.15-py3.7-keras", "tf2.0-py3.7-keras"]
)
def test_what_a_file_does_not_tell_the_user_does(files: Path, stack: str) -> None:
    file, written = files / stack / "resize_in_a_row.h5", int(stack[2])
    assert _far(file, RescueOptions(tensorflow=written)) <= 1e-5
    assert _far(file, RescueOptions(tensorflow=3 - written)) > 0.01


def test_files_that_do_not_tell_are_equal_byte_for_byte(files: Path) -> None:
    """So nothing but the user can."""
    for name, stacks in (("resize_in_a_row", TF_KERAS[2:]), ("resize", STACKS[-2:])):
        assert len({(files / stack / f"{name}.h5").read_bytes() for stack in stacks}) == 1


def test_a_mixed_policy_that_is_not_written_down_leaves_no_trace_but_the_times(files: Path) -> None:
    file = files / "tf2.0-py3.7-tf.keras" / "mixed_trained.h5"
    assert 1e-5 < _far(file, RescueOptions(float32=True)) < 1e-2
    with pytest.raises(OptionError, match="is no file of a mixed policy that it does not hold"):
        rescue(file.with_name("resize.h5"), options=RescueOptions(float32=True))


def test_what_the_user_says_must_not_contradict_the_file(files: Path) -> None:
    with pytest.raises(OptionError, match=r"--tensorflow 1: .* is of TensorFlow 2"):
        rescue(files / "tf2.0-py3.7-tf.keras" / "resize.h5", options=RescueOptions(tensorflow=1))
    with pytest.raises(OptionError, match="tensorflow is 3; it is 1 or 2"):
        RescueOptions(tensorflow=3)
    with pytest.raises(OptionError, match="a model in memory is of the Keras that runs"):
        rescue(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), options=RescueOptions(tensorflow=2))


def test_what_would_take_long_is_not_tried(files: Path) -> None:
    file = files / "tf2.0-py3.7-tf.keras" / "each.h5"
    with pytest.raises(ModelError, match=ACROSS):
        rescue(file, functions={"lambda": "lambda x: K.repeat_elements(x, 1000000, 1)"})
    made = rescue(file, functions={"lambda": "lambda x: K.repeat_elements(x, 1000, 1)"})
    assert made.model.output_shape == (None, 4, 6000)
