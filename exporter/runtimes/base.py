"""What every runtime offers: open an artifact, run it on named arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from converters.artifact import Artifact

Arrays = Mapping[str, np.ndarray]


class Session(Protocol):
    """One opened artifact. A context manager: leaving it frees the model and ends any process.

    `description` is the library and version that runs it.
    """

    description: str

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """One inference: arrays by input name, of the artifact's shapes and dtypes, to arrays by output name."""

    def close(self) -> None:
        """Free what the session holds; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
            RuntimeUnavailableError: the runtime cannot run here.
        """


class ClosingSession:
    """The part of `Session` that every session shares."""

    def close(self) -> None:
        """Nothing to free by default."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeRow:
    """One row of RUNTIMES: a name, and "module:Class"."""

    name: str
    runtime: str
