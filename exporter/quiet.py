"""Keeps what libraries write to the process's stderr off the user's screen; with -v it is all there.

TensorFlow, absl and LiteRT write their start-up notes from C++ to file descriptor 2, which Python cannot redirect.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def quiet(verbose: bool) -> Iterator[IO[str]]:
    """Give the stream to talk to the user on, the real stderr; everything else that is written there is put aside.

    With `verbose` nothing is put aside. If the process dies by a signal, Python's traceback of that goes to the real
    stderr.
    """
    if verbose:
        yield sys.stderr
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as aside, os.fdopen(real, "w", encoding=sys.stderr.encoding or "utf-8") as user:
        faulthandler.enable(user)
        os.dup2(aside.fileno(), 2)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        try:
            yield user
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            faulthandler.disable()
            user.flush()
