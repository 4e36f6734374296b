"""Whether the emulated processors are what they are called, and compute what this machine computes.

Three questions to each: which instructions it has, which kernels XNNPACK chooses for it (as the emulator's log of what
it translated shows), and how far its results are from those of the same libraries on this machine.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from converters.errors import ConversionError
from exporter.runtimes.arm64.userland import Userland, userland
from exporter.runtimes.process import SERVE, WORKERS, Worker, WorkerSession

_MODELS: Final = Path(__file__).with_name("data")
_SECONDS: Final = 300.0

_CODES: Final = {
    "sdot": "4e829420",  # sdot v0.4s, v1.16b, v2.16b: the dot product of ARMv8.2
    "smmla": "4e82a420",  # smmla v0.4s, v1.16b, v2.16b: the matrix product, i8mm
}


@dataclasses.dataclass(frozen=True, slots=True)
class Core:
    """What is expected of a processor: the instructions it has, and the one of int8 kernels on it."""

    has: tuple[str, ...]
    kernel: str


CORES: Final[Mapping[str, Core]] = {
    "cortex-a53": Core((), "smlal"),
    "cortex-a76": Core(("sdot",), "sdot"),
    "max,sve=off,sme=off": Core(("sdot", "smmla"), "smmla"),
}

STEPS: Final = 1
"""How far int8 results may be apart: rounding of halves differs between kernels (measured: 0 or 1)."""

RELATIVE: Final = 2e-6
"""How far float32 results may be apart, of the largest: sums in another order (measured on real models: up to 2e-6)."""


def run(on_step: Callable[[str], None]) -> None:
    """Test the installed userland.

    Raises:
        RuntimeUnavailableError: it is not installed.
        ConversionError: it is not what it should be; the message says in what.
    """
    check(userland(), on_step)


def check(found: Userland, on_step: Callable[[str], None]) -> None:
    """Test a userland, installed or about to be.

    Raises:
        ConversionError: it is not what it should be; the message says in what.
    """
    on_step(f"testing {len(CORES)} emulated processors")
    inputs = _inputs()
    command = (sys.executable, "-P", str(SERVE), str(WORKERS / "run_selftest.py"))
    expected = _outputs(Worker("the same libraries on this machine", command), inputs)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:  # each waits for a process of its own
        for done in [pool.submit(_check_core, found, cpu, inputs, expected) for cpu in CORES]:
            done.result()


def _check_core(
    found: Userland, cpu: str, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> None:
    core = CORES[cpu]
    for name, code in _CODES.items():
        _check_instruction(found, cpu, name, code)
    with tempfile.TemporaryDirectory(prefix="cbam-selftest-") as folder:
        log = Path(folder, "instructions.txt")
        # in_asm: each block of instructions once, when it is first translated.
        command = (*found.command(cpu, "-d", "in_asm", "-D", str(log)), str(SERVE), str(WORKERS / "run_selftest.py"))
        given = _outputs(Worker(f"the ARM64 userland as {cpu}", command, {}, _SECONDS, _SECONDS), inputs)
        seen = set(re.findall(rf"\b({'|'.join([*_CODES, 'smlal'])})\b", log.read_text(errors="replace")))
    if core.kernel not in seen:
        raise ConversionError(
            f"ARM64 self-test: on {cpu} int8 kernels with {core.kernel} should run; seen: {sorted(seen) or 'none'}"
        )
    for name, value in expected.items():
        off = np.max(np.abs(given[name].astype(np.float64) - value.astype(np.float64)))
        allowed = STEPS if value.dtype == np.int8 else RELATIVE * float(np.max(np.abs(value)))
        if not off <= allowed:  # NaN as well
            raise ConversionError(
                f"ARM64 self-test: {name} on {cpu} is {off:.3g} from this machine's result; "
                f"at most {allowed:.3g} is rounding"
            )


def _check_instruction(found: Userland, cpu: str, name: str, code: str) -> None:
    command = [*found.command(cpu), str(WORKERS / "try_instruction.py"), code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    if name in CORES[cpu].has:
        wanted, right = "have", ran.returncode == 0
    else:
        wanted, right = "not have", -ran.returncode == 4 or ran.returncode == 128 + 4  # SIGILL
    if not right:
        said = (ran.stderr.strip().splitlines() or [""])[-1][:200]
        raise ConversionError(
            f"ARM64 self-test: {cpu} should {wanted} the instruction {name}; "
            f"trying it ended with {ran.returncode} {said}"
        )


def _inputs() -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).random((1, 12, 12, 3), np.float32)
    # The int8 model was calibrated on 0..1, so that its input has a scale of 1/255 and a zero point of -128.
    return {"fp32": image, "int8": np.round(image * 255 - 128).astype(np.int8)}


def _outputs(worker: Worker, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with WorkerSession(worker, _MODELS, "", {}) as session:
        return session.run(inputs)
