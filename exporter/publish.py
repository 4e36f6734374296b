"""Files that are complete or absent: written under a temporary name beside the final one, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from converters.artifact import Artifact, sidecar_path
from converters.errors import ConversionError, OutputError

_MARK: Final = ".cbam-partial-"


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder` (made if absent) for what is not complete yet; gone afterwards.

    Inside, so that renaming out of it is one step on one disk. What a killed run left there is removed first.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    partial = folder / f"{_MARK}{os.getpid()}"
    new = not folder.exists()
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        partial.mkdir()
    try:
        with _disk_errors(folder):
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # not empty: something was published
                folder.rmdir()


def check_target(target: Path, source: Path | None) -> None:
    """Refuse to write over the input, or over a folder that is not an export of ours.

    Raises:
        OutputError: naming what stands in the way.
    """
    if source is not None and target.exists() and target.resolve() == source.resolve():
        raise OutputError(f"{target}: is the model itself, which is never overwritten; give another --output")
    if source is not None and target.resolve() in source.resolve().parents:
        raise OutputError(f"{target}: holds the model {source.name}, which is never overwritten; give another --output")
    if target.is_dir() and any(target.iterdir()) and not sidecar_path(target).is_file():
        raise OutputError(f"{target}: a folder that this tool did not write; move it, or give another --output")


def publish(artifact: Artifact, target: Path) -> None:
    """Move a complete artifact to its final name and put its sidecar beside it.

    The old sidecar goes first and the new one comes last, so that at no moment a sidecar describes another file.
    """
    sidecar = sidecar_path(target)
    fresh = artifact.path.with_name(sidecar.name)
    fresh.write_text(artifact.sidecar_text(), encoding="utf-8")
    sidecar.unlink(missing_ok=True)
    old = None
    if target.is_dir():  # a folder cannot be replaced in one step
        old = artifact.path.with_name("replaced")
        target.rename(old)
    os.replace(artifact.path, target)
    os.replace(fresh, sidecar)
    if old is not None:
        shutil.rmtree(old)


def _remove_stale(folder: Path) -> None:
    for left in folder.glob(f"{_MARK}*"):
        pid = left.name.removeprefix(_MARK)
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # a folder of this number is from another process that had it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OutputError, ConversionError) as error:
        if _says_full(error.__cause__ or error):
            raise OutputError(f"{folder}: the disk is full; nothing was left there") from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise OutputError(f"{folder}: the disk is full ({error.strerror}); nothing was left there") from error
        raise OutputError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
    except Exception as error:
        if _says_full(error):
            raise OutputError(f"{folder}: the disk is full; nothing was left there") from error
        raise


def _says_full(error: BaseException) -> bool:
    # TensorFlow and ONNX report a full disk in words only.
    return any(text in str(error) for text in ("No space left on device", "File too large"))
