"""The outcome of a verification as JSON: the keys that others build on, and the way back from a device. NumPy only."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converters.errors import ModelError
from exporter.parity.judgement import CaseVerdict
from exporter.parity.merging import check_result
from exporter.parity.verdict import OutputVerdict, Verdict

SCHEMA: Final = "cbam-export/1"

LISTED: Final = 50
"""Flips told one by one; all are counted."""

FIGURES: Final = ("max_abs", "mean_abs", "relative", "cosine", "sqnr_db", "agreement", "spread")

Row = dict[str, Any]


def row(artifact: Mapping[str, Any], runtime: Mapping[str, Any], found: CaseVerdict) -> Row:
    """One row of `verification`. A figure that does not exist is null.

    Args:
        artifact: what is said of it in every row: `artifact` (its path), `format`, `precision`, `sha256`.
        runtime: likewise: `runtime` (library and version), `runtime_name` (its row of RUNTIMES).
    """
    verdict = found.verdict
    metrics, tolerance = verdict.metrics, verdict.tolerance
    spread = metrics.spread if metrics is not None and metrics.spread > 0 else math.nan
    return {
        **artifact,
        **runtime,
        "output": found.output,
        "case": found.case,
        "samples": found.samples,
        **{key: finite(getattr(metrics, key)) if metrics else None for key in FIGURES},
        "vs_reference": finite(found.vs_reference),
        "noise": {level: finite(error / spread) for level, error in found.own_errors.items()},
        "tolerance": finite(tolerance.relative) if tolerance else None,
        "tolerance_source": tolerance.source if tolerance else None,
        "overrides": found.overrides or None,
        "verdict": str(verdict.verdict),
        "reason": verdict.reason,
        "flip_count": len(found.flips),
        "near_ties": sum(flip.near_tie for flip in found.flips),
        "flips": [flip.to_json() for flip in found.flips[:LISTED]],
    }


def failed_row(artifact: Mapping[str, Any], runtime: Mapping[str, Any], output: str, reason: str) -> Row:
    """The row of an output of an artifact that could not be run: nothing was measured, and that is a failure."""
    return row(artifact, runtime, CaseVerdict(output, "all", 0, OutputVerdict(Verdict.FAILED, reason, None, None)))


def machine() -> dict[str, str]:
    """Where a result was made: no host name, no user."""
    return {"system": platform.system(), "processor": platform.machine(), "python": platform.python_version()}


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if value is not None and math.isfinite(value) else None


def read_result(path: Path) -> dict[str, Any]:
    """A result that `check_parity.py` or `cbam verify --json` wrote.

    Raises:
        ModelError: it is no such file, or its parts contradict each other.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: is not JSON ({error})") from error
    try:
        if data["schema"] != SCHEMA:
            raise ModelError(f"{path}: schema {data['schema']!r} is not {SCHEMA!r}")
        check_result(data)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        said = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise ModelError(f"{path}: is not the result of a verification ({said})") from error
    found: dict[str, Any] = data
    return found
