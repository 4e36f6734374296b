"""What a person sees: figures that are whole at any width, and names that are not taken for markup."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from exporter.parity.check import ParityReport, Reference
from exporter.parity.verdict import OwnError, Workload, judge
from exporter.report.table import print_verification

SCORES = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
WORK = Workload(3, 9)


@pytest.mark.parametrize("width", [50, 80, 103, 104, 160])
def test_no_figure_is_cut_at_any_width(width: int) -> None:
    own = OwnError(1e-7, 1e-7)
    verdicts = {name: judge(SCORES, SCORES + np.float32(3e-8), own, WORK) for name in ("first", "a [b]", "[/c]")}
    reference = Reference({"x": SCORES}, {}, None, WORK, "20 samples", "a model")
    stream = io.StringIO()
    out = Console(file=stream, width=width, force_terminal=True, no_color=True, highlight=False)
    print_verification(out, ParityReport("runs [v2]/model[/x].onnx", "runtime 1.0", verdicts), reference)
    text = stream.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "runs [v2]/model[/x].onnx" in text
    for name, verdict in verdicts.items():
        assert name in text
        assert verdict.metrics is not None
        assert verdict.tolerance is not None
        for figure in (verdict.metrics.max_abs, verdict.metrics.relative, verdict.tolerance.relative):
            assert f"{figure:.2e}" in text
    assert text.count("PASSED") == len(verdicts)
