"""What artifacts are verified against: a record, read or made, and the model itself where it is at hand.

It runs on devices too, out of a bundle (`exporter.bundling`): what needs Keras is imported where a model is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from converters.artifact import Artifact
from converters.errors import OptionError
from exporter.parity.record import Record, is_record, read

Step = Callable[[str], None]


def open_reference(against: Any, artifacts: Sequence[Artifact], on_step: Step) -> Record:
    """The record that artifacts are verified against: read, or of a model, which is then run on the CPU.

    Without a model, the shipped one that the artifacts were exported from.
    """
    if isinstance(against, Record):
        return against
    if isinstance(against, str | Path) and is_record(Path(against)):
        on_step(f"reading {Path(against).name}")
        return read(Path(against))
    if against is None:
        against = _own_model(artifacts)
    from exporter.recording import ReferenceOptions, reference

    shapes: dict[str, tuple[int, ...]] = {}
    value_range = None
    described = [each for each in artifacts if "described_by" not in each.metadata][:1]
    for spec in described[0].inputs if described else ():
        told = described[0].metadata.get("preprocessing", {}).get(spec.name, {})
        value_range = value_range or (tuple(told["range"]) if told.get("range") else None)
        layout = told.get("layout")
        sizes = spec.shape if (layout, spec.layout) != ("NHWC", "NCHW") else tuple(spec.shape[i] for i in (0, 2, 3, 1))
        shapes[spec.name] = tuple(size for size in sizes[1:] if size is not None)
    options = ReferenceOptions("cpu", input_shapes=shapes, input_range=value_range)
    return reference(against, None, options, on_step=on_step)


def _own_model(artifacts: Sequence[Artifact]) -> str:
    """The shipped model or backbone that all artifacts were exported from."""
    origins = {(each.provenance.get("kind"), each.provenance.get("source")) for each in artifacts}
    kind, source = next(iter(origins), (None, None))
    if len(origins) > 1 or kind not in ("zoo", "backbone"):
        raise OptionError("--against MODEL or REF.npz is needed: the artifacts are not all of one shipped model")
    return str(source)


def model_at_hand(against: Any, artifacts: Sequence[Artifact], given: Any, needed: bool) -> Any:
    """The model to search along, or None: what is verified against, or `given` beside a recorded reference.

    Raises:
        OptionError: a model is given beside a model, or `needed` and not at hand.
    """
    recorded = isinstance(against, Record) or (isinstance(against, str | Path) and is_record(Path(against)))
    if given is not None and not recorded:
        raise OptionError("--locate MODEL is for a recorded reference; --against names a model already")
    if needed and recorded and given is None:
        raise OptionError("--per-layer needs the model itself; give it with --locate MODEL beside the reference")
    if recorded:
        return given
    return _own_model(artifacts) if against is None else against


def opener(model: Any, record: Record, given: bool, on_step: Step) -> Callable[[], Any]:
    """What opens the model when it is needed. One that was `given` for that is opened now: it may be the wrong one."""
    from exporter.divergence import open_model

    if not given:
        return lambda: open_model(model, record, on_step)
    opened = open_model(model, record, on_step)
    return lambda: opened
