"""Time and memory of one case, of this process and of those that it starts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
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
    """seconds: of processor time, all processes and threads together; wall: by the clock.

    megabytes: what this process held at most above what it held before, or what one that it started held at most.
    children: the folder of `watch_children`.
    """

    children: Path | None = None
    seconds: float = 0.0
    wall: float = 0.0
    megabytes: float = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        held, spent, begun = _reset(), _spent(), time.monotonic()
        try:
            yield
        finally:
            self.seconds, self.wall = _spent() - spent, time.monotonic() - begun
            self.megabytes = max(_status("VmHWM") - held, *self._others())

    def _others(self) -> list[float]:
        files = list(self.children.glob("*.held")) if self.children else []
        held = [int(path.read_text()) / 1024 for path in files]
        for path in files:
            path.unlink()
        return [0.0, *held]


# What the system itself tells of a process that has ended includes its parent's memory, from before it became another.
_AT_EXIT = """\
import atexit, os, pathlib

def tell():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    held = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    pathlib.Path(__file__).with_name(f"{os.getpid()}.held").write_text(held)

if os.path.exists("/proc/self/status"):
    atexit.register(tell)
"""


def watch_children(folder: Path) -> Path:
    """From now on every Python that is started with our path leaves in a folder what memory it held at most."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_AT_EXIT)
    sys.path.insert(0, str(folder))
    return folder


def is_memory_measured() -> bool:
    """Whether 64 MB that are taken and given back are seen: only Linux tells."""
    meter = Meter()
    with meter.running():
        bytearray(b"\1") * (64 << 20)
    return 60 < meter.megabytes < 70


def _spent() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


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
