"""What every runtime offers: open an artifact, run it on named arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np

from converters.artifact import Artifact, TensorSpec

Arrays = Mapping[str, np.ndarray]


class Session(Protocol):
    """One opened artifact. A context manager: leaving it frees the model and ends any process.

    Attributes:
        description: the library and version that runs it.
        facts: figures that the runtime tells of the opened model, by name (TFLite Micro: `arena_bytes`); often empty.
    """

    description: str
    facts: Mapping[str, int]

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """One inference: arrays by input name, of the artifact's shapes and dtypes, to arrays by output name.

        A quantised tensor is taken and given as it is stored (int8, uint8, int16), never as the numbers it stands for.

        Raises:
            WorkerError: the process that runs it died or hangs.
            ConversionError: the runtime fails on these inputs.
        """

    def close(self) -> None:
        """Free what the session holds; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One operation of a file: its type as the format calls it, and the names of the tensors that it takes and gives.

    Of what it takes, only the file's inputs and the tensors that are computed from them are told, constants are not.

    Attributes:
        codes: of an operation that turns stored integers into real numbers, the step between two neighbouring ones, the
            least and the largest that it can give; empty where the file has no single scale for all, or none.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    codes: tuple[float, float, float] | tuple[()] = ()


@runtime_checkable
class Traceable(Protocol):
    """What a session offers beside `Session` where the tensors between input and output can be read.

    Names are the file's own. The optimisations that would make a tensor vanish are off while it is traced, so outputs
    can differ from `run` by rounding.
    """

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every tensor that an operation computes, in the order of computation, with scale and zero point if quantised.

        Sizes are those of the file; one that it does not tell is None.
        """

    def nodes(self) -> tuple[Node, ...]:
        """The operations that compute `tensors()`, in order."""

    def run_traced(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """One inference: arrays as `run` takes them, to the value of each of `tensors()` by name, as it is stored."""


class Runtime(Protocol):
    """A way to run artifacts."""

    def version(self) -> str:
        """Name and version of the library that does the work.

        Raises:
            RuntimeUnavailableError: it is not installed or cannot run here; the message says what would help.
        """

    def open(self, artifact: Artifact) -> Session:
        """Load the artifact.

        Raises:
            ConversionError: the runtime refuses the file.
            WorkerError: the process that opens it died or hangs.
            OptionError: the runtime cannot run such an artifact at all (TFLite Micro: an open batch).
            RuntimeUnavailableError: the runtime cannot run here.
        """


class ClosingSession:
    """The part of `Session` that every session shares."""

    facts: Mapping[str, int] = MappingProxyType({})

    def close(self) -> None:
        """Nothing to free by default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
