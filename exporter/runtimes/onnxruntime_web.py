"""ONNX Runtime Web: its WebAssembly build under Node.js, as a browser runs an ONNX file on the CPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from converters.artifact import Artifact
from converters.errors import RuntimeUnavailableError
from exporter.runtimes.folders import installed_folder
from exporter.runtimes.process import WORKERS, Worker, WorkerSession

NAME: Final = "onnxruntime-web"
VERSION_FILE: Final = "version.txt"
_ENTRY: Final = Path("node_modules", "onnxruntime-web", "dist", "ort.node.min.mjs")
_OLDEST_NODE: Final = 18  # the first with WebAssembly SIMD and threads as the library needs them, and still in use


class OnnxRuntimeWeb:
    """One thread, so that it needs no worker threads of Node's."""

    def version(self) -> str:
        folder = installed_folder(NAME)
        try:
            library = (folder / VERSION_FILE).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RuntimeUnavailableError(f"{NAME} is not installed; cbam runtimes install {NAME}") from error
        if not (folder / _ENTRY).is_file():
            raise RuntimeUnavailableError(f"{folder}: is incomplete; cbam runtimes install {NAME} puts it right")
        return f"{NAME} {library} (wasm), node {_node()[1]}"

    def open(self, artifact: Artifact) -> WorkerSession:
        description = self.version()
        command = (_node()[0], str(WORKERS / "run_onnxruntime_web.mjs"), str(installed_folder(NAME) / _ENTRY))
        return WorkerSession(Worker(NAME, command), artifact.path, description, {})


def _node() -> tuple[str, str]:
    """The path of Node.js, and its version."""
    program = shutil.which("node")
    if program is None:
        raise RuntimeUnavailableError(
            f"{NAME} needs Node.js {_OLDEST_NODE} or newer as `node` on the PATH; there is none"
        )
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeUnavailableError(f"{program}: cannot be run ({error})") from error
    version = ran.stdout.strip().removeprefix("v")
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < _OLDEST_NODE:
        said = version or ran.stderr.strip()[:80]
        raise RuntimeUnavailableError(f"{NAME} needs Node.js {_OLDEST_NODE} or newer; {program} is {said!r}")
    return program, version
