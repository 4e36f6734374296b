"""The JSON that commands print: keys that others build on. More may be added; a renamed one needs a new schema."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from converters.artifact import Artifact
from converters.deploy.lower import Lowered
from converters.errors import CbamError
from converters.lambdas.rewrite import LambdaRefusedError
from exporter.models.inspection import Inspection
from exporter.parity.check import ParityReport
from exporter.parity.result import SCHEMA
from exporter.parity.verdict import OutputVerdict
from exporter.runtimes.status import RuntimeStatus


def export_json(
    artifacts: Iterable[Artifact], reports: Iterable[ParityReport], lowered: Mapping[str, Lowered] | None = None
) -> dict[str, Any]:
    """The result of export: `artifacts`, a row of `verification` for each output, artifact and runtime, and by format
    what was `lowered`."""
    return {
        "schema": SCHEMA,
        "artifacts": [artifact.to_json() for artifact in artifacts],
        "verification": [row for report in reports for row in verification_rows(report)],
        "lowered": {name: each.to_json() for name, each in (lowered or {}).items()},
    }


def verification_rows(report: ParityReport) -> list[dict[str, Any]]:
    """One row an output. A figure that does not exist is null: `sqnr_db` of an exact copy, `relative` of a constant."""
    return [_row(report, name, verdict) for name, verdict in report.outputs.items()]


def error_json(error: CbamError) -> dict[str, Any]:
    """What `--json` prints instead of a result; `replaced` and `refused` too where Lambda layers are in the way."""
    shown = {"schema": SCHEMA, "error": {"kind": error.kind, "message": str(error)}}
    if isinstance(error, LambdaRefusedError):
        return {**rescue_json(None, error.replaced, error.refused), **shown}
    return shown


def inspection_json(found: Inspection) -> dict[str, Any]:
    """The result of inspect: `parameters`, `macs` (null where sizes are open), `blocks`, `lambdas`."""
    return {"schema": SCHEMA, **found.to_json(), "lambdas": lambda_rows(found.lambdas), "notes": list(found.notes)}


def rescue_json(
    output: Any, replaced: Iterable[Any], refused: Iterable[Any] = (), notes: Iterable[str] = ()
) -> dict[str, Any]:
    """The result of rescue: `output` (null where nothing was written), `replaced`, `refused`, `notes`."""
    return {
        "schema": SCHEMA,
        "output": None if output is None else str(output),
        "replaced": lambda_rows(replaced),
        "refused": [{"layer": each.layer, "reason": each.reason, "source": each.source or None} for each in refused],
        "notes": list(notes),
    }


def lambda_rows(replaced: Iterable[Any]) -> list[dict[str, Any]]:
    """One row a replaced layer: `layer`, `source`, `became`, `assumptions`."""
    return [
        {"layer": each.layer, "source": each.source, "became": each.became, "assumptions": list(each.assumptions)}
        for each in replaced
    ]


def models_json(names: Mapping[str, str], rows: Iterable[Inspection]) -> dict[str, Any]:
    """The table of models: name and summary of each, with what an inspection of it found if it was made."""
    sizes = {row.name: row.to_json() for row in rows}
    return {
        "schema": SCHEMA,
        "models": [{"name": name, "summary": text, **sizes.get(name, {})} for name, text in names.items()],
    }


def runtimes_json(found: Iterable[RuntimeStatus]) -> dict[str, Any]:
    """The result of runtimes: whether each can run here, what it runs, and the command that installs it."""
    return {"schema": SCHEMA, "runtimes": [each.to_json() for each in found]}


def _row(report: ParityReport, name: str, verdict: OutputVerdict) -> dict[str, Any]:
    metrics, tolerance = verdict.metrics, verdict.tolerance
    figures = ("max_abs", "mean_abs", "relative", "cosine", "sqnr_db", "agreement", "spread")
    return {
        "artifact": report.artifact,
        "runtime": report.runtime,
        "output": name,
        **{key: _finite(getattr(metrics, key)) if metrics else None for key in figures},
        "tolerance": _finite(tolerance.relative) if tolerance else None,
        "tolerance_source": tolerance.source if tolerance else None,
        "verdict": str(verdict.verdict),
        "reason": verdict.reason,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
