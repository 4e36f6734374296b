"""What the userland is made of: versions, and hashes of the files as they were tested (2026-11-22).

Debian replaces a version when it mends a fault in it, and keeps the old one nowhere near. A package of another version
than the one here is taken all the same, verified by Debian's own signed lists, and named to the user; a file of this
version with another hash never is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

RELEASE: Final = "trixie"
"""Debian 13, whatever the machine runs: its qemu is 10. Debian 12's, 7.2, computes SME wrongly."""

PYTHON: Final = "3.13"
EMULATOR: Final = "qemu-user"


@dataclasses.dataclass(frozen=True, slots=True)
class Pin:
    """One file of Debian's."""

    version: str
    sha256: str


PACKAGES: Final[Mapping[str, Pin]] = {
    "libbz2-1.0": Pin("1.0.8-6", "3537fe4fc577a60c8a9568873cd577db7ebc135eb8bb1825f18caf8972d9d2f2"),
    "libc6": Pin("2.41-12+deb13u4", "8784eda966b189c777a384dac5ce009e8fc9b52d006926c5a013e7fa8aa688cc"),
    "libcrypt1": Pin("1:4.4.38-1", "b9aaa808aa3812b3de3e54eb5dfb16762c1779db032604abef2354c02fdc29b8"),
    "libexpat1": Pin("2.8.3-1~deb13u1", "c3248c4beb721c8290e6e34527ae56b1fc965aa6a14982ca602df4458ef0854e"),
    "libffi8": Pin("3.4.8-2", "d84a783b818f2386627604e64b793eb4ac5bb9ea1ba321a194a1c9c82fe09a01"),
    "libgcc-s1": Pin("14.2.0-19", "1108bc87879833d6d9a145f22a4a15cddb34e065b4b5f4b97bee586adbac2851"),
    "liblzma5": Pin("5.8.1-1+deb13u1", "6a7b98005f84fc26d66a45e432f70d0793646a734f8c44cd1626b3ffa8edd7c6"),
    "libpython3.13-minimal": Pin(
        "3.13.5-2+deb13u5", "3655ef258b19142cf6fe38ef89731d5c630b2cf3309632494a720b28c1cfcd85"
    ),
    "libpython3.13-stdlib": Pin("3.13.5-2+deb13u5", "d1178d24e4d143cc6c577d9dc0f26dd982efccc2e600d25ce86361f168a22be0"),
    "libssl3t64": Pin("3.5.7-1~deb13u2", "ec131326aa9fa9ec934eca386bc7991f328fe383eaefd3e43bd8901a9199c5ae"),
    "libstdc++6": Pin("14.2.0-19", "6669b0c52a2e7c6af9adfdabce3ff6e286065cdfbc7b85280862b5f799daebee"),
    "libuuid1": Pin("2.41.5-0+deb13u1", "448ad6b190184dbff24508ef2eda88bd737a5ffc0f9750eb779fcf9885292bea"),
    "python3.13-minimal": Pin("3.13.5-2+deb13u5", "95237a3ad99bf9366308e16f7c79449c9371c4cff9c883772fb7c254652467eb"),
    "zlib1g": Pin("1:1.3.dfsg+really1.3.1-1+b1", "209aa5cf671e97b9eb0410844fa6df4cae2e75b0c72e7802ab6c8ece13e6ddef"),
}
"""Packages for arm64: what Python needs."""

EMULATORS: Final[Mapping[str, Pin]] = {
    "amd64": Pin("1:10.0.13+ds-0+deb13u1", "ca6ede739327a20ae5a3498230c8a3a9a072c586e131bc6bcc1201eb1725e336"),
}
"""qemu-user by the kind of machine it runs on; on others than these, Debian's signed lists alone vouch for it."""

PLATFORMS: Final = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")

WHEELS: Final[Mapping[str, Pin]] = {
    "ai-edge-litert": Pin("2.3.0", "2ab71e4f5dfa65b3882634b42755f455f3e7415630d720200bd792733e15e257"),
    "backports-strenum": Pin("1.2.8", "fc297cb26971f7d5e15a478a06a78575197f81daea47975771b1aae996dcccf4"),
    "flatbuffers": Pin("25.12.19", "7634f50c427838bb021c2d66a3d1168e9d199b0607e6329399f04846d42e20b4"),
    "ml-dtypes": Pin("0.6.0", "28d676428b104bb9717b0928bc5c5129f2d6b51b6727587cc4289e7bf8713cb5"),
    "numpy": Pin("2.5.5", "ae2b8285d0b4eed24739c3ca9ec0fa424a0247489c01e1d5fe2815a599e11d33"),
    "onnxruntime": Pin("1.32.0", "54d02baff2df38777b4c3cc7af326406fe8b8a48f54720f4c446d2d327920a79"),
    "packaging": Pin("26.3", "d7193f7c8e4e93f444fde0262bf90af30e16fa0ad0ad44cb553c87339b23cd1c"),
    "protobuf": Pin("7.36.2", "e11e1f0180583a2af89db6a2ecd9e8dc40aa6d2988ca175bfd0e6d12ea72d74e"),
    "tqdm": Pin("4.70.1", "c293e525e6fef9c20e8728fd4612df02a0aa31bb5fe91ecd93e123b1b7bffa73"),
    "typing-extensions": Pin("4.16.0", "481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8"),
}
"""Python packages for CPython 3.13 on aarch64."""
