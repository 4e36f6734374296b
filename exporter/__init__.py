"""cbam-export: build CBAM models, export them, and prove that they still compute the same.

Names are resolved when they are first used, so that `import exporter` imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

_NAMES: Final = {
    "BLOG": "exporter.models.dialect",
    "BenchOptions": "exporter.bench.options",
    "BundleOptions": "exporter.bundling",
    "CBAM": "exporter.models.cbam",
    "PAPER": "exporter.models.dialect",
    "TIMM": "exporter.models.dialect",
    "ChannelAttention": "exporter.models.cbam",
    "Dialect": "exporter.models.dialect",
    "ExportOptions": "exporter.options",
    "QuantisationOptions": "exporter.quantisation.options",
    "ReferenceOptions": "exporter.recording",
    "SpatialAttention": "exporter.models.cbam",
    "RescueOptions": "converters.lambdas.era",
    "VerifyOptions": "exporter.verification",
    "add_cbam": "exporter.models.insert",
    "benchmark": "exporter.benchmarking",
    "bundle": "exporter.bundling",
    "build_model": "exporter.models.backbones",
    "cbam_module": "exporter.models.cbam",
    "channel_attention": "exporter.models.cbam",
    "export": "exporter.pipeline",
    "load_model": "exporter.source",
    "quantize": "exporter.quantisation.flow",
    "reference": "exporter.recording",
    "rescue": "exporter.rescuing",
    "spatial_attention": "exporter.models.cbam",
    "verify": "exporter.verification",
}

__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'exporter' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return __all__
