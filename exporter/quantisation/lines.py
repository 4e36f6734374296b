"""Ready-made lines for a user's own code: real numbers to what a quantised tensor stores, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from converters.artifact import Artifact, TensorSpec


def lines(artifact: Artifact) -> dict[str, Any]:
    """By tensor: `python` and `c`, from real `x` to stored `q` for an input, from `q` to `x` for an output."""
    return {
        **{spec.name: _quantise(spec) for spec in artifact.inputs if spec.scale is not None},
        **{spec.name: _dequantise(spec) for spec in artifact.outputs if spec.scale is not None},
    }


def _quantise(spec: TensorSpec) -> dict[str, str]:
    limits = np.iinfo(spec.dtype)
    low, high, zero = int(limits.min), int(limits.max), spec.zero_point or 0
    return {
        "python": f"q = np.clip(np.rint(x / {spec.scale!r}) + {zero}, {low}, {high}).astype(np.{spec.dtype})",
        "c": f"{spec.dtype}_t q = ({spec.dtype}_t)fminf(fmaxf(rintf(x / {_c(spec)}) + {zero}, {low}), {high});",
    }


def _dequantise(spec: TensorSpec) -> dict[str, str]:
    zero = spec.zero_point or 0
    return {
        "python": f"x = (q.astype(np.float32) - {zero}) * np.float32({spec.scale!r})",
        "c": f"float x = ((int32_t)q - ({zero})) * {_c(spec)};",
    }


def _c(spec: TensorSpec) -> str:
    text = repr(float(spec.scale or 0.0))
    return f"{text if any(c in text for c in '.e') else text + '.0'}f"
