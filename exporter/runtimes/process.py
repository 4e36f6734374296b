"""A runtime in a process of its own: what can crash or hang, and what must not be helped by what we have imported.

The protocol stands in `workers/serve.py`. A worker ends with its session, and at the latest when this process does: its
standard input is then at an end.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.errors import ConversionError, RuntimeUnavailableError, WorkerError
from exporter.runtimes.base import Arrays, ClosingSession

WORKERS: Final = Path(__file__).with_name("workers")
SERVE: Final = WORKERS / "serve.py"
_LAST_WORDS: Final = 300  # characters of a library's text in a message


_limit: contextvars.ContextVar[float | None] = contextvars.ContextVar("limit of a worker's answers", default=None)


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Inside, every worker may take so many seconds for an answer, whatever its own limits are; None: those."""
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """How a worker is started.

    Attributes:
        runtime: its name in messages.
        command: the program and its arguments; the model's path and the options follow.
        environment: what is set beside the environment of this process.
        load_seconds, run_seconds: how long opening the model and one inference may take before they count as hanging.
    """

    runtime: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    load_seconds: float = 180.0
    run_seconds: float = 180.0


def python_worker(runtime: str, loader: str, environment: Mapping[str, str] | None = None) -> Worker:
    """A worker in this very Python: `loader` is a file of `workers/`."""
    # -P: a folder that the user stands in must not be searched for modules.
    command = (sys.executable, "-P", str(SERVE), str(WORKERS / loader))
    return Worker(runtime, command, environment or {})


class WorkerSession(ClosingSession):
    """One model opened in one worker.

    Raises:
        ConversionError: on construction, the runtime refuses the model.
        WorkerError: on construction, the worker died or hangs.
        RuntimeUnavailableError: on construction, its program cannot be started.
    """

    def __init__(self, worker: Worker, model: Path, description: str, options: Mapping[str, Any]) -> None:
        self.description = description
        self._worker, self._name = worker, model.name
        self._busy = True
        self._folder = tempfile.TemporaryDirectory(prefix="cbam-worker-")
        self._log = Path(self._folder.name, "stderr.txt")
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [*worker.command, str(model), json.dumps(options)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, **worker.environment},
                )
        except OSError as error:
            self._folder.cleanup()
            raise RuntimeUnavailableError(
                f"{worker.runtime}: {worker.command[0]} cannot be started ({error.strerror})"
            ) from error
        # A thread, because a pipe cannot be read with a time limit in any other way that all systems know.
        self._reader = threading.Thread(target=self._read, name=f"reads {worker.runtime}", daemon=True)
        self._reader.start()
        try:
            self.facts: Mapping[str, int] = self._answer("facts", worker.load_seconds, "opening")
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        folder = Path(self._folder.name)
        files = {}
        for index, (name, value) in enumerate(inputs.items()):  # numbered: a tensor's name need not be a file name
            files[name] = str(folder / f"in{index}.npy")
            # In C order, whatever view it is: that is all that the worker in JavaScript reads.
            np.save(files[name], np.asarray(value, order="C"), allow_pickle=False)
        given = self.ask({"inputs": files, "folder": str(folder)}, "outputs", "running")
        return {name: np.load(file, allow_pickle=False) for name, file in given.items()}

    def ask(self, request: Mapping[str, Any], key: str, doing: str) -> Any:
        """Send one request and give what the worker answers under `key`; `doing` it is what a message says.

        Raises:
            ConversionError: the runtime fails on it.
            WorkerError: the worker died, hangs, or answers something else.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the worker is gone: _answer says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer(key, self._worker.run_seconds, doing)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed under us: the session is over
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, key: str, seconds: float, doing: str) -> Any:
        self._busy = True
        seconds = _limit.get() or seconds
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self._end(grace=0)
            raise WorkerError(
                f"{self._name}: {self._worker.runtime} hangs: no answer in {seconds:g} s while {doing} it; it was ended"
            ) from None
        if not line:
            self._end(grace=5)
            raise WorkerError(f"{self._name}: {self._worker.runtime} {self._death()} while {doing} it")
        try:
            answer = json.loads(line)
            self._busy = False
            if "error" not in answer:
                return answer[key]
        except (ValueError, KeyError, TypeError) as error:
            self._end(grace=0)
            raise WorkerError(
                f"{self._name}: {self._worker.runtime} answered what is no answer while {doing} it: {line[:80]!r}"
            ) from error
        fault = str(answer["error"])[:_LAST_WORDS]
        verb = "refuses it" if doing == "opening" else "fails on it"
        raise ConversionError(f"{self._name}: {self._worker.runtime} {verb}: {fault}")

    def _death(self) -> str:
        code = self._process.returncode
        if code < 0:
            try:
                how = f"died of {signal.Signals(-code).name}"
            except ValueError:
                how = f"died of signal {-code}"
        else:
            how = f"ended with exit status {code}"
        lines = [text.strip() for text in self._log.read_text(errors="replace").splitlines() if text.strip()]
        return how + (f" ({lines[-1][:_LAST_WORDS]})" if lines else "")

    def _end(self, grace: float) -> None:
        """Wait `grace` seconds for it to end by itself, so that its own exit status is known, then end it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace)
            return
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._busy:
            self._process.kill()  # in the middle of something that nobody waits for any more
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # what was still unsent is of no use to a worker that is gone
            self._process.stdin.close()
        self._end(grace=10)
        self._reader.join(timeout=10)
        if not self._reader.is_alive():  # else a process that the worker started still holds the pipe
            self._process.stdout.close()
        self._folder.cleanup()
