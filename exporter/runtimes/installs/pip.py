"""Packages that pip installs into this very environment."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.installs.table import Install, Step

_SECONDS: Final = 1800.0  # the largest package here is 50 MB; what takes longer has stopped


def install(row: Install, on_step: Step) -> None:
    """Run pip on the row's requirements.

    Raises:
        RuntimeUnavailableError: pip is not there, or failed.
    """
    pip(["install", *row.requirements], on_step)


def pip(arguments: Sequence[str], on_step: Step) -> None:
    """Run this Python's pip, told to the user as the command it is.

    Raises:
        RuntimeUnavailableError: pip is not there, or failed.
    """
    if importlib.util.find_spec("pip") is None:
        raise RuntimeUnavailableError(
            f"{sys.executable} has no pip; run what does its work in this environment (uv pip, say): "
            + shlex.join(["pip", *arguments])
        )
    on_step(shlex.join(["python", "-m", "pip", *arguments])[:200])
    run([sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments], _SECONDS)


def run(
    command: Sequence[str], seconds: float, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program that downloads; what it printed on stdout.

    Raises:
        RuntimeUnavailableError: it is not there, failed, or took longer than `seconds`.
    """
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )
    except OSError as error:
        raise RuntimeUnavailableError(f"{command[0]}: cannot be run ({error.strerror})") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeUnavailableError(f"{command[0]}: was not done after {seconds:g} s and was ended") from error
    if ran.returncode:
        lines = [line.strip() for line in (ran.stderr + "\n" + ran.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error", "e:", "npm err"))] or lines[-1:]
        raise RuntimeUnavailableError(f"{' '.join(command[:4])}: failed: {' '.join(errors)[:400] or ran.returncode}")
    return str(ran.stdout)
