"""OpenVINO on CPU, which reads TFLite and ONNX files as they are."""

from __future__ import annotations

import importlib.metadata

from converters.artifact import Artifact
from converters.errors import RuntimeUnavailableError
from exporter.runtimes.process import WorkerSession, python_worker


class OpenVino:
    """Its CPU plugin in float32, in a process of its own."""

    def version(self) -> str:
        try:
            return f"openvino {importlib.metadata.version('openvino')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise RuntimeUnavailableError("openvino is not installed; cbam runtimes install openvino") from error

    def open(self, artifact: Artifact) -> WorkerSession:
        from exporter.runtimes.litert import names_in_file_order

        description = self.version()
        if artifact.format == "tflite":
            inputs, outputs = names_in_file_order(artifact)
        else:
            inputs = [spec.name for spec in artifact.inputs]
            outputs = [spec.name for spec in artifact.outputs]
        worker = python_worker("openvino", "run_openvino.py")
        return WorkerSession(worker, artifact.path, description, {"inputs": inputs, "outputs": outputs})
