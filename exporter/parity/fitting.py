"""Which input and output of an artifact is which of a record, and how arrays are turned between the two. NumPy only."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from converters.artifact import Artifact, TensorSpec
from converters.errors import ModelError
from exporter.parity.record import Record
from exporter.parity.stored import to_real, to_stored

Arrays = Mapping[str, np.ndarray]
Axes = tuple[int, ...]

_TURNS: Final[Mapping[str, Axes]] = {"NHWC to NCHW": (0, 3, 1, 2), "NCHW to NHWC": (0, 2, 3, 1)}


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """One tensor of a record and the artifact's own for it.

    turn: the key of _TURNS that brings the record's array into the artifact's order of axes, or "".
    """

    name: str
    spec: TensorSpec
    turn: str = ""


@dataclasses.dataclass(frozen=True)
class Fitting:
    """All of them, and what was found on the way that a reader should know."""

    inputs: tuple[Fit, ...]
    outputs: tuple[Fit, ...]
    remarks: tuple[str, ...]

    def feed(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """A record's inputs as the artifact takes them: by its names, in its layout, stored as its tensors are."""
        given = {}
        for fit in self.inputs:
            array = inputs[fit.name]
            if fit.turn:
                array = np.ascontiguousarray(array.transpose(_TURNS[fit.turn]))
            given[fit.spec.name] = to_stored(array, fit.spec)
        return given

    def take(self, outputs: Arrays) -> dict[str, np.ndarray]:
        """What the artifact gave as real numbers in the record's layout, by the record's names; what is missing is not
        there."""
        taken = {}
        for fit in self.outputs:
            if fit.spec.name not in outputs:
                continue
            array = to_real(outputs[fit.spec.name], fit.spec)
            if fit.turn and array.ndim == 4:
                array = array.transpose(np.argsort(_TURNS[fit.turn]))
            taken[fit.name] = array
        return taken

    def altered(self, record: Record) -> dict[str, str]:
        """The cases with values that an input of integers without a scale cannot hold, in words: they are rounded to
        others."""
        found = {}
        for fit in self.inputs:
            for case in record.cases:
                values = record.inputs[fit.name][case.rows]
                if fit.spec.scale is not None or values.dtype.kind != "f" or np.dtype(fit.spec.dtype).kind not in "iu":
                    continue
                other = to_stored(values, fit.spec).astype(np.float64) != values
                count = int(np.count_nonzero(other.reshape(case.count, -1).any(1)))
                if count:
                    limits = np.iinfo(fit.spec.dtype)
                    found[case.name] = (
                        f"{count} of {case.count} samples hold more than whole numbers in {limits.min}..{limits.max}, "
                        f"which are all that the artifact's input {fit.spec.name!r} takes"
                    )
        return found

    def clipped(self, record: Record) -> dict[str, str]:
        """The cases with values that a quantised input of the artifact cannot hold, by more than a step, in words."""
        found = {}
        for fit in self.inputs:
            if fit.spec.scale is None:
                continue
            limits = np.iinfo(fit.spec.dtype)
            zero, step = fit.spec.zero_point or 0, fit.spec.scale
            low, high = (limits.min - zero) * step, (limits.max - zero) * step
            for case in record.cases:
                values = record.inputs[fit.name][case.rows].reshape(case.count, -1)
                beyond = np.count_nonzero((values.min(axis=1) < low - step) | (values.max(axis=1) > high + step))
                if beyond:
                    goes = "goes" if beyond == 1 else "go"
                    found[case.name] = (
                        f"{beyond} of {case.count} samples {goes} beyond {low:.4g}..{high:.4g}, which is all that the "
                        f"artifact's quantised input {fit.spec.name!r} holds"
                    )
        return found


def fit(record: Record, artifact: Artifact) -> Fitting:
    """Pair the tensors of an artifact with those of a record: by name, else by place where that is beyond doubt.

    Raises:
        ModelError: they cannot be paired, or take other sizes.
    """
    remarks: list[str] = []
    fixed = artifact.inputs[0].shape[:1] if artifact.inputs else ()
    if record.batch is not None and fixed not in ((None,), (record.batch,)):
        raise ModelError(
            f"{artifact.path}: takes batches of {fixed[0] if fixed else 0}; the reference was recorded in batches of "
            f"{record.batch}, and the model gives something else for each"
        )
    inputs = _pairs(record.input_specs, artifact.inputs, "inputs", artifact, remarks)
    outputs = _pairs(record.output_specs, artifact.outputs, "outputs", artifact, remarks)
    weights = artifact.metadata.get("provenance", {}).get("weights_sha256")
    if weights and weights != record.fingerprint:
        remarks.append("it was exported from other weights than the reference was recorded with")
    return Fitting(inputs, outputs, tuple(remarks))


