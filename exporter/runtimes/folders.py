"""Where installed runtimes are kept: one folder under the user's cache, a folder in it for each."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from converters.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows has no such locks; two installations at once are then not noticed
    fcntl = None  # type: ignore[assignment]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cbam-export`, by default under `~/.cache`. It need not be there."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    return (Path(given) if Path(given).is_absolute() else Path.home() / ".cache") / "cbam-export"


def installed_folder(name: str) -> Path:
    """The folder of an installed runtime; it is there only when it is complete."""
    return cache_folder() / name


@contextlib.contextmanager
def installation(name: str) -> Iterator[Path]:
    """A folder to build an installation in; it becomes the installed one at the end of the block, in one rename.

    If the block fails, or this process is killed, the folder stays as it is, for the next try to go on with, and what
    was installed before stands there still.

    Raises:
        OutputError: the folder cannot be made, or another process is installing the same.
    """
    work, target, old = (cache_folder() / (prefix + name) for prefix in (".new-", "", ".old-"))
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (cache_folder() / f".lock-{name}").open("w")
    except OSError as error:
        raise OutputError(
            f"{work}: cannot be written ({error.strerror}); XDG_CACHE_HOME names another place"
        ) from error
    with lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{target}: another process is installing it now; wait for that to end") from error
        try:
            yield work
            shutil.rmtree(old, ignore_errors=True)  # of a run that was killed between the two renames below
            if target.exists():
                target.rename(old)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{error.filename or work}: cannot be written ({reason})") from error


def remove(name: str) -> bool:
    """Delete an installed runtime and what an unfinished installation of it left. Whether there was anything.

    Raises:
        OutputError: a file cannot be deleted.
    """
    found = False
    for prefix in (".new-", "", ".old-"):
        folder = cache_folder() / (prefix + name)
        if folder.exists():
            found = True
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise OutputError(f"{folder}: cannot be deleted ({error.strerror})") from error
    return found
