"""What a quantisation was asked for beside what an export is, checked before anything slow happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from converters.artifact import Precision
from converters.errors import OptionError, closest
from exporter.parity.gates import Gates
from exporter.quantisation.metric import Metric
from exporter.quantisation.preprocess import Preprocessing

FEWEST: Final = 10
"""Below this many calibration samples nothing is converted, unless forced: 5 real images gave 20.6 dB where 100 gave
26.3 (docs/quantisation.md)."""

FEW: Final = 100
"""Below this many a warning is given: from here on more samples gave no more."""

IO: Final[Mapping[tuple[str, Precision], tuple[str, ...]]] = {
    ("tflite", Precision.FP16): ("float32",),
    ("tflite", Precision.DYNAMIC): ("float32",),
    ("tflite", Precision.INT8): ("int8", "uint8", "float32"),
    ("tflite", Precision.INT16X8): ("int16", "float32"),
    ("onnx", Precision.FP16): ("float32", "float16"),
    ("onnx", Precision.DYNAMIC): ("float32",),
    ("onnx", Precision.INT8): ("float32",),
}
"""By format and precision, the dtypes that inputs and outputs can have; the first is the default."""

METHODS: Final[Mapping[str, tuple[str, ...]]] = {
    "tflite": ("minmax", "mse"),
    "onnx": ("minmax", "mse", "entropy", "percentile"),
}
"""By format, how ranges can be found; each is tried unless one is asked for, and the best kept."""

KEEP: Final = ("float", "int16", "either")
"""What operations that must not be in int8 can compute in."""

_ASKED: Final[Mapping[str, str]] = {
    "methods": "--ranges",
    "gates": "--min-agreement or --min-sqnr",
    "preprocess": "--preprocess or another way to read images",
    "metric": "metric",
    "profile": "profile",
}
"""How what is asked for is called by attribute, where that is not the command's option of the same name."""

CALIBRATED: Final = (Precision.INT8, Precision.INT16X8)


@dataclasses.dataclass(frozen=True, slots=True)
class QuantisationOptions:
    """How to quantise, and what counts as good enough.

    Attributes:
        calibration: a folder of images, a .npy, .npz or TFRecord file; in Python also an array, arrays by input name, a
            `tf.data.Dataset` or any iterable of samples. None: a zoo model's own images.
        samples: at most this many of them are taken, drawn with `seed`; None: 200 to calibrate.
        seed: of the draw and of the division into what calibrates, chooses and verifies.
        min_samples: fewer are refused.
        force: calibrate in spite of what the checks of the data say; it is still said.
        preprocess: from pixels to the model's input; None: what the model tells.
        io: dtype of inputs and outputs; None: the first of `IO`.
        methods: how ranges are found; empty: each that the format has.
        activations: ONNX int8: uint8 or int8.
        gates: the least agreement and SQNR.
        max_drop: the largest share of samples whose top-1 may change (0.005 is 0.5%), or by how much the metric may
            fall, reached by keeping as few operations as possible in float or int16; None: nothing is kept.
        keep: what these compute in: float, int16, or either: what needs fewer of them, then what is faster.
        targets: what the model should say to each sample, for `metric`: an array or .npy file in the order of the
            samples, `folders` (an image's folder is its class), or `own` (a shipped model's test images).
        metric: by which max_drop is judged, from outputs and targets to a figure of which more is better; None:
            accuracy where there are targets, else the share of samples whose top-1 is the float model's.
        profile: measure besides what a report draws: SQNR along the operations, gates, ranges.

    Raises:
        OptionError: on construction, for a value that is not valid.
    """

    calibration: Any = None
    samples: int | None = None
    seed: int = 0
    min_samples: int = FEWEST
    force: bool = False
    preprocess: Preprocessing | None = None
    io: str | None = None
    methods: tuple[str, ...] = ()
    activations: str = "uint8"
    gates: Gates = dataclasses.field(default_factory=Gates)
    max_drop: float | None = None
    keep: str = "float"
    targets: Any = None
    metric: Metric | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise OptionError(f"--samples takes a number of at least 1; got {self.samples}")
        if self.min_samples < 1:
            raise OptionError(f"--min-samples takes a number of at least 1; got {self.min_samples}")
        if not 0 <= self.gates.agreement <= 1:
            raise OptionError(f"--min-agreement takes a share from 0 to 1; got {self.gates.agreement:g}")
        if self.activations not in ("uint8", "int8"):
            raise OptionError(f"--activations takes uint8 or int8; got {self.activations!r}")
        if self.max_drop is not None and not 0 <= self.max_drop < 1:
            raise OptionError(f"--max-drop takes a share from 0 to below 100%; got {self.max_drop:.2%}")
        if self.keep not in KEEP:
            raise OptionError(f"--keep takes {', '.join(KEEP[:-1])} or {KEEP[-1]}; got {self.keep!r}")
        if self.metric is not None and self.targets is None:
            raise OptionError("a metric compares outputs with targets; give these too")
        for given, name in ((self.targets is not None, "--targets"), (self.keep != KEEP[0], "--keep")):
            if given and self.max_drop is None:
                raise OptionError(f"{name} is for --max-drop, which was not asked for")
        every = dict.fromkeys(method for methods in METHODS.values() for method in methods)
        for method in self.methods:
            if method not in every:
                raise OptionError(f"unknown --ranges {method!r}{closest(method, every)}")

    def check(self, formats: tuple[str, ...], precision: Precision) -> None:
        """Whether these go with the formats and the precision, which fit each other.

        Raises:
            OptionError: naming what would be valid.
        """
        for name in formats:
            valid = IO[name, precision]
            if self.io is not None and self.io not in valid:
                raise OptionError(f"{name} {precision} has inputs and outputs of {' or '.join(valid)}; got {self.io}")
            if precision in CALIBRATED and self.methods and not set(self.methods) & set(METHODS[name]):
                raise OptionError(f"--ranges for {name} are {', '.join(METHODS[name])}; got {', '.join(self.methods)}")
        if precision is not Precision.INT8 and self.max_drop is not None:
            raise OptionError(f"--max-drop is for int8, whose files can be mixed with float; asked for: {precision}")

    def asked(self) -> tuple[str, ...]:
        """What differs from the defaults, as the command names it."""
        plain, found = QuantisationOptions(), []
        for name in (field.name for field in dataclasses.fields(self)):
            value, default = getattr(self, name), getattr(plain, name)
            # Types first: data may be an array, and `!=` of that is one too.
            if type(value) is not type(default) or value != default:
                found.append(_ASKED.get(name, "--" + name.replace("_", "-")))
        return tuple(found)

    def io_of(self, format_name: str, precision: Precision) -> str:
        """The dtype of inputs and outputs."""
        return self.io or IO[format_name, precision][0]

    def methods_of(self, format_name: str, precision: Precision) -> tuple[str, ...]:
        """The ways to find ranges that are tried."""
        if precision is Precision.INT16X8 and not self.methods:
            return METHODS[format_name][:1]  # steps of 16 bits are so fine that cutting off gains nothing
        return tuple(each for each in METHODS[format_name] if not self.methods or each in self.methods)
