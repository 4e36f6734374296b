"""TFLite Micro. `inputs` and `outputs` of the options are our names in the file's order: it knows tensors by number."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from tflite_micro import runtime

SPARE = 4  # the arena is first made this many times the file's size, then larger, until the model fits
LARGEST = 1 << 30  # bytes


def load(
    path: str, options: Mapping[str, Any]
) -> tuple[Callable[[dict[str, np.ndarray]], dict[str, Any]], dict[str, int]]:
    with open(path, "rb") as stream:
        content = stream.read()
    interpreter = opened(content)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        for index, name in enumerate(options["inputs"]):
            interpreter.set_input(inputs[name], index)
        interpreter.invoke()
        return {name: np.array(interpreter.get_output(index)) for index, name in enumerate(options["outputs"])}

    return run, {"arena_bytes": arena_bytes(interpreter)}


def opened(content: bytes) -> Any:
    """An interpreter with an arena that is large enough; what it needs is not known before it was tried."""
    size = max(1 << 20, SPARE * len(content))
    while True:
        with captured() as text:
            try:
                return runtime.Interpreter.from_bytes(content, arena_size=size)
            except RuntimeError as error:
                failure = error
        said = text[0]
        if "Failed to resize buffer" not in said or size >= LARGEST:
            lines = [line.strip() for line in said.splitlines() if line.strip()]
            raise RuntimeError("; ".join([*lines[:2], str(failure)])) from failure
        size *= SPARE


def arena_bytes(interpreter: Any) -> int:
    """Bytes of the arena in use; the library only prints them."""
    with captured() as text:
        interpreter.print_allocations()
    found = re.search(r"Arena allocation total (\d+) bytes", text[0])
    return int(found.group(1)) if found else 0


@contextlib.contextmanager
def captured() -> Iterator[list[str]]:
    """What C++ writes to stdout and stderr meanwhile, as one text."""
    text: list[str] = []
    with tempfile.TemporaryFile() as aside:
        kept = [os.dup(1), os.dup(2)]
        os.dup2(aside.fileno(), 1)
        os.dup2(aside.fileno(), 2)
        try:
            yield text
        finally:
            for number, descriptor in enumerate(kept, 1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            aside.seek(0)
            text.append(aside.read().decode(errors="replace"))
