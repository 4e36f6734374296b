"""The installed userland: where things lie in it, and how a program is run there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.folders import installed_folder

NAME: Final = "arm64"
RECIPE: Final = 1
"""Raised when an installation of an older cbam-export is no longer what this one expects."""

MANIFEST: Final = "manifest.json"
_REPAIR: Final = "cbam runtimes install arm64"

# What qemu reads in place of the machine's own files. LiteRT and ONNX Runtime count cores and read cache sizes there;
# the numbers of an x86 machine beside an ARM processor have crashed both.
ONE_CORE: Final[Mapping[str, str]] = {
    f"sys/devices/system/cpu/{name}": text
    for name, text in {
        "possible": "0\n",
        "present": "0\n",
        "online": "0\n",
        "kernel_max": "0\n",
        "cpu0/topology/core_id": "0\n",
        "cpu0/topology/physical_package_id": "0\n",
        "cpu0/topology/core_siblings_list": "0\n",
        "cpu0/topology/thread_siblings_list": "0\n",
    }.items()
}


@dataclasses.dataclass(frozen=True, slots=True)
class Userland:
    """An ARM64 userland in a folder.

    Attributes:
        folder: holds `qemu-aarch64`, `root` (Debian's files) and `site` (Python packages).
        python: the Python in it, as `3.13`.
        versions: of what was installed, by package name.
    """

    folder: Path
    python: str
    versions: Mapping[str, str]

    @property
    def emulator(self) -> Path:
        """qemu's user emulator, a static program of this machine's own kind."""
        return self.folder / "qemu-aarch64"

    def command(self, cpu: str, *options: str) -> tuple[str, ...]:
        """The start of a command that runs the userland's Python on an emulated processor; its arguments follow.

        Args:
            cpu: as qemu's -cpu takes it.
            options: further options of qemu.
        """
        set_inside = {
            "LD_LIBRARY_PATH": "/usr/lib/aarch64-linux-gnu",
            "PYTHONHOME": "/usr",
            "PYTHONPATH": str(self.folder / "site"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        inside = [part for name, value in set_inside.items() for part in ("-E", f"{name}={value}")]
        root = self.folder / "root"
        # PYTHONPATH of this process must not lead the emulated Python to packages of another processor; -E replaces it.
        return (
            str(self.emulator),
            *("-cpu", cpu, "-L", str(root)),
            *options,
            *inside,
            str(root / "usr" / "bin" / f"python{self.python}"),
            *("-P", "-s", "-W", "ignore"),
        )

    def write_manifest(self) -> None:
        """Say what is in the folder. Written last: without it nothing counts as installed."""
        text = {"recipe": RECIPE, "python": self.python, "versions": dict(self.versions)}
        (self.folder / MANIFEST).write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")


def userland(folder: Path | None = None) -> Userland:
    """The installed userland, or the one in another folder.

    Raises:
        RuntimeUnavailableError: it is not installed, not complete, or of another version of cbam-export.
    """
    folder = folder or installed_folder(NAME)
    if not folder.exists():
        raise RuntimeUnavailableError(f"the ARM64 userland is not installed; {_REPAIR}")
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = Userland(folder, data["python"], data["versions"])
        recipe = data["recipe"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeUnavailableError(f"{folder}: is not complete ({error}); {_REPAIR}") from error
    if recipe != RECIPE:
        raise RuntimeUnavailableError(f"{folder}: was installed by another version of cbam-export; {_REPAIR}")
    for needed in (found.emulator, Path(found.command("max")[-5]), folder / "site" / "numpy"):
        if not needed.exists():
            raise RuntimeUnavailableError(f"{folder}: is not complete ({needed.name} is missing); {_REPAIR}")
    return found
