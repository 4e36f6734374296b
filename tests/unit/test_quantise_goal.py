"""Targets and metrics: read, refused, judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters.errors import CalibrationError, OptionError
from exporter.quantisation.metric import Measure, accuracy, folder_targets, stored_targets
from exporter.quantisation.options import QuantisationOptions
from exporter.quantisation.preprocess import PRESETS
from exporter.quantisation.sources import Wanted, read

SCORES = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3]], np.float32)


def test_accuracy_of_numbers_and_of_one_hot() -> None:
    assert accuracy(SCORES, np.array([1, 0, 2, 1])) == 0.75
    assert accuracy(SCORES, np.eye(3)[[1, 0, 2, 1]]) == 0.75


@pytest.mark.parametrize(
    ("outputs", "targets", "match"),
    [
        (SCORES, np.array([1, 0, 3, 1]), r"classes 0\.\.3; the model has 0\.\.2"),
        (SCORES, np.eye(4)[[1, 0, 2, 1]], r"targets of shape \(4, 4\)"),
        (SCORES[..., None], np.array([1, 0, 2, 1]), r"outputs of shape \(4, 3, 1\).*metric of your own"),
    ],
)
def test_what_accuracy_is_not_of(outputs: np.ndarray, targets: np.ndarray, match: str) -> None:
    with pytest.raises(CalibrationError, match=match):
        accuracy(outputs, targets)


def broken(outputs: np.ndarray, targets: np.ndarray) -> float:
    return {}["missing"]


def silent(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float("nan")


def test_a_metric_that_fails_is_named() -> None:
    with pytest.raises(OptionError, match="metric broken fails: KeyError"):
        Measure(broken, np.zeros(4))({"a": SCORES})
    with pytest.raises(OptionError, match="metric silent gives nan; expected a finite number"):
        Measure(silent, np.zeros(4))({"a": SCORES})
    assert Measure(broken, np.zeros(4)).key() != Measure(silent, np.zeros(4)).key()
    assert Measure(broken, np.zeros(4)).key() != Measure(broken, np.ones(4)).key()
    both = Measure(lambda outputs, targets: float(outputs["b"].sum()), np.zeros(4))
    assert both({"a": SCORES, "b": np.ones(3)}) == 3.0


def test_targets_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(5))
    found = stored_targets(str(tmp_path / "y.npy"))
    assert found is not None
    np.testing.assert_array_equal(found, np.arange(5))
    assert stored_targets("folders") is stored_targets("own") is stored_targets(None) is None
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    (tmp_path / "no.npy").write_bytes(b"no")
    for name, match in (("words.npy", "targets are numbers"), ("no.npy", "no .npy file"), ("gone.npy", "No such file")):
        with pytest.raises(CalibrationError, match=match):
            stored_targets(tmp_path / name)


def test_folders_are_classes() -> None:
    names = ("cat/1.png", "dog/deep/2.png", "cat/3.png", "ant/4.png")
    np.testing.assert_array_equal(folder_targets(names, None, 3), [1, 2, 1, 0])
    np.testing.assert_array_equal(folder_targets(names, ("dog", "cat", "ant", "bee"), 4), [1, 0, 1, 2])
    with pytest.raises(CalibrationError, match=r"3 folders \(ant, cat, dog\.\.\.\) for 10 classes"):
        folder_targets(names, None, 10)
    with pytest.raises(CalibrationError, match="'ant' is no class of the model; it has dog, cat"):
        folder_targets(names, ("dog", "cat"), 2)
    with pytest.raises(CalibrationError, match=r"5.png lies in no folder of a class; expected CLASS/5.png"):
        folder_targets((*names, "5.png"), None, 3)


def test_targets_follow_their_samples_through_a_draw() -> None:
    from converters.artifact import TensorSpec

    spec = TensorSpec("x", (1, 2), "float32", None)
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    found = read(values, Wanted((spec,), PRESETS["unit"], most=6, seed=2, targets=values[:, 0] * 10))
    assert found.targets is not None
    taken = found.take(np.array([4, 1]))
    assert taken.targets is not None
    np.testing.assert_array_equal(taken.targets, taken.arrays["x"][:, 0] * 10)
    assert QuantisationOptions(targets=values, max_drop=0.1).keep == "float"
