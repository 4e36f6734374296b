"""Every error this toolkit raises on purpose.

    CbamError                     exit code   raised when
    |-- UsageError                    2       the request or its input is at fault
    |   |-- OptionError               2       an option, name or combination that is not valid
    |   |-- ModelError                2       a model that cannot be opened or exported as asked
    |   |-- CalibrationError          2       calibration data that cannot be used, or not with this model
    |   `-- OutputError               2       a file or folder that cannot be written
    |-- ConversionError               3       a converter, a runtime or this toolkit failed on valid input
    |   `-- WorkerError               3       the process of a runtime died or hangs
    `-- RuntimeUnavailableError       4       a runtime that was asked for cannot run here

A message is one line: what was wrong, where, and what would be right. A verification that fails is a result, not an
error (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, Final

_MANY: Final = 12  # names; where one of more than these is near, the others only hide it


class CbamError(Exception):
    """Base of the tree. `kind` stands in JSON output, `exit_code` is what a command exits with.

    brief: the message where a command has shown the particulars before it, or nothing.
    """

    brief: str = ""
    exit_code: ClassVar[int] = 3
    kind: ClassVar[str] = "error"


class UsageError(CbamError):
    """The request or its input is at fault."""

    exit_code = 2
    kind = "usage"


class OptionError(UsageError):
    """An option, a name or a combination of options that is not valid."""

    kind = "option"


class ModelError(UsageError):
    """A model that cannot be opened, or not exported as asked."""

    kind = "model"


class CalibrationError(UsageError):
    """Calibration data that cannot be read, or that are not what the model was made for."""

    kind = "calibration"


class OutputError(UsageError):
    """A file or folder that cannot be written."""

    kind = "output"


class ConversionError(CbamError):
    """A converter, or this toolkit, failed on a valid request."""

    exit_code = 3
    kind = "conversion"


class WorkerError(ConversionError):
    """The process of a runtime died or hangs: that runtime's result, which leaves this process whole."""

    kind = "worker"


class RuntimeUnavailableError(CbamError):
    """A runtime that was asked for cannot run on this machine."""

    exit_code = 4
    kind = "runtime"


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: a suggestion, if any is near, and what is known."""
    names = [str(each) for each in known]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    if near and len(names) > _MANY:
        return hint
    return f"{hint} (known: {', '.join(names)})"
