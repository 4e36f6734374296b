"""What an export was asked for, checked as a whole before anything slow happens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from converters.artifact import Precision
from converters.errors import OptionError, closest
from exporter.formats import FORMATS
from exporter.quantisation.options import QuantisationOptions
from exporter.runtimes.table import RUNTIMES

OLDEST_OPSET = 13  # per-channel QuantizeLinear; below it runtimes and tf2onnx keep separate code paths


@dataclasses.dataclass(frozen=True, slots=True)
class ExportOptions:
    """One export.

    Attributes:
        formats: names of rows of FORMATS, each converted from the same traced function.
        precision: fp32, or what the formats' rows allow.
        batch: a fixed batch size, `dynamic`, or None: the model's own fixed batch if it has one, else 1.
        input_shapes: sizes per sample (without batch) by input name; the name "" stands for a model's only input.
        opset: ONNX operator set; None is the default of `converters.settings`.
        inputs_as_nchw: ONNX: take NHWC image inputs as NCHW.
        select_tf_ops: TFLite: allow operations that need the TensorFlow runtime on the device.
        labels: class names, stored in the artifact; None keeps the model's own, if known.
        input_range: smallest and largest value the model expects; None: what is known of the model.
        output: the folder to write to, as a path or text; made if it is not there.
        lower: write the fastest known equal of the model for each format's runtime, not the model as it is built.
        winograd: TFLite fp32, with `lower`: compute 3x3 convolutions by Winograd's F(2, 3), which is faster on a CPU
            and takes a third more weights.
        verify: run the artifact beside the model and compare.
        runtimes: names of rows of RUNTIMES to open and verify the artifacts in; each must be able to run one of the
            formats. Empty: each format's own. A format that none of them runs is verified in its own.
        quantisation: how, for any precision but fp32.

    Raises:
        OptionError: on construction, for a value or combination that is not valid, naming what would be.
    """

    formats: tuple[str, ...] = ("onnx",)
    precision: Precision = Precision.FP32
    batch: int | Literal["dynamic"] | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    opset: int | None = None
    inputs_as_nchw: bool = False
    select_tf_ops: bool = False
    labels: tuple[str, ...] | None = None
    input_range: tuple[float, float] | None = None
    output: Path = Path("exported")
    lower: bool = True
    winograd: bool = True
    verify: bool = True
    runtimes: tuple[str, ...] = ()
    quantisation: QuantisationOptions = dataclasses.field(default_factory=QuantisationOptions)

    def __post_init__(self) -> None:
        formats = (self.formats,) if isinstance(self.formats, str) else self.formats
        object.__setattr__(self, "formats", tuple(dict.fromkeys(formats)))
        object.__setattr__(self, "output", Path(self.output))
        self._check_formats()
        batch_known = self.batch in (None, "dynamic") or (type(self.batch) is int and self.batch >= 1)
        if not batch_known:
            raise OptionError(f"--batch takes a number of at least 1, or dynamic; got {self.batch!r}")
        for name, shape in self.input_shapes.items():
            if any(size < 1 for size in shape):
                raise OptionError(f"--input-shape {name or ''}: every size must be at least 1; got {shape}")
        for given, option, owner in (
            (self.opset is not None, "--opset", "onnx"),
            (self.inputs_as_nchw, "--inputs-as-nchw", "onnx"),
            (self.select_tf_ops, "--select-tf-ops", "tflite"),
            (not self.winograd, "--no-winograd", "tflite"),
        ):
            if given and owner not in self.formats:
                raise OptionError(f"{option} is for --format {owner}; asked for: {', '.join(self.formats)}")
        self._check_runtimes()
        if self.input_range is not None and not -math.inf < self.input_range[0] < self.input_range[1] < math.inf:
            low, high = self.input_range
            raise OptionError(f"--input-range takes MIN,MAX with MIN below MAX, both finite; got {low:g},{high:g}")
        if self.opset is not None:
            self._check_opset(self.opset)

    def _check_formats(self) -> None:
        if not self.formats:
            raise OptionError(f"no format asked for; known: {', '.join(FORMATS)}")
        for name in self.formats:
            if name not in FORMATS:
                raise OptionError(f"unknown format {name!r}{closest(name, FORMATS)}")
        if not isinstance(self.precision, Precision):
            try:
                object.__setattr__(self, "precision", Precision(self.precision))
            except ValueError:
                raise OptionError(f"unknown precision {self.precision!r}{closest(self.precision, Precision)}") from None
        for name in self.formats:
            have = FORMATS[name].precisions
            if self.precision not in have:
                raise OptionError(f"{name} cannot be written in {self.precision}; it can in: {', '.join(have)}")
        if self.precision is not Precision.FP32:
            self.quantisation.check(self.formats, self.precision)
        elif asked := self.quantisation.asked():
            verb = "is" if len(asked) == 1 else "are"
            raise OptionError(f"{', '.join(asked)} {verb} for another --precision than fp32, which quantises nothing")

    def _check_runtimes(self) -> None:
        names = (self.runtimes,) if isinstance(self.runtimes, str) else self.runtimes
        object.__setattr__(self, "runtimes", tuple(dict.fromkeys(names)))
        for name in self.runtimes:
            if name not in RUNTIMES:
                raise OptionError(f"unknown runtime {name!r}{closest(name, RUNTIMES)}")
            if not any(RUNTIMES[name].can_run(each, self.precision) for each in self.formats):
                runs = [f"{each} in {', '.join(precisions)}" for each, precisions in RUNTIMES[name].runs.items()]
                asked = f"{' or '.join(self.formats)} in {self.precision}"
                raise OptionError(f"--runtime {name} runs {'; '.join(runs)}; asked for: {asked}")
            if self.batch == "dynamic" and not RUNTIMES[name].open_batch:
                raise OptionError(f"--runtime {name} takes a fixed batch only; asked for: --batch dynamic")

    def runtimes_of(self, format_name: str) -> tuple[str, ...]:
        """The runtimes that open and verify this format, at least one."""
        asked = tuple(name for name in self.runtimes if RUNTIMES[name].can_run(format_name, self.precision))
        return asked or (FORMATS[format_name].runtime,)

    def _check_opset(self, opset: int) -> None:
        from exporter.runtimes.onnx_runtime import newest_opset

        newest = newest_opset()
        if not OLDEST_OPSET <= opset <= newest:
            raise OptionError(
                f"--opset must be from {OLDEST_OPSET} to {newest} (the newest this ONNX Runtime takes); got {opset}"
            )
