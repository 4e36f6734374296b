"""What can run here, and why not: `cbam runtimes`."""

from __future__ import annotations

import dataclasses
from typing import Any

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.installs.table import INSTALLS
from exporter.runtimes.table import RUNTIMES, RuntimeRow, runtime


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """One runtime on this machine.

    Attributes:
        row: its row of RUNTIMES.
        version: of the library that does the work; None if it is not available.
        reason: why it is not available; None if it is.
        install: the one command that installs it.
    """

    row: RuntimeRow
    version: str | None
    reason: str | None
    install: str

    @property
    def available(self) -> bool:
        """Whether it can run here."""
        return self.version is not None

    def to_json(self) -> dict[str, Any]:
        """`precisions` is by format, since a runtime may run less of one than of another."""
        return {
            "name": self.row.name,
            "summary": self.row.summary,
            "available": self.available,
            "version": self.version,
            "formats": list(self.row.runs),
            "precisions": {name: [str(each) for each in precisions] for name, precisions in self.row.runs.items()},
            "open_batch": self.row.open_batch,
            "emulated": self.row.emulated,
            "reason": self.reason,
            "install": self.install,
        }


def survey() -> list[RuntimeStatus]:
    """Every row of RUNTIMES. It asks for versions only: nothing is opened, and TensorFlow is not imported."""
    return [status(name) for name in RUNTIMES]


def status(name: str) -> RuntimeStatus:
    """One row of RUNTIMES."""
    row = RUNTIMES[name]
    version, reason = None, None
    try:
        version = runtime(name).version()
    except RuntimeUnavailableError as error:
        reason = str(error)
    return RuntimeStatus(row, version, reason, INSTALLS[row.install].command)
