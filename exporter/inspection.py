"""Looking at a model without writing anything: behind `cbam inspect` and `cbam models`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from converters.errors import OptionError, closest
from converters.lambdas.archive import is_saved_model
from exporter.models.backbones import BACKBONES, PREFIX, build_model
from exporter.models.inspection import Inspection, inspect_keras
from exporter.models.zoo import ZOO
from exporter.source import load_source

Step = Callable[[str], None]


def inspect(model: Any = None, *, on_step: Step = lambda step: None) -> Inspection:
    """Parameters, multiply-adds, CBAM blocks and decoded Lambda layers of a model; nothing is written.

    Blocks are recognised by what they compute, in any functional model (`converters.deploy.recognise`).

    Args:
        model: a Keras model, a `.keras`/`.h5` file, a zoo name or a backbone name; `cbam-mnist` if None.

    Raises:
        ModelError: the model cannot be opened.
        OptionError: a SavedModel folder, which holds no layers.
    """
    if isinstance(model, str | os.PathLike) and is_saved_model(model):
        raise OptionError(f"{os.fspath(model)}: a SavedModel holds no layers to inspect; it can be exported")
    source = load_source(model, on_step=on_step)
    on_step("counting")
    found = inspect_keras(source.name, source.keras)
    if source.rescued is None:
        return found
    return dataclasses.replace(found, lambdas=source.rescued.replaced, notes=source.rescued.notes)


def model_table(
    names: Iterable[str] = (), bottleneck_stride: str = "3x3", *, on_step: Step = lambda step: None
) -> list[Inspection]:
    """An inspection of each named zoo model or backbone; of all, backbones with and without CBAM, if none is named.

    `bottleneck_stride` is where bottleneck ResNets stride: `3x3` (official code) or `1x1` (paper's table).

    Raises:
        OptionError: an unknown name.
    """
    known = known_models()
    chosen = list(names) or list(known)
    for name in chosen:
        if name not in known:
            raise OptionError(f"unknown model {name!r}{closest(name, known)}")
    rows = []
    for name in chosen:
        on_step(f"counting {name}")
        row = BACKBONES.get(name.removeprefix(PREFIX))
        if row is not None and "bottleneck_stride" in row.options:
            model = build_model(name, bottleneck_stride=bottleneck_stride)
        else:
            model = load_source(name).keras
        rows.append(inspect_keras(name, model))
    return rows


def known_models() -> Mapping[str, str]:
    """All zoo and backbone names with one line about each."""
    backbones = {
        prefix + row.name: row.summary + (", with CBAM" if prefix else "")
        for row in BACKBONES.values()
        for prefix in ("", PREFIX)
    }
    return {row.name: row.summary for row in ZOO.values()} | backbones
