"""Operations of a quantised file that are not to compute in int8."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = ["Kept"]


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Which, and what they need; from JSON by `Kept(**given)`, for the child that converts.

    Attributes:
        in_float: to compute in float; TFLite: by the tensor that they give, ONNX: by the name of the node.
        in_int16: TFLite: to compute in int16; ONNX: to hand 16 bits to each other.
        wide: TFLite: ranges for int16 by tensor, symmetric.
        plain: the file before its biases were corrected, from which what is in float takes its own.
    """

    in_float: Sequence[str] = ()
    in_int16: Sequence[str] = ()
    wide: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    plain: str = ""
