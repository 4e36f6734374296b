"""Takes the times: one process for each artifact, taking turns that the parent calls, so that never two run at once.

A process each, because peak memory is a process's, because no artifact may run on what another has left in an allocator
or a thread pool, and because a new process is a new draw of where memory comes to lie, which moves times by percents.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from converters.errors import OptionError
from exporter.bench.files import FileInput, file_inputs
from exporter.bench.machine import usable_cores
from exporter.bench.statistics import median
from exporter.runtimes.process import WORKERS, Worker, WorkerSession, python_worker

Step = Callable[[str], None]

TURN_SECONDS: Final = 0.03
"""Of one artifact in one round: short, so that the machine is the same for all in a round."""

WARM_UP_SECONDS: Final = 0.15
"""At the start of each launch, and two inferences at least: packing of weights, page faults, the processor's clock."""

PAUSE_SECONDS: Final = 0.01
"""Before a turn on several threads: the last one's thread pool still spins for some milliseconds."""

FEWEST_ROUNDS: Final = 3

SEED: Final = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Timer:
    """How artifacts of one format are timed.

    Attributes:
        runtime: the row of RUNTIMES that it is.
        loader: the file of `exporter/runtimes/workers` for `measure.py`.
    """

    runtime: str
    loader: str


TIMERS: Final[Mapping[str, Timer]] = MappingProxyType(
    {"tflite": Timer("litert", "time_litert.py"), "onnx": Timer("onnxruntime", "time_onnxruntime.py")}
)
"""By format."""


@dataclasses.dataclass(frozen=True, slots=True)
class Times:
    """What was measured of one artifact with one number of threads. Times in ms.

    Attributes:
        rounds: by launch, the median time of one inference in each round.
        cpu: by launch and round, the processor time of one inference, over all threads.
        inferences: every timed inference, in order.
        peak_bytes: largest resident memory of its process, in any launch.
        empty_bytes: that of the same process before the artifact was opened, with the runtime imported.
    """

    rounds: tuple[tuple[float, ...], ...]
    cpu: tuple[tuple[float, ...], ...]
    inferences: tuple[float, ...]
    peak_bytes: int
    empty_bytes: int


def take_times(
    artifacts: Sequence[Artifact], threads: int, seconds: float, launches: int, on_step: Step = lambda step: None
) -> list[Times]:
    """Time artifacts in turns, in as many launches as asked for.

    Args:
        artifacts: of formats in TIMERS; the same one may stand there twice.
        threads: of each runtime's pool.
        seconds: of timed inferences for each artifact, over all launches; at least three rounds are made in each.
        launches: how often all processes are started anew.

    Raises:
        OptionError: a format that is not timed.
        ConversionError, WorkerError: a runtime refuses an artifact, or dies.
    """
    for artifact in artifacts:
        if artifact.format not in TIMERS:
            raise OptionError(f"{artifact.path}: {artifact.format} is not timed; {', '.join(TIMERS)} are")
    turns = random.Random(SEED)
    made = [_Collected() for _ in artifacts]
    with (
        tempfile.TemporaryDirectory(prefix="cbam-bench-") as folder,
        concurrent.futures.ThreadPoolExecutor(max_workers=usable_cores()) as pool,
    ):
        inputs = [
            write_inputs(file_inputs(each.path, each.format), Path(folder, f"{at}.npz"))
            for at, each in enumerate(artifacts)
        ]
        for launch in range(launches):
            on_step(f"timing on {threads} thread{'s' * (threads > 1)}, launch {launch + 1} of {launches}")
            with contextlib.ExitStack() as stack:
                # Opening is not timed, so all open at once; each session is closed whatever becomes of the others.
                opening = [
                    pool.submit(MeasuringSession, *pair, threads) for pair in zip(artifacts, inputs, strict=True)
                ]
                for each in opening:
                    stack.callback(_close, each)
                opened = [each.result() for each in opening]
                _one_launch(opened, made, seconds / launches, turns)
    return [each.times() for each in made]


