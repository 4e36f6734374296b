"""The installations as a table: adding one is a row here and the module it names. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from converters.errors import OptionError, closest
from exporter.formats import load

Step = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Install:
    """One row.

    Attributes:
        name: what a user types after `cbam runtimes install`.
        summary: what it does, for help and README.
        installer: "module:function" of (row, on_step) -> None.
        requirements: for pip: what it is given; a package with its versions, or an option.
        folder: whether it keeps a folder of its own under the user's cache, which `cbam runtimes remove` deletes.
        tester: "module:function" of (on_step) -> None, which raises if the installation computes wrongly; or empty.
    """

    name: str
    summary: str
    installer: str = "exporter.runtimes.installs.pip:install"
    requirements: tuple[str, ...] = ()
    folder: bool = False
    tester: str = ""

    @property
    def command(self) -> str:
        """The one command that installs it."""
        return f"cbam runtimes install {self.name}"

    def install(self, on_step: Step) -> None:
        """Install it.

        Raises:
            RuntimeUnavailableError: it cannot be installed here, or a download failed.
            OutputError: its folder cannot be written.
        """
        load(self.installer)(self, on_step)

    def test(self, on_step: Step) -> None:
        """Run its self-test.

        Raises:
            OptionError: it has none.
            RuntimeUnavailableError: it is not installed.
            ConversionError: it computes wrongly.
        """
        if not self.tester:
            have = ", ".join(row.name for row in INSTALLS.values() if row.tester)
            raise OptionError(f"{self.name} has no self-test; those that have: {have}")
        load(self.tester)(on_step)


INSTALLS: Final[Mapping[str, Install]] = {
    row.name: row
    for row in (
        Install("tensorflow", "pip package tensorflow", requirements=("tensorflow>=2.20",)),
        Install("litert", "pip package ai-edge-litert", requirements=("ai-edge-litert>=2.1",)),
        Install("onnxruntime", "pip package onnxruntime", requirements=("onnxruntime>=1.20",)),
        # It has pre-releases only; this floor is the one that the tests have seen.
        Install("micro", "pip package tflite-micro", requirements=("--pre", "tflite-micro>=0.dev20261023182759")),
        Install("openvino", "pip package openvino", requirements=("openvino>=2025.0",)),
        Install(
            "onnxruntime-web",
            "npm package onnxruntime-web, into the user's cache",
            installer="exporter.runtimes.installs.npm:install",
            folder=True,
        ),
        Install(
            "arm64",
            "an ARM64 userland and qemu's user emulator, into the user's cache; needs a Debian machine, not root",
            installer="exporter.runtimes.arm64.install:install",
            folder=True,
            tester="exporter.runtimes.arm64.selftest:run",
        ),
    )
}


def find(name: str, runtimes: Mapping[str, str]) -> Install:
    """The row of that name, or the one that brings the runtime of that name.

    Args:
        runtimes: runtime -> the row that brings it.

    Raises:
        OptionError: no such row.
    """
    row = INSTALLS.get(runtimes.get(name, name))
    if row is None:
        raise OptionError(f"unknown runtime {name!r}{closest(name, dict.fromkeys([*INSTALLS, *runtimes]))}")
    return row
