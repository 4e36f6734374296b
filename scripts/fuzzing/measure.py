"""Time and memory of one case, of this process and of those that it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Hang(BaseException):
    """A case that does not end."""


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


@dataclasses.dataclass
class Meter:
    """seconds: of processor time, all processes and threads together; wall: by the clock. megabytes: more than before.

    A process that was started counts with all that it held where that is more than in any case before: the system tells
    the largest only.
    """

    seconds: float = 0.0
    wall: float = 0.0
    megabytes: float = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        held, others, spent, begun = _reset(), _children(), _spent(), time.monotonic()
        try:
            yield
        finally:
            self.seconds, self.wall = _spent() - spent, time.monotonic() - begun
            after = _children()
            self.megabytes = max(_status("VmHWM") - held, after if after > others else 0.0)


def is_memory_measured() -> bool:
    """Whether 64 MB that are taken and given back are seen: only Linux tells."""
    meter = Meter()
    with meter.running():
        bytearray(b"\1") * (64 << 20)
    return 60 < meter.megabytes < 70


def _spent() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _children() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _reset() -> float:
    """Start to measure the largest memory anew; gives the present one in MB. On other systems than Linux: 0."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return _status("VmRSS")


def _status(key: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), 0.0)
