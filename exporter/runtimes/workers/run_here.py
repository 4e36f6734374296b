"""Any runtime of `exporter.runtimes.table` that runs in the process that opens it, and so in this one."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))  # the very modules that the parent runs

from converters.artifact import Artifact, Precision, TensorSpec
from exporter.runtimes.table import runtime


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, Any]]:
    told = options["artifact"]
    inputs, outputs = (tuple(map(TensorSpec.from_json, told[key])) for key in ("inputs", "outputs"))
    artifact = Artifact(
        Path(path),
        told["format"],
        Precision(told["precision"]),
        inputs,
        outputs,
        told["sha256"],
        told["bytes"],
        told["metadata"],
    )
    session = runtime(options["runtime"]).open(artifact)
    return session.run, {**session.facts, "description": session.description}
