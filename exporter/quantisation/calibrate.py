"""What the tensors of a float file take on calibration data, by running it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from converters.artifact import Artifact, Precision
from converters.quantise import flatbuffer
from converters.quantise.correct import correct_biases
from converters.quantise.correct_onnx import correct_biases as correct_onnx_biases
from converters.quantise.floors import SMALLEST_SCALE, floored
from converters.quantise.joined import joined
from converters.quantise.ranges import LEVELS, Observer, Range
from exporter.quantisation.measure import in_layout
from exporter.quantisation.samples import SampleSet
from exporter.quantisation.sources import batches
from exporter.runtimes.litert import OPTIMISED, LiteRT
from exporter.runtimes.onnx_runtime import OnnxRuntime

Progress = Callable[[int, int], None]


class CalibratedOnnx:
    """A float ONNX artifact and what its tensors took on the calibration data.

    Raises:
        ModelError: on construction, the model itself gives NaN or infinity on them.
    """

    def __init__(self, artifact: Artifact, samples: SampleSet, progress: Progress) -> None:
        self._observer = Observer(channels=1)
        size = artifact.inputs[0].shape[0] or 1
        calls = 2 * -(-len(samples) // size)
        with OnnxRuntime().open(artifact) as session:
            for which, see in enumerate((self._observer.limits, self._observer.count)):
                for place, call in enumerate(batches(samples, size)):
                    given = {spec.name: in_layout(call[spec.name], spec) for spec in artifact.inputs}
                    values = {
                        name: v for name, v in (session.run_traced(given) | given).items() if v.dtype == "float32"
                    }
                    see(values, samples.names[min(place * size, len(samples) - 1)])
                    progress(which * calls // 2 + place + 1, calls)

    def correct(self, source: Path, target: Path) -> None:
        """Write the float file with biases that make up for the rounding of its weights."""
        correct_onnx_biases(source, target, self._observer.means())

    @property
    def seen(self) -> dict[str, Range]:
        """The smallest and largest value of every tensor."""
        return self._observer.taken()

    def ranges(self, method: str) -> tuple[dict[str, Range], tuple[str, ...]]:
        """The range of every tensor, and the names of those that had collapsed and were widened, as of `Calibrated`."""
        found = self._observer.ranges("mse" if method == "mse" else "minmax")
        least = 2 * SMALLEST_SCALE * LEVELS[Precision.INT8]
        narrow = tuple(name for name, (low, high) in found.items() if high - low < least)
        return found | {name: (found[name][0], found[name][0] + least) for name in narrow}, narrow


class Calibrated:
    """A float TFLite artifact and what its tensors took on the calibration data.

    Raises:
        ModelError: on construction, the model itself gives NaN or infinity on them.
    """

    def __init__(self, artifact: Artifact, samples: SampleSet, progress: Progress) -> None:
        self.artifact = artifact
        content = artifact.path.read_bytes()
        self._model = flatbuffer.read(content)
        self._graph = flatbuffer.described(self._model)
        wanted = {tensor.name for tensor in self._graph.computed() if tensor.dtype == "float32"}
        observer, inputs = Observer(), flatbuffer.signature_inputs(self._model)
        size = artifact.inputs[0].shape[0] or 1
        calls = 2 * -(-len(samples) // size)
        with LiteRT(OPTIMISED).open(artifact) as session:
            for which, see in enumerate((observer.limits, observer.count)):
                for place, call in enumerate(batches(samples, size)):
                    values = {name: v for name, v in session.run_traced(call).items() if name in wanted}
                    values |= {tensor: call[name] for name, tensor in inputs.items() if tensor in wanted}
                    see(values, samples.names[min(place * size, len(samples) - 1)])
                    progress(which * calls // 2 + place + 1, calls)
        self._observer = observer
        self.corrected = correct_biases(content, observer.means())
        """The float file with biases that make up for the rounding of the weights."""

    @property
    def seen(self) -> dict[str, Range]:
        """The smallest and largest value of every tensor."""
        return self._observer.taken()

    def ranges(self, method: str, precision: Precision) -> tuple[dict[str, Range], tuple[str, ...]]:
        """The range of every tensor, and the names of those that had collapsed and were widened.

        Args:
            method: minmax or mse.
        """
        found = self._observer.ranges(
            "mse" if method == "mse" else "minmax",
            levels=LEVELS[precision],
            symmetric=precision is Precision.INT16X8,
        )
        found = joined(self._graph, found)
        return floored(self._graph, found, flatbuffer.constant_values(self._model), LEVELS[precision])

    def suspects(self, ranges: dict[str, Range]) -> str:
        """Which tensors a converter that died may have died of, in words."""
        bad = [name for name, (low, high) in ranges.items() if not np.isfinite(low + high)]
        if bad:
            return f"the range of {bad[0]!r} is not finite" + (f", as of {len(bad) - 1} more" if bad[1:] else "")
        name = max(ranges, key=lambda name: ranges[name][1] - ranges[name][0])
        low, high = ranges[name]
        return f"every range is finite; the widest is {low:g}..{high:g} of {name!r}"
