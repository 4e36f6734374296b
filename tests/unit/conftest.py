"""A browser that is driven by keys, for the pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")


class Tab:
    """A page of Chromium, spoken to over the pair of pipes that `--remote-debugging-pipe` opens."""

    def __init__(self, written: int, read: int) -> None:
        self._written, self._read = os.fdopen(written, "wb", 0), os.fdopen(read, "rb", 0)
        self._number, self._rest, self._session = 0, b"", ""

    def close(self) -> None:
        self._written.close()
        self._read.close()

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.show(address)

    def show(self, address: str) -> None:
        self.call("Page.navigate", url=address)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._written.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            part = self._read.read(65536)
            assert part, "the browser ended"
            self._rest += part
        first, self._rest = self._rest.split(b"\0", 1)
        return json.loads(first)


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """An empty page of the Chromium that is installed, without which the test is left out."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed, so no key can be pressed in one")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", *QUIET, "--remote-debugging-pipe"]
    # Chromium reads from descriptor 3 and writes to 4.
    moved = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "browser", *command]
    process = subprocess.Popen(
        [*moved, f"--user-data-dir={tmp_path / 'profile'}"],
        pass_fds=(theirs_in, theirs_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    driven = Tab(ours_out, ours_in)
    try:
        yield driven
    finally:
        process.kill()
        process.wait()
        driven.close()
