"""LiteRT and ONNX Runtime with their NEON kernels, on an emulated ARM64 processor."""

from __future__ import annotations

from typing import Final

from converters.artifact import Artifact
from exporter.runtimes.arm64.userland import userland
from exporter.runtimes.process import SERVE, WORKERS, Worker, WorkerSession

_PACKAGES: Final = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}
_LOADERS: Final = {"litert": "run_litert.py", "onnxruntime": "run_onnxruntime.py"}

# MobileNetV2 at 224x224 takes 5 s an inference; what takes a hundred times that does not answer any more.
_SECONDS: Final = 600.0


class Arm64:
    """One library on one kind of processor.

    Args:
        library: litert or onnxruntime.
        cpu: as qemu's -cpu takes it.
    """

    def __init__(self, library: str, cpu: str) -> None:
        self._library, self._cpu = library, cpu

    def version(self) -> str:
        found = userland()
        package = _PACKAGES[self._library]
        core = self._cpu.partition(",")[0].replace("max", "v9 core")
        return f"{package} {found.versions[package]} on an emulated {core} (qemu {found.versions['qemu-user']})"

    def open(self, artifact: Artifact) -> WorkerSession:
        description = self.version()
        name = description.partition(" (qemu")[0]
        command = (*userland().command(self._cpu), str(SERVE), str(WORKERS / _LOADERS[self._library]))
        worker = Worker(name, command, load_seconds=_SECONDS, run_seconds=_SECONDS)
        options = {"kernels": "BUILTIN"} if self._library == "litert" else {}
        return WorkerSession(worker, artifact.path, description, options)
