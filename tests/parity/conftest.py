"""A reference made by hand, of a classifier that is a matrix product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.artifact import TensorSpec
from exporter.parity.cases import edge_cases, join
from exporter.parity.record import BlockGates, Record
from exporter.parity.verdict import Workload

MakeRecord = Callable[..., Record]


@pytest.fixture
def make_record() -> MakeRecord:
    def make(**changes: Any) -> Record:
        random = np.random.default_rng(5)
        real = {"image": random.random((40, 4, 4, 3), np.float32)}
        inputs, cases = join([("inputs", "40 samples", real), *edge_cases(real, (0.0, 1.0))])
        matrix = random.normal(size=(48, 6))
        truth = inputs["image"].reshape(-1, 48).astype(np.float64) @ matrix
        outputs = truth.astype(np.float32)
        rounding = np.abs(outputs - truth).max(1)
        count = len(truth)
        noise = {
            "reference": {"scores": rounding},
            "float32": {"scores": rounding + 1e-6},
            "tf32": {"scores": np.full(count, 1e-3)},
            "fp16_weights": {"scores": np.full(count, 1e-3)},
            "fp16": {"scores": np.full(count, 2e-3)},
        }
        given: dict[str, Any] = {
            "name": "by hand",
            "input_specs": (TensorSpec("image", (None, 4, 4, 3), "float32", "NHWC"),),
            "output_specs": (TensorSpec("scores", (None, 6), "float32"),),
            "cases": cases,
            "inputs": inputs,
            "outputs": {"scores": outputs},
            "truth": {"scores": truth},
            "noise": noise,
            "gates": (BlockGates("block", "cbam", random.random((8, 3)), np.ones((8, 4, 4))),),
            "workload": Workload(1, 48),
            "fingerprint": "f" * 64,
            "batch": None,
            "environment": {"summary": "a test", "device": "cpu", "system": "", "repeatable": True},
            "remarks": ("a remark",),
        }
        return Record(**{**given, **changes})

    return make
