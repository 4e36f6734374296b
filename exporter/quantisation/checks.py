"""Whether calibration data are what the model was made for: everything that converters swallow without a word."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import CalibrationError
from exporter.quantisation.options import FEW
from exporter.quantisation.samples import SampleSet

Warn = Callable[[str], None]

_ROOM: Final = 0.01
"""By what part of the expected range values may lie outside it: resizing and dithering overshoot a little."""

_USED: Final = 1 / 16
"""The least part of the expected range that the data span together. 0..1 where 0..255 is meant spans 1/255; a set of
dark photographs spans a quarter and more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """The values that an input takes, and where that is known from."""

    low: float
    high: float
    source: str


def check_form(samples: SampleSet, specs: tuple[TensorSpec, ...]) -> None:
    """Refuse what no converter should be given at all, forced or not: shape, layout, dtype, NaN, infinity, emptiness.

    Raises:
        CalibrationError: what was seen and what is expected.
    """
    if not len(samples):
        raise CalibrationError(f"{samples.described}: empty; expected {FEW} samples or more")
    for spec in specs:
        array = samples.arrays[spec.name]
        _check_shape(samples, array, spec)
        _check_dtype(samples, array, spec)
        bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if bad.any():
            at = int(np.argmax(bad))
            kind = "NaN" if np.isnan(array[at]).any() else "infinity"
            count = int(np.count_nonzero(~np.isfinite(array[at])))
            others = int(bad.sum()) - 1
            more = f", as {'does' if others == 1 else 'do'} {others} other{'s' * (others > 1)}" if others else ""
            raise CalibrationError(
                f"{samples.described}: {samples.names[at]} holds {kind} ({count} of {array[at].size} values){more}; "
                f"expected finite numbers"
            )


def check_count(samples: SampleSet, least: int, force: bool, warn: Warn) -> None:
    """Refuse fewer samples than `least` unless forced; warn below FEW.

    Raises:
        CalibrationError: too few.
    """
    if len(samples) < least:
        text = (
            f"{samples.described}: {len(samples)} are too few to find ranges from; expected {least} or more, best {FEW}"
        )
        _refuse(f"{text} (--min-samples, or --force)", force, warn)
    elif len(samples) < FEW:
        warn(f"{len(samples)} calibration samples: from {FEW} on the ranges are reliable")


def check_values(
    samples: SampleSet, specs: tuple[TensorSpec, ...], expected: Expected | None, force: bool, warn: Warn
) -> None:
    """Refuse, unless forced, constant samples and a range unlike the expected one.

    Raises:
        CalibrationError: what was seen and what is expected.
    """
    for spec in specs:
        for text in _value_faults(samples, samples.arrays[spec.name], spec, expected):
            _refuse(text, force, warn)


def _value_faults(samples: SampleSet, array: np.ndarray, spec: TensorSpec, expected: Expected | None) -> Iterator[str]:
    flat = array.reshape(len(array), -1)
    constant = flat.min(axis=1) == flat.max(axis=1)
    if flat.shape[1] > 1 and constant.any():
        at = int(np.argmax(constant))
        share = f"{int(constant.sum())} of {len(array)} samples"
        if constant.mean() > 0.1 or len(array) < 20:
            yield (
                f"{samples.described}: {share} of input {spec.name!r} are constant, such as {samples.names[at]} (all "
                f"{flat[at, 0]:g}); expected samples like those that the model will see (--force to use them)"
            )
    if expected is None or array.dtype.kind not in "fu":
        return
    low, high = float(array.min()), float(array.max())
    width = expected.high - expected.low
    outside = low < expected.low - _ROOM * width or high > expected.high + _ROOM * width
    if outside or high - low < _USED * width:
        yield (
            f"{samples.described}: the values of input {spec.name!r} are {low:g}..{high:g}; expected "
            f"{expected.low:g}..{expected.high:g} ({expected.source}); convert them with --scale, --mean and --std or "
            f"--preprocess (--force to use them as they are)"
        )


def _check_shape(samples: SampleSet, array: np.ndarray, spec: TensorSpec) -> None:
    wanted = spec.shape[1:]
    given = array.shape[1:]
    if len(given) == len(wanted) and all(size in (None, got) for size, got in zip(wanted, given, strict=True)):
        return
    text = f"{samples.described}: shape {_size(given)} a sample; expected {_size(wanted)}"
    if spec.layout and len(given) == 3:
        turned = (given[1], given[2], given[0]) if spec.layout == "NHWC" else (given[2], given[0], given[1])
        if all(size in (None, got) for size, got in zip(wanted, turned, strict=True)):
            other = "NCHW" if spec.layout == "NHWC" else "NHWC"
            text += f": these are {other} and the model takes {spec.layout}"
    elif len(given) + 1 == len(wanted) and all(
        size in (None, got) for size, got in zip(wanted, array.shape, strict=False)
    ):
        text += ": this is one sample without its batch"
    raise CalibrationError(text)


def _check_dtype(samples: SampleSet, array: np.ndarray, spec: TensorSpec) -> None:
    if array.dtype == spec.dtype or (array.dtype.kind == "f" and spec.dtype.startswith("float")):
        return
    text = f"{samples.described}: {array.dtype} where input {spec.name!r} takes {spec.dtype}"
    if array.dtype.kind == "u":
        text += "; if these are pixels, say how they become numbers: --preprocess unit (0..1), bytes, tf, torch, caffe"
    raise CalibrationError(text)


def _refuse(text: str, force: bool, warn: Warn) -> None:
    if not force:
        raise CalibrationError(text)
    warn(f"forced: {text}")


def _size(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"
