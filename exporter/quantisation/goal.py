"""What --max-drop asks for: the targets of the samples, the metric, and the searches that reach it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import CalibrationError, OptionError
from exporter.quantisation.candidates import Candidate, Task
from exporter.quantisation.metric import FOLDERS, OWN, Measure, accuracy, folder_targets, stored_targets
from exporter.quantisation.options import KEEP, QuantisationOptions
from exporter.quantisation.samples import SampleSet
from exporter.quantisation.search import Search, Wish, search


def given_targets(asked: QuantisationOptions, own: bool) -> np.ndarray | None:
    """Targets that were given as numbers; None where there are none, or samples have to be read first.

    Args:
        own: whether the samples are a shipped model's own.

    Raises:
        CalibrationError: they cannot be read, or are not those of the samples.
    """
    found = stored_targets(asked.targets)
    if own and asked.targets is not None and asked.targets is not OWN and asked.targets != OWN:
        raise CalibrationError(f"targets are of samples of your own, given as calibration; a shipped model has: {OWN}")
    if not own and isinstance(asked.targets, str) and asked.targets == OWN:
        raise CalibrationError(f"targets {OWN} are those of a shipped model's own images, and others were given")
    return found


def with_folders(samples: SampleSet, asked: QuantisationOptions, classes: Any, count: int | None) -> SampleSet:
    """The samples with the folders that they lie in for targets, where that was asked for.

    Raises:
        CalibrationError: they were read from no folder, or their folders are not the classes.
    """
    if not (isinstance(asked.targets, str) and asked.targets == FOLDERS):
        return samples
    if not samples.pixels or not samples.names or "." not in samples.names[0]:
        raise CalibrationError(f"{samples.described}: targets {FOLDERS} are for a folder of images")
    return dataclasses.replace(samples, targets=folder_targets(samples.names, classes, count))


def measure(asked: QuantisationOptions, samples: SampleSet) -> Measure | None:
    """The metric with the targets of these samples; None where decisions are compared with the float model's."""
    if asked.max_drop is None or samples.targets is None:
        return None
    return Measure(asked.metric or accuracy, samples.targets)


def find(task: Task, chosen: Candidate, expected: Mapping[str, np.ndarray], path: Path) -> Search:
    """Reach what --max-drop asks for, in the way that --keep asks for.

    Args:
        expected: the float model's outputs on the samples for the choice.
        path: of the artifact, beside which notes are kept.
    """
    asked = task.options.quantisation
    assert asked.max_drop is not None
    measured = None
    target, told = 1 - asked.max_drop, f"{1 - asked.max_drop:.2%} of top-1 decisions equal"
    if task.measure is not None:
        own = task.measure(expected)
        measured = task.measure.name, own
        target = own - asked.max_drop
        told = f"{task.measure.name} of at least {target:.6g} (float {own:.6g})"
    kinds = KEEP[:2] if asked.keep == KEEP[2] else (asked.keep,)
    found = []
    for kind in kinds:
        # Sums of floats: 0.97 less 0.01 must not be out of reach of 0.96.
        wish = Wish(target - 1e-12 * max(1.0, math.fabs(target)), told, kind, measured)
        found.append(search(task, chosen, wish, path.with_name(f".{path.name}.{kind}.search.json")))
        if not found[-1].kept and found[-1].reached:
            break
    return min(found, key=lambda each: each.rank)


def check_formats(asked: QuantisationOptions, outputs: int) -> None:
    """Accuracy is of one output.

    Raises:
        OptionError: there are several and no metric that takes them.
    """
    if asked.targets is not None and asked.metric is None and outputs != 1:
        raise OptionError(
            f"accuracy is of one output and the model has {outputs}; give a metric of your own in Python, which gets "
            f"them by name"
        )
