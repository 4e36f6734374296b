"""What is asked for instead of the derived tolerances, from options to `Overrides` by output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from converters.errors import OptionError
from exporter.parity.tolerances import Overrides


def read_overrides(given: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, Overrides]:
    """Options as `[OUTPUT=]VALUE` pairs, by the field of `Overrides`, to overrides by output.

    Raises:
        OptionError: one was given twice for the same output, or is out of range.
    """
    found: dict[str, Overrides] = {}
    for field, pairs in given.items():
        option = f"--{field.replace('_', '-')}"
        for output, value in pairs:
            known = found.get(output, Overrides())
            if getattr(known, field) is not None:
                raise OptionError(f"{option} was given twice for {output or 'all outputs'}")
            _check_override(option, field, value)
            found[output] = dataclasses.replace(known, **{field: value})
    return found


def _check_override(option: str, field: str, value: float) -> None:
    low, high = _LIMITS[field]
    if not low <= value <= high:
        raise OptionError(f"{option} takes a number from {low:g} to {high:g}; got {value:g}")


_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "atol": (0.0, 1e30),
    "rtol": (0.0, 1e30),
    "min_cosine": (-1.0, 1.0),
    "min_agreement": (0.0, 1.0),
    "min_sqnr": (-200.0, 400.0),
}
