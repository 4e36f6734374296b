"""The machine that is measured on, and what makes its times worth less."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_BUSY: Final = 0.25
"""Cores of other work from which a warning is due."""

_STAT: Final = Path("/proc/stat")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_STEADY: Final = ("performance", "userspace")


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What is known of it.

    Attributes:
        processor: its name, as the system tells it.
        cores: that this process may run on.
        load: average number of running tasks in the minute before the measurement; None where not told.
        governor: what sets the first core's clock; None where not told, as in most virtual machines.
    """

    processor: str
    cores: int
    load: float | None
    governor: str | None


def machine() -> Machine:
    """The machine, as it is now."""
    try:
        load: float | None = round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        load = None
    governor = _GOVERNOR.read_text(encoding="utf-8").strip() if _GOVERNOR.is_file() else None
    return Machine(_processor(), usable_cores(), load, governor)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def warnings_before(found: Machine, threads: Sequence[int]) -> list[str]:
    """What stands against measuring on this machine now."""
    said = []
    free = found.cores - max(threads)
    if found.load is not None and found.load > free + _BUSY:
        said.append(
            f"the load average was {found.load:g} before the start, and of {found.cores} cores up to {max(threads)} "
            f"are measured on: other work disturbs the times"
        )
    if free < 0:
        said.append(f"{max(threads)} threads share {found.cores} core{'s' * (found.cores > 1)}")
    if found.governor is not None and found.governor not in _STEADY:
        said.append(f"the processor's clock is set by {found.governor!r}: times depend on how warm and busy it is")
    return said


class OtherWork:
    """How many cores others kept busy between its making and `cores`. Linux only; else None."""

    def __init__(self) -> None:
        self._since, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def cores(self) -> float | None:
        """All processor time that was used or stolen, less that of this process and its ended children."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        passed = time.monotonic() - self._since
        return max(0.0, (busy - self._busy - (_own_seconds() - self._own)) / max(passed, 1e-9))


def warnings_after(other: float | None) -> list[str]:
    """What was found to disturb the measurement while it ran."""
    if other is None or other <= _BUSY:
        return []
    return [f"other work kept {other:.1f} cores busy meanwhile: trust ratios and their intervals, not times"]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _busy_seconds() -> float | None:
    """Of all cores: everything but idling and waiting for a disk; time that a hypervisor took counts as busy."""
    try:
        fields = _STAT.read_text(encoding="utf-8").splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
