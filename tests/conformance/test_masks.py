"""Masks that meet Lambdas, and layers that several models share: files of real old Kerases (scripts/legacy/masks.py).

The default suite takes each model from one stack or more, the slow one all from all.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue

FIXTURE = Path(__file__).parents[1] / "fixtures" / "masks.tar.xz"
STACKS = (
    "keras3.11-py3.13-keras", "tf1.15-py3.7-keras", "tf1.15-py3.7-tf.keras", "tf2.0-py3.7-tf.keras",
    "tf2.15-py3.11-tf.keras", "tf2.4-py3.8-tf.keras", "tf2.8-py3.9-tf.keras",
)  # fmt: skip
NAMES = (
    "add_two", "cast", "each_step", "first_of_two", "identity", "identity_pooled", "layer_shared_with_nested",
    "mask_argument", "mask_function", "mask_unused", "multiply", "nested_sequential", "nested_shared_inner",
    "nested_twice", "same_name", "sequential_identity", "sequential_tf_identity", "slice_all", "stop_gradient",
    "tf_identity", "two_branches",
)  # fmt: skip
# These write one version of Keras, and only the second left the mask on a tensor given back: other marks tell which.
ALIKE = ("tf1.15-py3.7-tf.keras", "tf2.0-py3.7-tf.keras")
# Keras 2.3 does not write a Lambda's `mask` down: such a file reads as one without, which is what is assumed.
UNKNOWABLE = ("tf1.15-py3.7-keras", "mask_function")
SHARED = ("layer_shared_with_nested", "nested_shared_inner", "nested_twice")
# Those two could not save a function with a mask argument.
ABSENT = [(stack, name) for stack in ALIKE for name in ("mask_argument", "mask_unused")]
CASES = [(stack, name) for stack in STACKS for name in NAMES if (stack, name) not in ABSENT]
SOME = [
    (stack, name)
    for stack, name in CASES
    if (STACKS.index(stack) + NAMES.index(name)) % 7 == 0
    or (stack, name) in (UNKNOWABLE, ("tf2.8-py3.9-tf.keras", "nested_twice"))
]

# Keras says so of a nested Sequential, within which the mask goes on all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Layer 'sequential.*was passed an input with a mask:UserWarning")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _refusal(stack: str, name: str) -> str | None:
    if name == "mask_function" and (stack, name) != UNKNOWABLE:
        return "it computes a mask for the layers after it"
    if name == "same_name" and stack.startswith("keras3"):
        return (
            r"the function 'func', .*--function func='lambda t: \.\.\.', or with --function \w+=\.\.\. for this layer"
        )
    return None


def _check(folder: Path, stack: str, name: str, target: Path) -> None:
    file = folder / stack / f"{name}.h5"
    refused = _refusal(stack, name)
    if refused is not None:
        with pytest.raises(LambdaRefusedError, match=refused):
            rescue(file, target)
        assert not target.exists()
        return
    made = rescue(file, target)
    with np.load(file.with_suffix(".npz")) as stored:
        x, y = stored["x0"], stored["y0"]
    for result in (keras.models.load_model(target)(x, training=False), made.model(x, training=False)):
        close = np.abs(np.asarray(result) - y).max() <= 1e-5 * np.abs(y).max()
        assert close != ((stack, name) == UNKNOWABLE)
    assumed = [each for row in made.replaced for each in row.assumptions]
    assert ("the layer has no mask function of its own, which this Keras would not write down" in assumed) == (
        stack == UNKNOWABLE[0] and name not in (*SHARED, "same_name")
    )
    copied = name in SHARED and stack in ("tf2.8-py3.9-tf.keras", "tf2.15-py3.11-tf.keras")
    assert any("it has copies of them with the same weights" in note for note in made.notes) == copied


@pytest.mark.parametrize(("stack", "name"), SOME)
def test_some_models_of_each_stack(files: Path, stack: str, name: str, tmp_path: Path) -> None:
    _check(files, stack, name, tmp_path / "new.keras")


@pytest.mark.slow
@pytest.mark.parametrize(("stack", "name"), [case for case in CASES if case not in SOME])
def test_all_other_models(files: Path, stack: str, name: str, tmp_path: Path) -> None:
    _check(files, stack, name, tmp_path / "new.keras")


def test_no_path_of_a_machine_is_in_the_files(files: Path) -> None:
    assert {(file.parent.name, file.stem) for file in files.rglob("*.h5")} == set(CASES)
    for file in files.rglob("*.h5"):
        assert b"/tmp/" not in file.read_bytes(), file
        assert b"/home/" not in file.read_bytes(), file


def test_two_functions_of_one_name_are_given_by_layer_or_with_an_assumption(files: Path) -> None:
    file = files / "keras3.11-py3.13-keras" / "same_name.h5"
    with np.load(file.with_suffix(".npz")) as stored:
        x, y = stored["x0"], stored["y0"]
    made = rescue(file, functions={"channels": "lambda x: x[:, :, 0:2]", "steps": "lambda x: x[:, 2:5]"})
    np.testing.assert_allclose(np.asarray(made.model(x)), y, rtol=1e-6)
    assert not any(row.assumptions for row in made.replaced)
    made = rescue(file, functions={"func": "lambda x: x[:, :, 0:2]", "steps": "lambda x: x[:, 2:5]"})
    np.testing.assert_allclose(np.asarray(made.model(x)), y, rtol=1e-6)
    both = rescue(file, functions={"func": "lambda x: x[:, 2:5]"})
    said = "the function 'func' that was given is that of all 2 layers which name one so"
    assert [row.assumptions for row in both.replaced] == [(said,), (said,)]
