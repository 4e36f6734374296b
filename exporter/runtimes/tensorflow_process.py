"""TensorFlow in a process of its own, so that nothing of the exporting process can help a SavedModel to load."""

from __future__ import annotations

import importlib.metadata

from converters.artifact import Artifact
from converters.errors import RuntimeUnavailableError
from exporter.runtimes.process import WorkerSession, python_worker


class TensorFlowProcess:
    """Loads the SavedModel's `serving_default` signature with nothing but TensorFlow imported."""

    def version(self) -> str:
        try:
            return f"tensorflow {importlib.metadata.version('tensorflow')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise RuntimeUnavailableError("tensorflow is not installed; pip install tensorflow") from error

    def open(self, artifact: Artifact) -> WorkerSession:
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        worker = python_worker("a fresh TensorFlow process", "run_tensorflow.py", environment)
        return WorkerSession(worker, artifact.path, f"{self.version()}, fresh process", {})
