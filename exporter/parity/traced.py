"""The tensors of an artifact as one array each, samples first, in real numbers, and what each is computed from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np

from exporter.parity.layers import Arrays
from exporter.parity.stacking import Rows, by_sample, rows_of
from exporter.parity.stored import to_real

MOVED: Final = frozenset(
    {
        *("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast"),
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CAST"),
    }
)
"""Operations of ONNX and TFLite whose result holds the numbers of their input."""

ROUNDED: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "QUANTIZE", "DEQUANTIZE"})
"""Operations whose result holds them rounded."""


STEPS: Final = 2.0
"""Steps of a quantised tensor that its last operation may be off: half by rounding to it, the rest by the integer
arithmetic of approximated functions (the logistic and softmax tables)."""

_TABLES: Final[Mapping[str, float]] = {"LOGISTIC": 8.0, "TANH": 8.0, "SOFTMAX": 16.0}
"""The same of 16 bits, whose steps are finer than what those tables give between their 513 entries. Measured: up to 3.5
in sound int16x8 artifacts, 10.3 in a softmax, which goes through two of them."""

_SOFTMAX_LEAST: Final = 2.0**-14
"""Of the largest: what LiteRT's softmax of 16 bits gives any class at least. Its table of the exponential ends 10 below
the largest score, with two of 32,768 steps. Measured: 2.0 steps on average where hundreds of classes are below that."""

_LEAST_HALF: Final = 2.0**-24
"""Between the numbers of half precision below 6e-5, which have no more bits the smaller they are."""

_BYTE: Final = 256  # numbers of 8 bits


class Traced(Protocol):
    """The part of `exporter.runtimes.base.Traceable` that is needed here."""

    def tensors(self) -> Sequence[Any]: ...

    def nodes(self) -> Sequence[Any]: ...

    def run_traced(self, inputs: Arrays) -> dict[str, np.ndarray]: ...


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class FileTensor:
    """One tensor of a file that depends on its inputs.

    Attributes:
        name, op: its own, and the type of the operation that computes it.
        value: (samples, ...), in real numbers.
        step: between two neighbouring numbers that it can hold, where it is quantised, or, in half precision, at its
            largest; else 0.
        low, high: the least and the largest number that it can hold, where it is quantised.
        clipped: the share of its values that stand at one of these two.
        sources: names of the nearest of these tensors that it is computed from, inputs of the file included.
        moved: whether it holds the numbers of its first source, in another shape.
        copies: the tensor whose numbers it holds, moved or rounded or both; empty where it has its own.
    """

    name: str
    op: str
    value: np.ndarray
    step: float
    low: float
    high: float
    clipped: float
    sources: tuple[str, ...]
    moved: bool
    copies: str = ""

    @property
    def rounding(self) -> float:
        """What its last operation may be off by, for the numbers that it can hold."""
        return (_TABLES[self.op] if self._by_table else STEPS) * self.step

    @property
    def _by_table(self) -> bool:
        """Whether a table of 16 bits gives its values."""
        return self.op in _TABLES and self.step > 0 and (self.high - self.low) / self.step > _BYTE

    def computed(self, exact: np.ndarray) -> np.ndarray:
        """What its last operation gives where it should give `exact`, before rounding.

        LiteRT's softmax of 16 bits gives no class less than a share of the largest: what that is too much, the others
        lose, up to 6% among a thousand classes.
        """
        if not self._by_table or self.op != "SOFTMAX":
            return exact
        raised: np.ndarray = np.maximum(exact, _SOFTMAX_LEAST * exact.max(-1, keepdims=True))
        shares: np.ndarray = raised / raised.sum(-1, keepdims=True)
        return shares


def read_tensors(session: Traced, inputs: Arrays, batch: int) -> tuple[FileTensor, ...]:
    """Run all samples and give every float or quantised tensor that depends on the inputs, in order of computation.

    Args:
        inputs: by the file's names, as the file stores them, samples first; a number of samples that `batch` divides.
    """
    specs = {spec.name: spec for spec in session.tensors()}
    makers = {name: node for node in session.nodes() for name in node.outputs}
    depends = set(inputs)
    for node in session.nodes():
        if depends & set(node.inputs):
            depends |= set(node.outputs)
    kept = [
        name
        for name in specs
        if name in depends
        and name in makers
        and (specs[name].scale is not None or specs[name].dtype in ("float32", "float16"))
    ]
    values = _run(session, inputs, batch, kept)
    read = {name for name in kept if name in values} | set(inputs)
    sources = {name: _sources(name, makers, depends, read) for name in kept if name in values}
    tensors = {name: _tensor(name, specs[name], makers[name], values[name], each) for name, each in sources.items()}
    for name, each in tensors.items():
        if each.moved or each.op in ROUNDED:
            found = dataclasses.replace(each, copies=_origin(name, makers, values))
            source = tensors.get(each.sources[0]) if each.moved else None
            if source is not None and source.step > each.step:
                # A cast to float32 leaves the numbers as half precision had them, another shape those of 8 bits.
                found = dataclasses.replace(found, step=source.step, low=source.low, high=source.high)
            tensors[name] = found
    return tuple(tensors.values())


def _sources(name: str, makers: Mapping[str, Any], depends: set[str], read: set[str]) -> tuple[str, ...]:
    """The nearest tensors that have been read, or inputs of the file, that a tensor is computed from."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    stack = _operands(makers[name], depends)[::-1]
    while stack:
        each = stack.pop()
        if each in read or each not in makers:
            found[each] = None
        elif each not in seen:
            seen.add(each)
            stack += _operands(makers[each], depends)[::-1]
    return tuple(found)


