"""What a benchmark was asked for, checked as a whole before anything slow happens."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from converters.artifact import Precision
from converters.errors import OptionError, closest
from exporter.bench.machine import usable_cores
from exporter.bench.statistics import LAUNCHES
from exporter.bench.timing import TIMERS

AGAINST: Final = ("naive", "none")
"""What a model's own export can be timed beside: the stock converters' files, and the model without attention."""

ALL: Final = "all"
SECONDS: Final = 6.0


@dataclasses.dataclass(frozen=True, slots=True)
class BenchOptions:
    """One benchmark.

    Attributes:
        against: of AGAINST, each for every model; ready artifacts stand beside each other as they are.
        formats: of TIMERS, that models are exported to; empty: each that can be written in the precision.
        precision: that models are exported in.
        threads: numbers of threads, or `all` for as many as cores can be used.
        seconds: of timed inferences for each artifact and number of threads.
        launches: how often every process is started anew; below `statistics.LAUNCHES` no difference is claimed.
        profile: also time each operation of each attention block.

    Raises:
        OptionError: on construction, for a value that is not valid, naming what would be.
    """

    against: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    precision: Precision = Precision.FP32
    threads: tuple[int | str, ...] = (1, ALL)
    seconds: float = SECONDS
    launches: int = LAUNCHES
    profile: bool = True

    def __post_init__(self) -> None:
        for field in ("against", "formats"):
            value = getattr(self, field)
            object.__setattr__(self, field, tuple(dict.fromkeys((value,) if isinstance(value, str) else value)))
        for name, given, known in (("against", self.against, AGAINST), ("format", self.formats, tuple(TIMERS))):
            for each in given:
                if each not in known:
                    raise OptionError(f"unknown {name} {each!r} for a benchmark{closest(each, known)}")
        try:
            object.__setattr__(self, "precision", Precision(self.precision))
        except ValueError:
            raise OptionError(f"unknown precision {self.precision!r}{closest(self.precision, Precision)}") from None
        if not self.threads:
            raise OptionError(f"--threads takes numbers of at least 1, or {ALL}; got none")
        for count in self.threads:
            if count != ALL and not (isinstance(count, int) and not isinstance(count, bool) and count >= 1):
                raise OptionError(f"--threads takes numbers of at least 1, or {ALL}; got {count!r}")
        if not 0 < self.seconds < math.inf:
            raise OptionError(f"--seconds must be above 0; got {self.seconds!r}")
        if self.launches < 1:
            raise OptionError(f"--launches must be at least 1; got {self.launches!r}")

    def thread_counts(self) -> tuple[int, ...]:
        """The numbers of threads on this machine, each once, in the order asked for."""
        return tuple(dict.fromkeys(usable_cores() if each == ALL else int(each) for each in self.threads))
