"""Runs conversions in a process of its own, because a converter that meets a range it cannot bear ends its process.

Parent's side: `Child`. In the child one JSON object a line is read, {"job": name, "arguments": {...}}, and one written,
{"result": ...} or {"error": {"kind": ..., "message": ...}}; JOBS says what a job's name stands for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any, Final, Self

from converters.errors import CbamError, ConversionError, ModelError, WorkerError

JOBS: Final[Mapping[str, str]] = {
    "tflite": "converters.quantise.tflite:quantise",
    "onnx": "converters.quantise.onnx:quantise",
}
"""Everything that a child can be told to do."""

SECONDS: Final = 900.0
"""How long one conversion may take before it counts as hanging."""


class Child:
    """A process that converts, started at once and used for any number of conversions; a context manager.

    It loads what the job `first` needs (TensorFlow) at once, so that it is best made before what takes time here.
    """

    def __init__(self, first: str, seconds: float = SECONDS) -> None:
        self._first, self._seconds = first, seconds
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None
        self._start()

    def run(self, job: str, **arguments: Any) -> Any:
        """Have one job done: JSON-able arguments to a JSON-able result.

        Raises:
            WorkerError: the process died, or gave no answer in time; the next job gets a new one.
            ModelError, ConversionError: what the job raised.
        """
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone: there is no answer, and that is told below
            self._process.stdin.write(json.dumps({"job": job, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        try:
            line = self._lines.get(timeout=self._seconds)
        except queue.Empty:
            self._end()
            raise WorkerError(f"the {job} converter gave no answer in {self._seconds:g} s; it was ended") from None
        if not line:
            raise WorkerError(f"the {job} converter {self._death()}")
        answer = json.loads(line)
        if "error" in answer:
            kind = ModelError if answer["error"]["kind"] == "ModelError" else ConversionError
            raise kind(answer["error"]["message"])
        return answer["result"]

    def _start(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        # -P: a folder that the user stands in must not be searched for modules; ours are where the parent's are.
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "converters.quantise.child", self._first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )
        # A thread, because a pipe cannot be read with a time limit in any other way that all systems know.
        self._reader = threading.Thread(target=self._read, args=(self._process, self._lines), daemon=True)
        self._reader.start()

    @staticmethod
    def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed under us: it was ended
            for line in process.stdout:
                lines.put(line)
        lines.put("")

    def _death(self) -> str:
        assert self._process is not None
        assert self._log is not None
        code = self._process.wait()
        self._log.seek(0)
        said = [text.strip() for text in self._log.read().decode(errors="replace").splitlines() if text.strip()]
        self._end()
        if code < 0:
            names = {each.value: each.name for each in signal.Signals}
            return f"died of {names.get(-code, f'signal {-code}')}"
        return f"ended with exit status {code}" + (f" ({said[-1][:200]})" if said else "")

    def _end(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        self._reader.join(timeout=10)  # before its pipe is closed under it
        process.stdout.close()
        if self._log is not None:
            self._log.close()

    def close(self) -> None:
        """End the process; a second call does nothing."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(first: str) -> None:
    """The child's side, until its standard input ends. What the job `first` needs is loaded before it is asked for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    importlib.import_module(JOBS[first].partition(":")[0])
    for line in sys.stdin:
        request = json.loads(line)
        module, _, name = JOBS[request["job"]].partition(":")
        try:
            answer = {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
        except CbamError as error:
            answer = {"error": {"kind": type(error).__name__, "message": str(error)}}
        except Exception as error:  # converters raise many kinds
            text = " ".join(str(error).split())[:300]
            answer = {"error": {"kind": "ConversionError", "message": f"{type(error).__name__}: {text}"}}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
