"""The variants of CBAM as one frozen value.

A CBAM block found in the wild differs from the paper's in a handful of choices. `Dialect` names each of them, so that
building a block, recognising one in a graph and reporting how two differ all speak of the same fields.
Nothing here imports Keras.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal

from converters.errors import ModelError, OptionError, closest

Pool = Literal["max", "avg"]
Order = Literal["channel_spatial", "spatial_channel", "parallel"]

_CHOICES: Final[Mapping[str, tuple[object, ...]]] = {
    "rounding": ("floor", "nearest"),
    "mlp_activation": (None, "relu", "sigmoid"),
    "gate": ("sigmoid", "hard_sigmoid", "linear"),
    "order": ("channel_spatial", "spatial_channel", "parallel"),
    "norm_gamma": ("zeros", "ones"),
    **dict.fromkeys(("shared_mlp", "mlp_bias", "spatial_bias", "spatial_norm", "residual"), (True, False)),
}

_TRAINING_ONLY: Final = frozenset({"norm_momentum", "norm_gamma"})


@dataclasses.dataclass(frozen=True, slots=True)
class Dialect:
    """Every choice in which CBAM blocks differ; the defaults are those of the paper's official code.

    The channel gate is `gate(f(avg) + f(max))` with `f = mlp_activation(W1 relu(W0 v + b0) + b1)`, equation 2 of Woo et
    al. 2018; the spatial gate is `gate(norm(conv_kxk([pool, pool])))`, equation 3.

    Attributes:
        ratio: the hidden width is C // ratio. Exactly one of `ratio` and `fraction` is set.
        fraction: the hidden width is C * fraction, rounded as `rounding` says.
        rounding: `floor` is Python's int(); `nearest` is timm's int(v + 0.5) with at least 1.
        shared_mlp: one MLP for both pooled vectors (the paper), or one each.
        mlp_bias: biases on both dense layers.
        mlp_activation: what follows the second dense layer, before the sum: None (paper), `relu` (blog) or `sigmoid`.
        pools: the order in which the two channel-wise maps are concatenated for the spatial convolution.
        kernel_size: side of the square spatial kernel.
        spatial_bias: a bias on the spatial convolution.
        spatial_norm: a BatchNormalization between the spatial convolution and its gate.
        norm_epsilon: its epsilon.
        norm_momentum: its momentum, in Keras's sense: the part of the old moving average that is kept.
        norm_gamma: the initial gamma: `zeros` opens every gate to one half at the start.
        gate: the gate function of both gates. `hard_sigmoid` is Keras 3's relu6(x + 3) / 6.
        residual: the block adds its own input to its output.
        order: `channel_spatial` (paper), `spatial_channel`, or `parallel` (both gates from the input, both multiplied).
    """

    ratio: int | None = 16
    fraction: float | None = None
    rounding: str = "floor"
    shared_mlp: bool = True
    mlp_bias: bool = True
    mlp_activation: str | None = None
    pools: tuple[Pool, Pool] = ("max", "avg")
    kernel_size: int = 7
    spatial_bias: bool = False
    spatial_norm: bool = True
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.99
    norm_gamma: str = "zeros"
    gate: str = "sigmoid"
    residual: bool = False
    order: Order = "channel_spatial"

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.fraction is None):
            raise OptionError(
                f"a dialect takes either ratio (C // ratio) or fraction (C * fraction), not both or neither; "
                f"got ratio={self.ratio!r}, fraction={self.fraction!r}"
            )
        if self.ratio is not None and not _whole(self.ratio):
            raise OptionError(
                f"ratio divides the channels and must be a whole number of at least 1; got {self.ratio!r}"
                " (a fraction that multiplies them is `fraction`)"
            )
        if self.fraction is not None and not (_real(self.fraction) and self.fraction > 0):
            raise OptionError(f"fraction multiplies the channels and must be above 0; got {self.fraction!r}")
        if not _whole(self.kernel_size):
            raise OptionError(f"kernel_size must be a whole number of at least 1; got {self.kernel_size!r}")
        if not (_real(self.norm_epsilon) and self.norm_epsilon >= 0):
            raise OptionError(f"norm_epsilon must be at least 0; got {self.norm_epsilon!r}")
        if not (_real(self.norm_momentum) and 0 <= self.norm_momentum <= 1):
            raise OptionError(f"norm_momentum must be from 0 to 1; got {self.norm_momentum!r}")
        if not isinstance(self.pools, (tuple, list)) or tuple(self.pools) not in (("max", "avg"), ("avg", "max")):
            raise OptionError(f"pools must be ('max', 'avg') or ('avg', 'max'); got {self.pools!r}")
        object.__setattr__(self, "pools", tuple(self.pools))
        for field, allowed in _CHOICES.items():
            value = getattr(self, field)
            if value not in allowed:
                raise OptionError(f"{field} must be one of {', '.join(map(repr, allowed))}; got {value!r}")

    def hidden(self, channels: int) -> int:
        """Hidden width of the channel MLP for `channels` input channels.

        Raises:
            ModelError: the width would be 0; the message names the channels, the ratio and the nearest one that works.
        """
        if self.ratio is not None:
            width = channels // self.ratio
            if width < 1:
                raise ModelError(
                    f"the channel MLP would have C // ratio = {channels} // {self.ratio} = 0 hidden units; "
                    f"with C = {channels} the largest ratio that works is {channels}"
                )
            return width
        assert self.fraction is not None
        if self.rounding == "nearest":
            return max(1, int(channels * self.fraction + 0.5))
        width = int(channels * self.fraction)
        if width < 1:
            raise ModelError(
                f"the channel MLP would have int(C * ratio) = int({channels} * {self.fraction}) = 0 hidden units; "
                f"with C = {channels} the smallest ratio that works is 1/{channels} = {_smallest_fraction(channels)}"
            )
        return width

    def differs(self, other: Dialect) -> tuple[str, ...]:
        """The names of the fields in which this dialect computes other than `other`, in field order.

        What only training sees, the norm's momentum and initial gamma, does not count.
        """
        fields = (field.name for field in dataclasses.fields(self) if field.name not in _TRAINING_ONLY)
        return tuple(name for name in fields if getattr(self, name) != getattr(other, name))

    def to_config(self) -> dict[str, Any]:
        """A JSON-able dict from which `Dialect.of` makes an equal value."""
        return {**dataclasses.asdict(self), "pools": list(self.pools)}

    @classmethod
    def of(cls, value: Dialect | str | Mapping[str, Any]) -> Dialect:
        """A dialect from itself, from a preset's name, or from a `to_config` dict.

        Raises:
            OptionError: an unknown preset or field, with the nearest known name.
        """
        if isinstance(value, Dialect):
            return value
        if isinstance(value, str):
            if value not in DIALECTS:
                raise OptionError(f"unknown dialect {value!r}{closest(value, DIALECTS)}")
            return DIALECTS[value]
        if not isinstance(value, Mapping):
            raise OptionError(f"a dialect is a Dialect, a preset's name or a dict of its fields; got {value!r}")
        fields = [field.name for field in dataclasses.fields(cls)]
        for key in value:
            if key not in fields:
                raise OptionError(f"unknown dialect field {key!r}{closest(key, fields)}")
        return cls(**value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _smallest_fraction(channels: int) -> str:
    # 1/C as a float may fall just short (int(49 * (1/49)) is 0), so the advice is rounded up to a decimal that works.
    digits = len(str(channels)) + 3
    return f"{math.ceil(10**digits / channels) / 10**digits:.{digits}g}"


PAPER: Final = Dialect()
"""Woo et al. 2018 and the official PyTorch code (Jongchan/attention-module)."""

BLOG: Final = Dialect(
    ratio=None,
    fraction=0.5,
    mlp_activation="relu",
    kernel_size=3,
    spatial_norm=False,
    residual=True,
)
"""The widespread Keras code: a ReLU after both dense layers, 3x3 without BatchNorm, the input added inside."""

TIMM: Final = Dialect(
    ratio=None,
    fraction=1 / 16,
    rounding="nearest",
    mlp_bias=False,
    pools=("avg", "max"),
    norm_gamma="ones",
    norm_momentum=0.9,
)
"""timm's CbamModule: no MLP biases, [avg, max], a BatchNorm that starts at gamma 1."""

DIALECTS: Final[Mapping[str, Dialect]] = {"paper": PAPER, "blog": BLOG, "timm": TIMM}
