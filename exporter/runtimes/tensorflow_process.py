"""TensorFlow in a process of its own, so that nothing of the exporting process can help a SavedModel to load."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import Artifact
from converters.errors import ConversionError, RuntimeUnavailableError
from exporter.runtimes.base import Arrays, ClosingSession

_WORKER: Final = Path(__file__).with_name("tensorflow_worker.py")


class TensorFlowProcess:
    """Loads the SavedModel's `serving_default` signature with nothing but TensorFlow imported."""

    def version(self) -> str:
        try:
            return f"tensorflow {importlib.metadata.version('tensorflow')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise RuntimeUnavailableError("tensorflow is not installed; pip install tensorflow") from error

    def open(self, artifact: Artifact) -> TensorFlowSession:
        return TensorFlowSession(artifact, self.version())


class TensorFlowSession(ClosingSession):
    """Speaks with the worker in lines: a request names an .npz of inputs, the answer an .npz of outputs."""

    def __init__(self, artifact: Artifact, description: str) -> None:
        self.description = f"{description}, fresh process"
        self._name = artifact.path.name
        self._folder = tempfile.TemporaryDirectory(prefix="cbam-tensorflow-")
        self._log = Path(self._folder.name, "stderr.txt")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), str(artifact.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            )
        try:
            self._answer("loaded")
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        request, answer = Path(self._folder.name, "in.npz"), Path(self._folder.name, "out.npz")
        # Numbered, since a tensor's name need not be a file name; the names travel beside them.
        arrays: dict[str, Any] = {f"t{index}": value for index, value in enumerate(inputs.values())}
        np.savez(request, names=np.array(list(inputs)), **arrays)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the worker is gone: _answer says why
            self._process.stdin.write(f"{request}\t{answer}\n")
            self._process.stdin.flush()
        self._answer("done")
        with np.load(answer, allow_pickle=False) as data:
            return {str(name): data[f"t{i}"] for i, name in enumerate(data["names"])}

    def _answer(self, expected: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if line != expected:
            self._process.kill()
            self._process.wait()
            lines = [text for text in self._log.read_text(errors="replace").splitlines() if text.strip()]
            reason = lines[-1][:300] if lines else f"exit status {self._process.returncode}"
            raise ConversionError(f"{self._name}: a fresh TensorFlow process cannot use this SavedModel: {reason}")

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what was still unsent is of no use to a worker that is gone
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()