def _pairs(
    own: Sequence[TensorSpec], theirs: Sequence[TensorSpec], what: str, artifact: Artifact, remarks: list[str]
) -> tuple[Fit, ...]:
    if len(own) != len(theirs):
        if what == "inputs":
            raise ModelError(
                f"{artifact.path}: takes {len(theirs)} inputs ({_list(theirs)}); "
                f"the model takes {len(own)} ({_list(own)})"
            )
        return _by_name(own, theirs, artifact, remarks)  # an output that is missing fails, which is a result
    names = {_plain(spec.name): spec for spec in theirs}
    if len(names) == len(theirs) and all(_plain(spec.name) in names for spec in own):
        pairs = [(spec, names[_plain(spec.name)]) for spec in own]
    elif len(own) == 1 or "described_by" not in artifact.metadata:
        pairs = list(zip(own, theirs, strict=True))  # formats restrict names, never the order
    else:
        pairs = _by_shape(own, theirs, what, artifact)
        remarks.append(f"its {what} were paired by their shapes: {_list(theirs)} for {_list(own)}")
    return tuple(_turned(mine, other, what, artifact, remarks) for mine, other in pairs)


def _by_name(
    own: Sequence[TensorSpec], theirs: Sequence[TensorSpec], artifact: Artifact, remarks: list[str]
) -> tuple[Fit, ...]:
    names = {_plain(spec.name): spec for spec in theirs}
    remarks.append(f"it gives {len(theirs)} outputs ({_list(theirs)}); the model gives {len(own)} ({_list(own)})")
    found = [(spec, names[_plain(spec.name)]) for spec in own if _plain(spec.name) in names]
    return tuple(_turned(mine, other, "outputs", artifact, remarks) for mine, other in found)


def _by_shape(
    own: Sequence[TensorSpec], theirs: Sequence[TensorSpec], what: str, artifact: Artifact
) -> list[tuple[TensorSpec, TensorSpec]]:
    shapes = [spec.shape[1:] for spec in theirs]
    if len(set(shapes)) != len(shapes) or {spec.shape[1:] for spec in own} != set(shapes):
        raise ModelError(
            f"{artifact.path}: it cannot be told which of its {what} ({_list(theirs)}) is which of the model's "
            f"({_list(own)}): no sidecar, other names, and shapes that do not tell; "
            "give them the model's names, or export it with cbam-export"
        )
    return [(spec, theirs[shapes.index(spec.shape[1:])]) for spec in own]


def _turned(mine: TensorSpec, other: TensorSpec, what: str, artifact: Artifact, remarks: list[str]) -> Fit:
    if (mine.layout, other.layout) in (("NHWC", "NCHW"), ("NCHW", "NHWC")):
        return Fit(mine.name, other, f"{mine.layout} to {other.layout}")
    if _agree(mine.shape[1:], other.shape[1:]):
        return Fit(mine.name, other)
    if len(mine.shape) == len(other.shape) == 4 and other.layout is None:
        for turn, axes in _TURNS.items():
            if _agree(tuple(mine.shape[axis] for axis in axes[1:]), other.shape[1:]):
                remarks.append(f"{what[:-1]} {other.name!r} is taken to be {turn.split()[-1]}, by its shape")
                return Fit(mine.name, other, turn)
    if what == "inputs":
        raise ModelError(f"{artifact.path}: takes {other}; the reference holds {mine}")
    return Fit(mine.name, other)  # a shape that is wrong fails in the verdict


def _agree(one: Sequence[int | None], other: Sequence[int | None]) -> bool:
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def _plain(name: str) -> str:
    """Formats restrict the characters of names in different ways."""
    return re.sub(r"\W", "_", name.partition(":")[0]).lower()


def _list(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs))
