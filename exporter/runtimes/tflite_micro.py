"""TFLite Micro: the interpreter of microcontrollers, on this machine. The kernels are its portable reference ones."""

from __future__ import annotations

import importlib.metadata

from converters.artifact import Artifact
from converters.errors import OptionError, RuntimeUnavailableError
from exporter.runtimes.litert import names_in_file_order
from exporter.runtimes.process import WorkerSession, python_worker


class TFLiteMicro:
    """`Session.facts` has `arena_bytes`: what the model needs of a device's memory beside the file itself.

    It is measured with 64-bit pointers and the recording allocator, so that a 32-bit device needs somewhat less.
    """

    def version(self) -> str:
        try:
            return f"tflite-micro {importlib.metadata.version('tflite-micro')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise RuntimeUnavailableError("tflite-micro is not installed; cbam runtimes install micro") from error

    def open(self, artifact: Artifact) -> WorkerSession:
        description = self.version()
        for spec in artifact.inputs:
            if None in spec.shape:
                raise OptionError(
                    f"{artifact.path.name}: input {spec} is open, and tflite-micro takes fixed sizes "
                    f"only; export it with --batch 1"
                )
        inputs, outputs = names_in_file_order(artifact)
        worker = python_worker("tflite-micro", "run_tflite_micro.py")
        session = WorkerSession(worker, artifact.path, description, {"inputs": inputs, "outputs": outputs})
        session.description = f"{description} (arena {session.facts['arena_bytes']:,} bytes)"
        return session
