"""What the gates of the model's CBAM blocks do on real inputs, from a record. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from exporter.parity.record import Record

CLOSED: Final = 0.01
OPEN: Final = 0.99
_SAME: Final = 1e-6


def gate_rows(record: Record) -> Iterator[dict[str, Any]]:
    """One row a gate, JSON-able.

    `least` and `largest` value; the shares that are `closed` (below 0.01) and `open` (above 0.99), which are the
    saturated ones; and `dead`: the share of channels, or places, whose gate is the same for all samples.
    """
    for block in record.gates:
        for kind in ("channel", "spatial"):
            values = getattr(block, kind)
            if values is None or values.size == 0:
                continue
            yield {
                "block": block.block,
                "gate": kind,
                "least": float(values.min()),
                "largest": float(values.max()),
                "closed": float(np.mean(values < CLOSED)),
                "open": float(np.mean(values > OPEN)),
                "dead": float(np.mean(np.ptp(values, axis=0) < _SAME)),
            }
