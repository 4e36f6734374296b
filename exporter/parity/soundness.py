"""Whether the parts of a reference file fit each other: what does not would be judged wrongly. NumPy only."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np

from converters.artifact import TensorSpec

if TYPE_CHECKING:
    from exporter.parity.record import Record

_NUMBERS: Final = frozenset("fiub")  # NumPy's kinds: floats, integers of both signs, truth values


def check_record(record: Record) -> None:
    """Refuse a record whose parts do not fit each other.

    Raises:
        ValueError: saying which.
    """
    if not (record.cases and record.inputs and record.outputs):
        raise ValueError("it holds no cases, no inputs or no outputs")
    for spec in (*record.input_specs, *record.output_specs):
        if not isinstance(spec.name, str):
            raise ValueError(f"{spec.name!r} is no name of an input or output")
    numbers = dataclasses.asdict(record.workload)
    if any(not isinstance(number, int) or number < 0 for number in numbers.values()):
        raise ValueError(f"its workload is not counted in whole numbers: {numbers}")
    _check_cases(record)
    for spec in record.input_specs:
        array = record.inputs[spec.name]
        _check_array(spec, array, "input")
        if array.dtype != np.dtype(spec.dtype):
            raise ValueError(f"input {spec.name!r} is of {array.dtype}, not of {spec.dtype}")
    for spec in record.output_specs:
        _check_output(record, spec)


def _check_cases(record: Record) -> None:
    if {len(array) for array in record.inputs.values()} != {sum(case.count for case in record.cases)}:
        raise ValueError("its inputs are not as many as its cases say")
    starts = np.cumsum([0, *(case.count for case in record.cases)])
    if any(case.start != start or case.count < 1 for case, start in zip(record.cases, starts[:-1], strict=True)):
        raise ValueError("its cases do not lie one behind the other")
    if [case.real for case in record.cases] != [True] + [False] * (len(record.cases) - 1):
        raise ValueError("not its first case and that alone is the real one")


def _check_output(record: Record, spec: TensorSpec) -> None:
    output, expected = record.outputs[spec.name], record.expected[spec.name]
    if expected.shape != output.shape:
        raise ValueError(f"output {spec.name!r} and its truth are of different shapes")
    for array in (output, expected):
        _check_array(spec, array, "output")
    if record.truth is not None and expected.dtype.kind != "f" and expected.dtype != output.dtype:
        raise ValueError(f"the truth of output {spec.name!r} is of {expected.dtype}")
    real = record.cases[0].count if len(expected) == record.samples else None
    if not np.isfinite(expected[:real]).all():
        raise ValueError(f"output {spec.name!r} holds NaN or infinity for its real inputs")
    for level, errors in record.noise.items():
        found = errors[spec.name]
        if found.shape != (len(output),) or found.dtype.kind != "f":
            raise ValueError(f"the {level} errors of output {spec.name!r} are not one a sample")
        if not (found >= 0).all():  # so that NaN is refused as well
            raise ValueError(f"the {level} errors of output {spec.name!r} are not all distances")


def _check_array(spec: TensorSpec, array: np.ndarray, what: str) -> None:
    if array.dtype.kind not in _NUMBERS:
        raise ValueError(f"{what} {spec.name!r} holds {array.dtype}, which are no numbers")
    wanted, have = spec.shape[1:], array.shape[1:]
    if len(wanted) != len(have) or any(size not in (None, held) for size, held in zip(wanted, have, strict=True)):
        raise ValueError(f"{what} {spec.name!r} is of {array.shape}, which does not fit {spec}")
    if what == "input" and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"input {spec.name!r} holds NaN or infinity")
