"""The graphs that compete to be quantised: the model as it is, and equals of it that lose less by it.

The float model itself is never changed, and what is verified is verified against it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from converters.deploy.targets import PREFERENCES, Target
from exporter.formats import FORMATS
from exporter.options import ExportOptions
from exporter.pipeline import lower_for
from exporter.quantisation.options import CALIBRATED
from exporter.source import LoadedModel

PLAIN: Final = "as it is"

MARGIN_DB: Final = 0.5
"""How much better by SQNR the model as it is must be to be kept before a lowered form, which runs faster: on a few
hundred samples the SQNR of one and the same file varies by about a decibel."""


@dataclasses.dataclass(frozen=True)
class Form:
    """One graph that computes what the model computes.

    Attributes:
        name: what it is called in reports.
        traced: its trace (`converters.trace.TracedModel`).
        lowered: what stands in the artifact about its lowering; None where it was not lowered.
        rewrite: TFLite: what is done to the float file besides; gives None where there is nothing to do, and then this
            form is the plain one again.
    """

    name: str
    traced: Any
    lowered: Mapping[str, Any] | None = None
    rewrite: Callable[[bytes], bytes | None] | None = None


def forms(
    source: LoadedModel,
    traced: Any,
    options: ExportOptions,
    format_name: str,
    on_step: Callable[[str], None] = lambda step: None,
) -> list[Form]:
    """The graphs to quantise for a format.

    Where activations are quantised, the model as it is competes with the form that its runtime computes fastest; in
    TFLite this has the pooled maps convolved apart, and the shared MLP in either form. Where no block is recognised,
    the pooled maps are looked for in the TFLite file itself. Other precisions get the fastest form.
    """
    plain = Form(PLAIN, traced)
    if not options.lower:
        return [plain]
    competing = options.precision in CALIBRATED
    targets = FORMATS[format_name].targets.get(options.precision, ())
    made, blocks = [], False
    for target in targets:
        on_step(f"lowering the model for {target}")
        ready, lowered = lower_for(target, source, traced, options.input_range)
        if lowered.rewrites:
            blocks = blocks or lowered.blocks
            several = lowered.blocks and len(targets) > 1
            made.append(Form(_name(target) if several else "lowered", ready, lowered.summary()))
    if not competing:
        return made or [plain]
    if blocks or format_name != "tflite":
        return [*made, plain]
    from converters.quantise.split import split_pools

    split = dataclasses.replace(made[0] if made else plain, name="pools convolved apart", rewrite=split_pools)
    return [*made, plain, split]


def _name(target: Target) -> str:
    return f"lowered, MLP {'called twice' if PREFERENCES[target].merged_from is None else 'merged'}"
