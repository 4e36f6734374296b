"""The graphs that compete to be quantised: the model as it is, and equivalents that lose less by it.

The float model itself is never changed, and what is verified is verified against it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from exporter.options import ExportOptions
from exporter.quantisation.options import CALIBRATED
from exporter.source import LoadedModel

PLAIN: Final = "as it is"


@dataclasses.dataclass(frozen=True)
class Form:
    """One graph that computes what the model computes.

    Attributes:
        name: what it is called in reports.
        traced: its trace (`converters.trace.TracedModel`).
        rewrite: TFLite: what is done to the float file besides; gives None where there is nothing to do, and then this
            form is the plain one again.
    """

    name: str
    traced: Any
    rewrite: Callable[[bytes], bytes | None] | None = None


def forms(source: LoadedModel, traced: Any, options: ExportOptions, format_name: str) -> list[Form]:
    """The graphs to quantise for a format, the plain one first."""
    made = [Form(PLAIN, traced)]
    if format_name == "tflite" and options.precision in CALIBRATED:
        from converters.quantise.split import split_pools

        made.append(Form("pools convolved apart", traced, split_pools))
    return made