class MeasuringSession(WorkerSession):
    """One artifact opened in one process that times it."""

    def __init__(self, artifact: Artifact, inputs: Path, threads: int) -> None:
        timer = TIMERS[artifact.format]
        options = {"threads": threads, "inputs": str(inputs)}
        super().__init__(measuring_worker(timer.runtime, timer.loader), artifact.path, timer.runtime, options)
        self.threads = threads

    def measure(self, inferences: int) -> Mapping[str, Any]:
        """Run so many inferences: `wall_ns` of each, `cpu_ns` of all, `peak_bytes` so far."""
        timing: Mapping[str, Any] = self.ask({"inferences": inferences}, "timing", "timing")
        return timing


def measuring_worker(runtime: str, loader: str) -> Worker:
    """A worker of `measure.py` instead of `serve.py`."""
    served = python_worker(runtime, loader)
    *start, _, path = served.command
    return dataclasses.replace(served, command=(*start, str(WORKERS / "measure.py"), path))


def random_values(inputs: Sequence[FileInput]) -> list[np.ndarray]:
    """Uniform noise for each input: 0..1 for floats, the whole range for small integers, else zeros and ones.

    No runtime here takes a shortcut by value; noise keeps denormal numbers away, which are slow.
    """
    generator = np.random.default_rng(SEED)
    return [_noise(np.dtype(each.dtype), each.shape, generator) for each in inputs]


def write_inputs(inputs: Sequence[FileInput], path: Path) -> Path:
    """Write `random_values` to a file of arrays by number, as the loaders take them."""
    arrays = {str(index): value for index, value in enumerate(random_values(inputs))}
    np.savez(path, allow_pickle=False, **arrays)
    return path


def _noise(dtype: np.dtype[Any], shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize <= 2:
        limits = np.iinfo(dtype)
        return generator.integers(limits.min, limits.max, shape, dtype.type, endpoint=True)
    return generator.integers(0, 2, shape).astype(dtype)


@dataclasses.dataclass
class _Collected:
    """The times of one artifact while they come in."""

    rounds: list[list[float]] = dataclasses.field(default_factory=list)
    cpu: list[list[float]] = dataclasses.field(default_factory=list)
    inferences: list[float] = dataclasses.field(default_factory=list)
    peak: int = 0
    empty: int = 0

    def add(self, timing: Mapping[str, Any]) -> None:
        wall = [nanoseconds / 1e6 for nanoseconds in timing["wall_ns"]]
        self.rounds[-1].append(median(wall))
        self.cpu[-1].append(timing["cpu_ns"] / 1e6 / len(wall))
        self.inferences += wall
        self.peak = max(self.peak, timing["peak_bytes"])

    def times(self) -> Times:
        return Times(
            tuple(map(tuple, self.rounds)),
            tuple(map(tuple, self.cpu)),
            tuple(self.inferences),
            self.peak,
            self.empty,
        )


def _close(opening: concurrent.futures.Future[MeasuringSession]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _one_launch(
    opened: Sequence[MeasuringSession], made: Sequence[_Collected], seconds: float, turns: random.Random
) -> None:
    counts = []
    for session, collected in zip(opened, made, strict=True):
        collected.rounds.append([])
        collected.cpu.append([])
        collected.empty = max(collected.empty, session.facts["empty_bytes"])
        counts.append(max(1, round(TURN_SECONDS / _warmed(session))))
    spent, rounds = 0.0, 0
    while rounds < FEWEST_ROUNDS or spent < seconds * len(opened):
        # In another order each time: what ran just before leaves its mark on caches and clock.
        for index in turns.sample(range(len(opened)), len(opened)):
            if opened[index].threads > 1:
                time.sleep(PAUSE_SECONDS)
            opened[index].measure(1)  # not counted: the others have emptied the caches
            timing = opened[index].measure(counts[index])
            made[index].add(timing)
            spent += sum(timing["wall_ns"]) / 1e9
        rounds += 1


def _warmed(session: MeasuringSession) -> float:
    """Seconds of one inference, after warming up."""
    seen: list[float] = []
    while len(seen) < 2 or sum(seen) < WARM_UP_SECONDS:
        seen += [nanoseconds / 1e9 for nanoseconds in session.measure(1)["wall_ns"]]
    return median(seen[len(seen) // 2 :])
