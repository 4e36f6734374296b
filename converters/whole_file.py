"""Files that stand under their name whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from converters.errors import OutputError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name, in place of what had it, when all is written without an error.

    Its folder is made if need be. mode: the file's permissions; a temporary file is made for its owner alone.

    Raises:
        OutputError: it cannot be written.
    """
    partial = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=".cbam-partial-", suffix=path.suffix, dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.chmod(partial, mode)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if partial and os.path.exists(partial):
            os.unlink(partial)
