"""A runtime that dies, hangs or talks nonsense: that is its own result, said as such, and nothing of it is left."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converters.errors import ConversionError, RuntimeUnavailableError, WorkerError
from exporter.runtimes.process import SERVE, Worker, WorkerSession

HEADER = """
import ctypes, os, signal, sys, time
import numpy as np

def load(path, options):
"""
ECHO = "    return (lambda inputs: inputs), {'answer': 42}"

INPUT = {"my in/put\n1": np.arange(6, dtype=np.int8).reshape(2, 3)}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go during the test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def worker(tmp_path: Path, temporary: Path) -> Callable[..., Worker]:
    def make(body: str, **limits: float) -> Worker:
        script = tmp_path / "loader.py"
        script.write_text(HEADER + body + "\n")
        made = Worker("some runtime", (sys.executable, "-P", str(SERVE), str(script)))
        return dataclasses.replace(made, **limits)

    return make


def opened(worker: Worker) -> WorkerSession:
    return WorkerSession(worker, Path("model.bin"), "some runtime 1.0", {})


def test_arrays_of_every_kind_come_back_as_they_went(worker: Callable[..., Worker], temporary: Path) -> None:
    arrays = {
        **INPUT,
        "scalar": np.float32(3.5),
        "turned": np.arange(24, dtype=np.int16).reshape(2, 3, 4).T,
        "empty": np.zeros((0, 4), np.uint8),
        "wide": np.array([2**40], np.int64),
    }
    with opened(worker(ECHO)) as session:
        assert session.facts == {"answer": 42}
        for _ in range(2):
            given = session.run(arrays)
            assert list(given) == list(arrays)
            for name, value in arrays.items():
                np.testing.assert_array_equal(given[name], value)
                assert given[name].dtype == value.dtype
    assert list(temporary.iterdir()) == []


DEATHS = {
    "os.kill(os.getpid(), signal.SIGKILL)": "died of SIGKILL",
    "ctypes.string_at(0)": "died of SIGSEGV",
    "os.abort()": "died of SIGABRT",
    "sys.stderr.write('out of luck'); os._exit(7)": r"ended with exit status 7 \(out of luck\)",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_while_opening_is_told(worker: Callable[..., Worker], temporary: Path, death: str) -> None:
    with pytest.raises(WorkerError, match=rf"^model.bin: some runtime {DEATHS[death]}.* while opening it$"):
        opened(worker(f"    {death}"))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_while_running_is_told(worker: Callable[..., Worker], temporary: Path, death: str) -> None:
    body = f"    def run(inputs):\n        {death}\n    return run, {{}}"
    with opened(worker(body)) as session, pytest.raises(WorkerError, match=f"{DEATHS[death]}.* while running it$"):
        session.run(INPUT)
    assert session._process.returncode is not None
    assert list(temporary.iterdir()) == []


def test_a_death_between_two_runs_is_told(worker: Callable[..., Worker], temporary: Path) -> None:
    with opened(worker(ECHO)) as session:
        session.run(INPUT)
        session._process.kill()
        session._process.wait()
        with pytest.raises(WorkerError, match="died of SIGKILL while running it"):
            session.run(INPUT)
    assert list(temporary.iterdir()) == []


def test_a_worker_that_hangs_is_ended(worker: Callable[..., Worker], temporary: Path) -> None:
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"some runtime hangs: no answer in 1 s while opening it; it was ended"):
        opened(worker("    time.sleep(600)", load_seconds=1.0))
    body = "    def run(inputs):\n        time.sleep(600)\n    return run, {}"
    with opened(worker(body, run_seconds=0.5)) as session, pytest.raises(WorkerError, match=r"no answer in 0\.5 s"):
        session.run(INPUT)
    assert session._process.returncode == -signal.SIGKILL
    assert time.monotonic() - start < 60
    assert list(temporary.iterdir()) == []


def test_a_refusal_is_no_death_and_the_next_run_works(worker: Callable[..., Worker]) -> None:
    with pytest.raises(ConversionError, match="some runtime refuses it: ValueError: not for me") as refused:
        opened(worker("    raise ValueError('not\\n for me')"))
    assert not isinstance(refused.value, WorkerError)
    body = "    def run(inputs):\n        if 'bad' in inputs: raise RuntimeError('bad')\n        return inputs\n"
    body += "    return run, {}"
    with opened(worker(body)) as session:
        with pytest.raises(ConversionError, match="some runtime fails on it: RuntimeError: bad"):
            session.run({"bad": np.zeros(1)})
        assert list(session.run(INPUT)) == list(INPUT)


def test_what_a_library_prints_is_not_taken_for_an_answer(worker: Callable[..., Worker]) -> None:
    body = "    print('{}'); os.write(1, b'{\"facts\": 1}\\n')\n" + ECHO
    with opened(worker(body)) as session:
        assert session.facts == {"answer": 42}


def test_a_worker_of_another_kind_is_told_apart(temporary: Path) -> None:
    strange = Worker("some runtime", (sys.executable, "-c", "print('hello'); import time; time.sleep(60)"))
    with pytest.raises(WorkerError, match="answered what is no answer while opening it: 'hello"):
        opened(strange)
    with pytest.raises(RuntimeUnavailableError, match=r"/nowhere/runtime cannot be started \(No such file"):
        opened(Worker("some runtime", ("/nowhere/runtime",)))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_ended_takes_its_worker_with_it(tmp_path: Path, number: int) -> None:
    loader, told = tmp_path / "loader.py", tmp_path / "pid"
    loader.write_text(
        HEADER + f"    open({str(told)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"    os.rename({str(told)!r} + '.new', {str(told)!r})\n    time.sleep(600)\n"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    script = (
        "import sys; from pathlib import Path; from exporter.terminal import session\n"
        "from exporter.runtimes.process import SERVE, Worker, WorkerSession\n"
        "with session(False, False, False):\n"
        f"    worker = Worker('some runtime', (sys.executable, '-P', str(SERVE), {str(loader)!r}))\n"
        "    WorkerSession(worker, Path('model.bin'), '', {})\n"
    )
    environment = {**os.environ, "TMPDIR": str(temporary)}
    # What a shell starts in the background ignores SIGINT, and so would this.
    awake = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL, preexec_fn=awake
    )
    deadline = time.monotonic() + 60
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(told.read_text())
    parent.send_signal(number)
    assert parent.wait(timeout=30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert list(temporary.iterdir()) == []


def test_a_worker_ends_with_a_parent_that_was_killed(worker: Callable[..., Worker]) -> None:
    session = opened(worker(ECHO))
    assert session._process.stdin is not None
    session._process.stdin.close()  # as the system does for a process that was killed
    assert session._process.wait(timeout=20) == 0
    session.close()
