"""Debian's packages for another processor, through an apt that is told of nothing but a folder of ours.

It reads this machine's sources and keys (`sources.py`) and touches none of its lists, caches or packages, so it needs
neither root nor `dpkg --add-architecture`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import shutil
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.arm64.pins import Pin
from exporter.runtimes.arm64.sources import debian_sources
from exporter.runtimes.installs.pip import run

_SECONDS: Final = 1800.0


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """A file that the archive offers, as its signed lists describe it. `size` in bytes."""

    package: str
    version: str
    architecture: str
    file: str
    size: int
    sha256: str

    @property
    def short_version(self) -> str:
        """Without epoch and Debian's own numbering: `10.0.13`."""
        return re.split(r"[+-]", self.version.partition(":")[2] or self.version)[0]


class Apt:
    """Packages of a release for `arm64` and for this machine's own kind.

    Raises:
        RuntimeUnavailableError: on construction, no source of this machine offers the release, or it is no Debian.
    """

    def __init__(self, folder: Path, release: str, host: str) -> None:
        self._folder = folder
        failure: RuntimeUnavailableError | None = None
        for source in debian_sources():
            self._configure(source.entry(release), host)
            try:
                self._run("apt-get", "update", "--error-on=any")
            except RuntimeUnavailableError as error:  # the next source may have it
                failure = error
            else:
                return
        assert failure is not None
        raise failure

    def offers(self, packages: Iterable[str]) -> list[Offer]:
        """What is offered for these packages, `name` for arm64 or `name:architecture`.

        Raises:
            RuntimeUnavailableError: a package is not offered.
        """
        listed = self._run("apt-get", "download", "--print-uris", *packages)
        found = re.findall(r"^'[^']*' (\S+) (\d+) SHA256:([0-9a-f]{64})$", listed, re.MULTILINE)
        offers = []
        for file, size, sha256 in found:
            package, version, architecture = file.removesuffix(".deb").split("_")
            offers.append(Offer(package, urllib.parse.unquote(version), architecture, file, int(size), sha256))
        return offers

    def download(self, offers: Sequence[Offer], folder: Path) -> None:
        """Bring these files into a folder; one that is there is not fetched again, and half of one is gone on with.

        Raises:
            RuntimeUnavailableError: a download failed, or a file is not the one that was offered.
        """
        missing = [offer for offer in offers if not is_file(folder / offer.file, offer.sha256)]
        if missing:
            names = [f"{offer.package}:{offer.architecture}={offer.version}" for offer in missing]
            self._run("apt-get", "download", *names, folder=folder)
        for offer in missing:
            if not is_file(folder / offer.file, offer.sha256):
                (folder / offer.file).unlink(missing_ok=True)
                raise RuntimeUnavailableError(f"{offer.file}: is not the file that Debian's lists describe; try again")

    def _configure(self, entry: str, host: str) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in ("lists/partial", "archives/partial"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        (self._folder / "debian.sources").write_text(entry, encoding="utf-8")
        settings: Mapping[str, str | Path] = {
            "APT::Architecture": "arm64",
            "APT::Sandbox::User": "",  # the user _apt could not write here, and root is not needed
            "Acquire::Languages": "none",
            "Dir::State": self._folder,
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder,
            "Dir::Cache::archives": self._folder / "archives",
            "Dir::Etc::sourcelist": self._folder / "debian.sources",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
        }
        lines = [f'{name} "{value}";' for name, value in settings.items()]
        lines.append(f'APT::Architectures {{ "arm64"; "{host}"; }};')
        (self._folder / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _run(self, *command: str, folder: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C"}
        return run(command, _SECONDS, folder or self._folder, environment)


def compare(offers: Sequence[Offer], pins: Mapping[str, Pin]) -> list[str]:
    """Names and versions of what is not as pinned, which the caller tells the user.

    Raises:
        RuntimeUnavailableError: a file of the pinned version has another hash than the pinned one.
    """
    moved = []
    for offer in offers:
        pin = pins.get(offer.package)
        if pin is None or pin.version != offer.version:
            moved.append(f"{offer.package} {offer.version}")
        elif pin.sha256 != offer.sha256:
            raise RuntimeUnavailableError(
                f"{offer.file}: this machine's package source offers another file than Debian's (its SHA-256 differs "
                f"from the pinned one); nothing was installed"
            )
    return moved


def is_file(path: Path, sha256: str) -> bool:
    """Whether it is there and has this hash."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
