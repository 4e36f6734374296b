"""By what a search judges: the share of equal decisions, or a metric of the user's over outputs and right answers."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import CalibrationError, OptionError

Metric = Callable[[Any, np.ndarray], float]
"""Outputs in real numbers, samples first (one array, or by name where there are several), and the targets of the same
samples, to a figure of which more is better. A drop is the difference of two such figures."""

FOLDERS = "folders"
"""Targets: the folder that an image lies in is its class."""

OWN = "own"
"""Targets: those of a shipped model's own test images."""


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Share of samples whose largest score is at the target.

    Args:
        outputs: (N, classes).
        targets: (N,) of class numbers, or (N, classes) one-hot.

    Raises:
        CalibrationError: they do not fit each other.
    """
    classes = targets.argmax(axis=-1) if targets.ndim == 2 else targets
    if (
        isinstance(outputs, Mapping)
        or outputs.ndim != 2
        or classes.ndim != 1
        or targets.shape[1:]
        not in (
            (),
            outputs.shape[1:],
        )
    ):
        shape = "several outputs" if isinstance(outputs, Mapping) else f"outputs of shape {outputs.shape}"
        raise CalibrationError(
            f"accuracy is of scores (N, classes) and class numbers (N,); here: {shape} and targets of shape "
            f"{targets.shape}; give a metric of your own in Python"
        )
    if classes.size and not 0 <= int(classes.min()) <= int(classes.max()) < outputs.shape[1]:
        raise CalibrationError(
            f"the targets are the classes {int(classes.min())}..{int(classes.max())}; the model has 0.."
            f"{outputs.shape[1] - 1}"
        )
    return float(np.mean(outputs.argmax(axis=-1) == classes))


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric with the targets of the samples that it is taken on."""

    metric: Metric
    targets: np.ndarray

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return str(getattr(self.metric, "__name__", type(self.metric).__name__))

    def key(self) -> list[str]:
        """Equal for what gives equal figures, as far as Python can tell: names, code and targets."""
        code = getattr(self.metric, "__code__", None)
        told = [getattr(self.metric, "__module__", ""), getattr(self.metric, "__qualname__", self.name)]
        if code is not None:
            told += [code.co_code.hex(), repr([each for each in code.co_consts if not hasattr(each, "co_code")])]
        return [*map(str, told), hashlib.sha256(np.ascontiguousarray(self.targets).tobytes()).hexdigest()]

    def __call__(self, outputs: Mapping[str, np.ndarray]) -> float:
        """The figure of these outputs.

        Raises:
            OptionError: the metric fails, or gives no finite number.
        """
        given: Any = next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)
        try:
            value = float(self.metric(given, self.targets))
        except CalibrationError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise OptionError(f"the metric {self.name} fails: {type(error).__name__}: {error}") from error
        if not np.isfinite(value):
            raise OptionError(f"the metric {self.name} gives {value}; expected a finite number, higher for better")
        return value


def stored_targets(source: Any) -> np.ndarray | None:
    """Targets as an array from an array or a .npy file; None for the words FOLDERS and OWN.

    Raises:
        CalibrationError: no such file, or not numbers.
    """
    if source in (None, FOLDERS, OWN) if isinstance(source, str | None) else False:
        return None
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            with path.open("rb") as stream:
                loaded = np.load(stream, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            reason = getattr(error, "strerror", None) or "it is no .npy file of plain numbers"
            raise CalibrationError(
                f"{path}: cannot be read as targets: {reason}; or give {FOLDERS} or {OWN}"
            ) from error
        source = loaded
    array = np.asarray(source)
    if array.dtype.kind not in "biuf" or array.ndim < 1:
        raise CalibrationError(f"targets are numbers, one or more a sample; got {array.dtype} of shape {array.shape}")
    return array


def folder_targets(names: Sequence[str], classes: Sequence[str] | None, count: int | None) -> np.ndarray:
    """Class numbers from paths of images below one folder: the first part of each is its class.

    Args:
        names: of the images, below the folder.
        classes: class names in output order; None: the folders in alphabetical order, as Keras reads them.
        count: how many classes the model tells apart, if known.

    Raises:
        CalibrationError: an image in no folder, or folders that are not the classes.
    """
    folders = [name.split("/")[0] if "/" in name else None for name in names]
    bare = next((name for name, folder in zip(names, folders, strict=True) if folder is None), None)
    if bare is not None:
        raise CalibrationError(f"{bare} lies in no folder of a class; expected CLASS/{bare}")
    found = sorted({str(folder) for folder in folders})
    if classes is None:
        if count is not None and len(found) != count:
            raise CalibrationError(
                f"{len(found)} folders ({', '.join(found[:5])}...) for {count} classes: which is which is not known "
                f"unless each class has one; give the class names with the model, or the targets as .npy"
            )
        classes = found
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise CalibrationError(f"the folder {unknown[0]!r} is no class of the model; it has {', '.join(classes)}")
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[str(folder)] for folder in folders])
