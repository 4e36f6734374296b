"""A reference in a few lines, and as JSON without its arrays. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exporter.parity.causes import of_the_reference
from exporter.parity.gate_report import gate_rows
from exporter.parity.record import Record
from exporter.parity.result import SCHEMA, finite


def record_json(record: Record) -> dict[str, Any]:
    """What a reference says of itself. `noise`: by level and output, the largest distance from the truth by case."""
    return {
        "schema": SCHEMA,
        "name": record.name,
        "sha256": record.sha256(),
        "weights_sha256": record.fingerprint,
        "inputs": [spec.to_json() for spec in record.input_specs],
        "outputs": [spec.to_json() for spec in record.output_specs],
        "cases": [case.to_json() for case in record.cases],
        "truth": record.truth is not None,
        "noise": {
            level: {
                output: {
                    case.name: finite(float(errors[case.rows].max(initial=0.0)))
                    for case in record.cases
                    if len(errors) == record.samples
                }
                for output, errors in outputs.items()
            }
            for level, outputs in record.noise.items()
        },
        "gates": list(gate_rows(record)),
        "environment": dict(record.environment),
        "remarks": list(record.remarks),
    }


def record_lines(record: Record) -> Iterator[str]:
    """The same for a person."""
    environment = record.environment
    yield f"{record.name}: {record.source}, {environment['system']}"
    yield f"  two runs gave {'the same bits' if environment['repeatable'] else 'different bits'}"
    for case in record.cases:
        yield f"  {case.name}: {case.described}"
    for cause in of_the_reference(record, record.name):
        relative = "-" if cause.relative is None else f"{cause.relative:.2e}"
        yield f"  {cause.cause}: {relative} of the spread, {cause.how}" + ("" if cause.measured else " (predicted)")
    yield f"  gates of {len(record.gates)} CBAM blocks"
    for remark in record.remarks:
        yield f"  {remark}"
