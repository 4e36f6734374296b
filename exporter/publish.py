"""Files that are complete or absent: written in a temporary folder beside the final place, then renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from converters.artifact import SIDECAR_SCHEMA, Artifact, sidecar_path
from converters.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: then nothing can tell a killed run's folder from a live one's, and none is removed
    fcntl = None  # type: ignore[assignment]

_MARK: Final = ".cbam-partial-"
_LOCK: Final = ".lock"
_REPLACED: Final = ".replaced"


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A temporary folder inside `folder` (made if absent) for what is not complete yet; gone afterwards.

    Inside, so that renaming out of it is one step on one disk. What a killed run left there is put right first.

    Raises:
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    new = not folder.exists()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _clear_stale(folder)
        partial = Path(tempfile.mkdtemp(prefix=_MARK, dir=folder))
        lock = _lock(partial / _LOCK)
    try:
        yield partial
    finally:
        lock.close()
        shutil.rmtree(partial, ignore_errors=True)
        if new:
            with contextlib.suppress(OSError):  # not empty: something was published
                folder.rmdir()


def check_target(target: Path, source: Path | None) -> None:
    """Refuse to write over the input, or over what is not an export of ours.

    Raises:
        OutputError: naming what stands in the way.
    """
    if source is not None and target.exists() and target.resolve() == source.resolve():
        raise OutputError(f"{target}: is the model itself, which is never overwritten; give another --output")
    if source is not None and target.resolve() in source.resolve().parents:
        raise OutputError(f"{target}: holds the model {source.name}, which is never overwritten; give another --output")
    sidecar = sidecar_path(target)
    ours = _is_sidecar_of(sidecar, target)
    if sidecar.exists() and not ours:
        raise OutputError(f"{sidecar}: a file that this tool did not write; move it, or give another --output")
    if target.is_symlink():
        raise OutputError(f"{target}: a symbolic link, which is not written through; give another --output")
    if target.is_dir() and any(target.iterdir()) and not ours:
        raise OutputError(f"{target}: a folder that this tool did not write; move it, or give another --output")


def publish(artifact: Artifact, target: Path) -> None:
    """Move a complete artifact, in a workspace, to its final name and put its sidecar beside it.

    The sidecar goes first: should the process die between the two, what stands there is known to be ours, and does not
    pass for complete, because the sidecar's SHA-256 is not the file's. If the move fails, all is as it was before.
    """
    sidecar = sidecar_path(target)
    old_sidecar = sidecar.read_bytes() if sidecar.exists() else None
    fresh = artifact.path.with_name(sidecar.name)
    fresh.write_text(artifact.sidecar_text(), encoding="utf-8")
    kept = artifact.path.parent / _REPLACED / target.name
    if target.is_dir():  # a folder cannot be replaced in one step
        kept.parent.mkdir(exist_ok=True)
        target.rename(kept)
    try:
        os.replace(fresh, sidecar)
        os.replace(artifact.path, target)
    except BaseException:
        if kept.exists():
            kept.rename(target)
        if old_sidecar is None:
            sidecar.unlink(missing_ok=True)
        else:
            sidecar.write_bytes(old_sidecar)
        raise
    if kept.exists():
        shutil.rmtree(kept)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what goes wrong with files under `folder` into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise OutputError(f"{folder}: the disk is full ({error.strerror}); nothing new was left there") from error
        raise OutputError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
    except Exception as error:
        # TensorFlow and ONNX report a full disk in words only.
        said = str(error.__cause__ or "") + str(error)
        if any(text in said for text in ("No space left on device", "File too large")):
            raise OutputError(f"{folder}: the disk is full; nothing new was left there") from error
        raise


def _is_sidecar_of(sidecar: Path, target: Path) -> bool:
    try:
        data = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and (data.get("schema"), data.get("path")) == (SIDECAR_SCHEMA, target.name)


def _clear_stale(folder: Path) -> None:
    """Remove the workspaces of killed runs; what they had set aside goes back to its place if nothing took it."""
    for left in folder.glob(f"{_MARK}*") if fcntl is not None else ():
        try:
            lock = _lock(left / _LOCK)
        except OSError:  # held by a live run, or not to be had: then it is not ours to remove
            continue
        with lock:
            for kept in (left / _REPLACED).glob("*"):
                if not (folder / kept.name).exists():
                    kept.rename(folder / kept.name)
            shutil.rmtree(left, ignore_errors=True)


def _lock(path: Path) -> IO[bytes]:
    stream = path.open("ab")
    try:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        raise
    return stream
