"""A result of `cbam verify --report`, as its JSON has it, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from exporter.pictures import coloured

__all__ = ["result", "row"]


def row(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "artifact": "out/a.tflite",
        "runtime": "litert 2.3",
        "runtime_name": "litert",
        "machine": None,
        "format": "tflite",
        "precision": "fp32",
        "sha256": "ab" * 32,
        "output": "scores",
        "case": "inputs",
        "samples": 16,
        "max_abs": 1e-6,
        "mean_abs": 1e-7,
        "relative": 2e-6,
        "cosine": 1.0,
        "sqnr_db": 120.0,
        "agreement": 1.0,
        "spread": 0.5,
        "vs_reference": 1e-6,
        "noise": {"reference": 1e-6},
        "tolerance": 2e-5,
        "tolerance_source": "10 x the model's float32 error",
        "overrides": None,
        "verdict": "PASSED",
        "reason": "",
        "flip_count": 0,
        "near_ties": 0,
        "flips": [],
    }
    return {**given, **changes}


def layer(name: str, finding: str = "agrees", **changes: Any) -> dict[str, Any]:
    given = {"layer": name, "layers": [name], "block": "", "tensor": f"t/{name}", "error": 1e-6, "allowed": 1e-5}
    return {**given, "total": 2e-6, "finding": finding, "matched": "value", "clipped": 0.0, **changes}


def result(name: str = "conv2") -> dict[str, Any]:
    """All that a result may hold, under a layer, block and output of that name."""
    map_ = coloured(np.linspace(0, 1, 12).reshape(3, 4), 0, 1, ((0, 0, 0), (255, 255, 255)))
    flip = {"sample": 3, "expected": 1, "given": 2, "margin": 0.01, "near_tie": True}
    rows = [
        row(output=name),
        row(output=name, case="noise", verdict="FAILED", relative=0.01, reason=f"{name} differs", machine="aarch64"),
        row(
            artifact="b.onnx",
            output=name,
            flip_count=40,
            near_ties=1,
            flips=[flip],
            tolerance=None,
            relative=None,
            verdict="FAILED",
        ),
        row(artifact="b.onnx", output=name, case="zeros", verdict="NOT INFORMATIVE", overrides=f"--atol {name}=1"),
    ]
    found = {"artifact": "out/a.tflite", "layer": name, "layers": [name, "bn"], "block": name, "tensor": "t/conv2"}
    profile = {
        "artifact": "out/a.tflite",
        "runtime": "litert",
        "note": "",
        "gates": [],
        "unmatched": [name],
        "rows": [layer("first"), layer(name, "LEAVES", error=None, block=name), layer("last", "hands on", error=0.0)],
        "divergence": {**found, "tensor": f"t/{name}"},
    }
    gate = {"block": name, "gate": "spatial"}
    both = {"saturated": 0.1, "dead": 0.0, "model_saturated": 0.1, "model_dead": 0.0}
    maps = {"block": name, "sample": 3, "height": 3, "width": 4, "least": 0.0, "largest": 1.0, "model": map_}
    return {
        "schema": "cbam-export/1",
        "passed": False,
        "verification": rows,
        "divergence": [{**found, "error": None, "reason": "why"}],
        "not_located": [{"artifact": "b.onnx", "reason": "the model is not at hand"}],
        "artifact_gates": [
            {"artifact": "out/a.tflite", "runtime": "litert", **gate, "tensor": "t", "error": 1e-7, **both},
            {"artifact": "out/a.tflite", "runtime": "litert", **gate, "tensor": None, "error": None, **both},
        ],
        "profiles": [profile],
        "pictures": {
            "inputs": [{"input": "image", "sample": 3, "case": "inputs", "png": map_}],
            "attention": [
                {"artifact": "out/a.tflite", **maps, "given": map_, "difference": map_, "error": 1e-7},
                {"artifact": "b.onnx", **maps, "given": None, "difference": None, "error": None},
            ],
        },
        "causes": [
            {"artifact": "out/a.tflite", "cause": "export", "relative": 1e-5, "how": name, "measured": True},
            {"artifact": "out/a.tflite", "cause": "TF32", "relative": None, "how": "rounded", "measured": False},
        ],
        "gates": [{**gate, "least": 0.1, "largest": 0.9, "closed": 0.0, "open": 0.0, "dead": 0.5}],
        "remarks": [{"artifact": "out/a.tflite", "remark": name}],
        "left_out": [{"runtime": "openvino", "reason": "not installed"}],
        "machine": {"system": "Linux", "processor": "x86_64", "python": "3.11"},
        "reference": {
            "name": name,
            "source": "Keras",
            "against": "the float64 truth",
            "sha256": "cd" * 32,
            "weights_sha256": "ef" * 32,
            "samples": 40,
            "remarks": [name],
            "environment": {"device": "cpu"},
            "cases": [{"name": "inputs", "start": 0, "count": 16, "described": name, "real": True}],
        },
    }
