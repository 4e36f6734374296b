"""Makes the ARM64 userland: Debian's packages unpacked, wheels for aarch64, a static emulator. No root, one folder."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.arm64 import pins, selftest
from exporter.runtimes.arm64.apt import Apt, Offer, compare
from exporter.runtimes.arm64.userland import NAME, ONE_CORE, Userland
from exporter.runtimes.folders import installation
from exporter.runtimes.installs.pip import pip, run
from exporter.runtimes.installs.table import Install, Step

_UNPACK_SECONDS: Final = 300.0
_NOT_NEEDED: Final = (
    "usr/share",
    "etc",
    "usr/lib/systemd",
)  # documentation, settings of a system that is never started


def install(row: Install, on_step: Step) -> None:
    """Download, unpack and try it; it appears under its name only when its self-test has passed.

    Raises:
        RuntimeUnavailableError: not a Debian machine, or a download failed or is not what it should be.
        ConversionError: the self-test found that it computes wrongly.
        OutputError: the folder cannot be written.
    """
    host = _host()
    with installation(NAME) as folder:
        downloads = folder / "downloads"
        downloads.mkdir(exist_ok=True)
        offers = _packages(folder, host, downloads, on_step)
        _wheels(downloads, on_step)
        on_step("unpacking")
        _unpack(offers, downloads, folder)
        versions = {offer.package: offer.short_version for offer in offers}
        versions |= {name: pin.version for name, pin in pins.WHEELS.items()}
        made = Userland(folder, pins.PYTHON, versions)
        selftest.check(made, on_step)
        for name in ("downloads", "apt"):
            shutil.rmtree(folder / name)
        made.write_manifest()


def _host() -> str:
    """Debian's name of this machine's kind."""
    missing = [program for program in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(program) is None]
    if missing:
        raise RuntimeUnavailableError(
            f"{missing[0]} is not on the PATH; the ARM64 userland is made on a Debian machine"
        )
    host = run(["dpkg", "--print-architecture"], 20).strip()
    if host == "arm64":
        raise RuntimeUnavailableError(
            "this machine is ARM64 itself: the runtimes litert and onnxruntime use its kernels"
        )
    return host


def _packages(folder: Path, host: str, downloads: Path, on_step: Step) -> list[Offer]:
    on_step(f"reading the package lists of Debian {pins.RELEASE}")
    apt = Apt(folder / "apt", pins.RELEASE, host)
    inside, emulator = apt.offers(pins.PACKAGES), apt.offers([f"{pins.EMULATOR}:{host}"])
    pinned = {pins.EMULATOR: pins.EMULATORS[host]} if host in pins.EMULATORS else {}
    moved = compare(inside, pins.PACKAGES) + compare(emulator, pinned)
    if moved:
        on_step(f"not as pinned, taken by Debian's signed lists: {', '.join(moved)}")
    if {offer.package for offer in inside} != pins.PACKAGES.keys() or not emulator:
        missing = pins.PACKAGES.keys() - {offer.package for offer in inside} or {pins.EMULATOR}
        raise RuntimeUnavailableError(
            f"this machine's package source does not offer {', '.join(sorted(missing))} for arm64"
        )
    for offers, what in ((emulator, "qemu"), (inside, f"{len(inside)} packages for arm64")):
        on_step(f"downloading {what}, {sum(offer.size for offer in offers) / 1e6:.1f} MB")
        apt.download(offers, downloads)
    return [*inside, *emulator]


def _wheels(downloads: Path, on_step: Step) -> None:
    requirements = downloads / "requirements.txt"
    lines = [f"{name}=={pin.version} --hash=sha256:{pin.sha256}" for name, pin in pins.WHEELS.items()]
    requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pip(
        [
            "download",
            *("--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *(part for platform in pins.PLATFORMS for part in ("--platform", platform)),
            *("--python-version", pins.PYTHON, "--implementation", "cp"),
            *("--dest", str(downloads), "--requirement", str(requirements)),
        ],
        lambda command: on_step(f"pip download of {len(lines)} wheels for aarch64"),
    )


def _unpack(offers: list[Offer], downloads: Path, folder: Path) -> None:
    root, site, spare = folder / "root", folder / "site", folder / "spare"
    for old in (root, site, spare):
        shutil.rmtree(old, ignore_errors=True)  # of a try that was cut short
        old.mkdir()
    for offer in offers:
        target = spare if offer.package == pins.EMULATOR else root
        run(["dpkg-deb", "--extract", str(downloads / offer.file), str(target)], _UNPACK_SECONDS)
    (spare / "usr" / "bin" / "qemu-aarch64").rename(folder / "qemu-aarch64")
    for name in _NOT_NEEDED:
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.rmtree(spare)
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")  # a whole system has this link; programs name their loader through it
    for name, text in ONE_CORE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    for wheel in sorted(downloads.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
