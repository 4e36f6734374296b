"""Sound artifacts of one model, in every format and precision, and how it is made ready to be measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.artifact import Artifact, Precision
from converters.errors import CbamError
from exporter import ExportOptions, export
from exporter.formats import FORMATS
from exporter.parity.gates import Gates
from exporter.quantisation.options import QuantisationOptions

ANY = Gates(agreement=0.0, sqnr_db=-1000.0)
"""With random weights eight bits may lose much; what is asked here is where, not how much."""


def sound_exports(
    model: Any,
    images: np.ndarray | None,
    folder: Path,
    *,
    formats: tuple[str, ...] = tuple(FORMATS),
    precisions: tuple[str, ...] = tuple(Precision),
    told: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> Iterator[Artifact]:
    """Each format in each precision that it has, as the commands make them by default.

    Args:
        images: to calibrate with; None: the model's own.
        told: what is refused, with the reason.
        options: of `ExportOptions`.
    """
    for name in formats:
        for precision in (each for each in FORMATS[name].precisions if each in precisions):
            more: dict[str, Any] = {"verify": False}
            if precision is not Precision.FP32:
                quantisation = QuantisationOptions(calibration=images, force=True, methods=("minmax",), gates=ANY)
                if precision not in (Precision.INT8, Precision.INT16X8):
                    quantisation = QuantisationOptions(calibration=images, force=True, gates=ANY)
                more = {"quantisation": quantisation}
            try:
                made = export(
                    model, ExportOptions((name,), precision=precision, output=folder, **more, **options)
                ).artifacts
            except CbamError as error:
                told(f"{name} {precision}: not made: {error}")
                continue
            yield from made
