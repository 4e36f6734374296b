"""What came of many cases."""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fuzzing.case import Case, Outcome
from fuzzing.measure import is_memory_measured
from fuzzing.runner import SECONDS

_COLUMNS: Final = (
    "cases", "rescued", "LambdaRefusedError", "ModelError", "ConversionError", "unforeseen", "no oracle", "stops",
    "fault",
)  # fmt: skip


class Report:
    """Counts outcomes by kind, and keeps the cases that broke a rule."""

    def __init__(self, seed: int, keep: Path | None) -> None:
        self.seed, self.keep, self.begun = seed, keep, time.monotonic()
        self.rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.faults: dict[str, list[str]] = collections.defaultdict(list)
        self.slowest, self.longest, self.largest = (0.0, ""), (0.0, ""), (0.0, "")
        self.late = 0
        if keep:
            keep.mkdir(parents=True, exist_ok=True)

    def before(self, case: Case) -> None:
        """The case that is run now, for whoever comes after a crash."""
        if self.keep:
            (self.keep / "now.json").write_text(case.to_json())

    def add(self, index: int, kind: str, case: Case, outcome: Outcome) -> None:
        row, where = self.rows[kind], f"case {index}, {kind}: {outcome.kind} {outcome.message[-160:]}"
        row["cases"] += 1
        row["fault" if outcome.fault else outcome.kind] += 1
        if any(each in outcome.message for each in ("not foreseen", "config is broken (")):
            row["unforeseen"] += 1
            self._keep(f"unforeseen-{self.seed}-{index}", case)
        if case.computes and outcome.kind == "rescued" and outcome.message and not outcome.fault:
            row["no oracle" if outcome.message.startswith("TensorFlow refuses") else "stops"] += 1
            self._keep(f"oracle-{self.seed}-{index}", case)
        self.slowest = max(self.slowest, (outcome.seconds, where))
        self.longest = max(self.longest, (outcome.wall, where))
        self.largest = max(self.largest, (outcome.megabytes, where))
        self.late += outcome.wall > SECONDS
        if outcome.fault:
            self.faults[outcome.fault.rpartition("(")[2] or outcome.fault].append(f"case {index}: {outcome.fault}")
            self._keep(f"{self.seed}-{index}", case)

    def _keep(self, name: str, case: Case) -> None:
        if self.keep:
            (self.keep / f"{name}.json").write_text(case.to_json())

    def text(self, swept: Mapping[str, tuple[int, int]]) -> str:
        rows = {**self.rows, "all": sum(self.rows.values(), collections.Counter())}
        others = sorted(set(rows["all"]) - set(_COLUMNS))
        shown = [each for each in (*_COLUMNS, *others) if rows["all"][each]]
        widths = [max(8, len(each) + 2) for each in shown]
        lines = [" " * 12 + "".join(each.rjust(width) for each, width in zip(shown, widths, strict=True))]
        for kind, row in rows.items():
            counts = (str(row[column]).rjust(width) for column, width in zip(shown, widths, strict=True))
            lines.append(kind.ljust(12) + "".join(counts))
        lines += [f"swept {name}: {done} of {size} pairs of version and number" for name, (done, size) in swept.items()]
        lines.append(f"slowest {self.slowest[0]:.2f} s of processor time ({self.slowest[1]})")
        lines.append(
            f"longest {self.longest[0]:.2f} s by the clock ({self.longest[1]}); {self.late} over {SECONDS:g} s"
        )
        known = "" if is_memory_measured() else ", which this system does not tell"
        lines.append(f"largest {self.largest[0]:.0f} MB{known} ({self.largest[1]})")
        lines.append(f"seed {self.seed}, {time.monotonic() - self.begun:.0f} s")
        for texts in sorted(self.faults.values(), key=len, reverse=True):
            lines.append(f"FAULT, {len(texts)} times: {texts[0]}")
        return "\n".join(lines)