def _operands(node: Any, depends: set[str]) -> list[str]:
    # Of an operation that moves numbers, all but the first input tell the shape, which may be computed as well.
    return [each for each in node.inputs[: 1 if node.op in MOVED else None] if each in depends]


def _origin(name: str, makers: Mapping[str, Any], read: Arrays) -> str:
    """The nearest tensor that has been read, through operations that move numbers or round them."""
    while name in makers and makers[name].op in MOVED | ROUNDED and makers[name].inputs:
        name = makers[name].inputs[0]
        if name in read and makers[name].op not in MOVED:
            break
    return name


def _run(session: Traced, inputs: Arrays, batch: int, kept: Sequence[str]) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    ways: dict[str, Rows | None] = {}
    samples = len(next(iter(inputs.values())))
    for start in range(0, samples, batch):
        chunk = {name: array[start : start + batch] for name, array in inputs.items()}
        given = session.run_traced(chunk)
        if not ways:
            # What mixes the samples of a call has nothing to be compared with; exchanging them shows it.
            rolled = session.run_traced({k: np.roll(v, 1, axis=0) for k, v in chunk.items()}) if batch > 1 else given
            ways = {name: rows_of(given[name], rolled[name], batch) for name in kept}
        for name, way in ways.items():
            if way is not None:
                parts.setdefault(name, []).append(by_sample(given[name], batch, way))
    return {name: np.concatenate(each) for name, each in parts.items()}


def _tensor(name: str, spec: Any, node: Any, value: np.ndarray, sources: tuple[str, ...]) -> FileTensor:
    real, step, low, high, clipped = to_real(value, spec), spec.scale or 0.0, -np.inf, np.inf, 0.0
    if spec.scale is not None:
        limits = np.iinfo(value.dtype)
        low, high = (float(each) for each in to_real(np.array([limits.min, limits.max]), spec))
        clipped = float(np.mean((value == limits.min) | (value == limits.max)))
    elif node.codes:
        step, low, high = node.codes
    elif node.op == "DequantizeLinear":  # it has no one scale for all, so by what it gives
        found = np.unique(real)
        step = float(np.diff(found).min(initial=np.inf)) if len(found) > 1 else 0.0
        low, high = float(found[0]), float(found[-1])
    elif value.dtype == np.float16:
        step = max(_LEAST_HALF, 2.0**-10 * float(np.max(np.abs(value[np.isfinite(value)]), initial=0.0)))
    moved = node.op in MOVED and len(sources) == 1
    return FileTensor(name, node.op, real, step, low, high, clipped, sources, moved)


def views(value: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The ways to see `value` in `shape`, both samples first: as it is, turned between NHWC and NCHW, or with several
    heads side by side in the one that stand apart in the other.

    Sizes of 1 may stand anywhere. Empty where the sizes do not fit.
    """
    found: list[np.ndarray] = []
    for axes in _ORDERS.get(value.ndim, (tuple(range(value.ndim)),)):
        turned = value.transpose(axes)
        if _sizes(turned.shape) == _sizes(shape) and turned.shape[0] == shape[0]:
            seen = turned.reshape(shape)
            if not any(seen.strides == other.strides for other in found):
                found.append(seen)
    return found or ([value.reshape(shape)] if _as_heads(value.shape, shape) else [])


def _as_heads(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes differ in that one splits the last axis of the other, behind equal ones: (samples, tokens, 24)
    and (samples, tokens, 3, 8)."""
    short, long = sorted((_sizes(one), _sizes(other)), key=len)
    if one[0] != other[0] or len(short) < 2 or len(long) != len(short) + 1:
        return False
    return short[:-1] == long[:-2] and short[-1] == long[-2] * long[-1]


_ORDERS: Final[Mapping[int, tuple[tuple[int, ...], ...]]] = {
    3: ((0, 1, 2), (0, 2, 1)),
    4: ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)),
    5: ((0, 1, 2, 3, 4), (0, 2, 3, 4, 1), (0, 4, 1, 2, 3)),
}


def _sizes(shape: Sequence[int]) -> list[int]:
    return [size for size in shape[1:] if size != 1]
