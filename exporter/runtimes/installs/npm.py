"""ONNX Runtime Web from npm.

The two packages that its entry for Node.js loads are fetched as archives, compared with their pinned hashes, and the
few files that are needed taken out (15 of 140 MB). So no package's script is run, and none of its other dependencies is
fetched.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError
from exporter.runtimes.folders import installation
from exporter.runtimes.installs.pip import run
from exporter.runtimes.installs.table import Install, Step
from exporter.runtimes.onnxruntime_web import VERSION_FILE

VERSION: Final = "1.30.0"
_SECONDS: Final = 900.0

# As npm itself writes them: base64 of SHA-512.
_PACKAGES: Final = {
    "onnxruntime-common": "7fdVWjAID1dVhH/G8qK3APARunV4VkBFoCQAP7qp4Wkab0mrorvmc+sqiT+mKXOzDqdjN5j+/Z9nb4gzNPWcyA==",
    "onnxruntime-web": "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
}
_WANTED: Final = {
    "onnxruntime-common": ("package.json", "dist/esm/*"),
    "onnxruntime-web": (
        "package.json",
        "dist/ort.node.min.mjs",
        "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
    ),
}


def install(row: Install, on_step: Step) -> None:
    """Put it under the user's cache.

    Raises:
        RuntimeUnavailableError: npm is not there, a download failed or is not what it should be.
        OutputError: the folder cannot be written.
    """
    if shutil.which("npm") is None:
        raise RuntimeUnavailableError(
            f"{row.name} is fetched with npm, which is not on the PATH; install Node.js with npm"
        )
    with installation(row.name) as folder:
        for package, digest in _PACKAGES.items():
            archive = folder / f"{package}-{VERSION}.tgz"
            if not (archive.is_file() and _sha512(archive) == digest):
                on_step(f"npm pack {package}@{VERSION}")
                run(["npm", "pack", "--silent", f"{package}@{VERSION}"], _SECONDS, folder)
            if _sha512(archive) != digest:
                archive.unlink()
                raise RuntimeUnavailableError(
                    f"{archive.name}: is not the file that was pinned (its SHA-512 differs); nothing was installed"
                )
            _unpack(archive, folder / "node_modules" / package, _WANTED[package])
        for archive in folder.glob("*.tgz"):
            archive.unlink()
        (folder / VERSION_FILE).write_text(VERSION + "\n", encoding="utf-8")


def _unpack(archive: Path, target: Path, wanted: tuple[str, ...]) -> None:
    with tarfile.open(archive) as packed:
        for member in packed:
            name = member.name.removeprefix("package/")
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted) and not name.endswith(".map"):
                member.name = name
                packed.extract(member, target, filter="data")


def _sha512(path: Path) -> str:
    with path.open("rb") as stream:
        return base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
