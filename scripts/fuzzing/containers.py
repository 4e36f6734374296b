"""Whole files: zip archives made to harm, configs that are no config, pickles and other files under our names."""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import h5py

from fuzzing.case import Case, Config, Draw
from fuzzing.junk import NAMES, junk
from fuzzing.templates import Templates

WEIGHTS: Final = "model.weights.h5"
_OUTSIDE: Final = (
    "../../evil",
    "/etc/evil",
    "C:\\evil",
    "assets\\..\\..\\evil",
    "..",
    "./../evil",
    "a/../../evil",
    "//x",
)
# `os.system('id')` in the pickle protocols 0, 2 and 4.
PICKLES: Final = (
    b"cos\nsystem\n(S'id'\ntR.",
    b"\x80\x02cposix\nsystem\nq\0X\2\0\0\0idq\1\x85q\2Rq\3.",
    b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\5posix\x94\x8c\6system\x94\x93\x94\x8c\2id\x94\x85\x94R\x94.",
)


def with_config(path: Path, config: Config) -> bytes:
    """A model file with another config."""
    if path.suffix == ".h5":
        buffer = io.BytesIO(path.read_bytes())
        with h5py.File(buffer, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        return buffer.getvalue()
    return packed({**members(path), "config.json": json.dumps(config).encode()})


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def damage(draw: Draw, content: bytes, pieces: tuple[bytes, ...] = (b"\xff" * 4, bytes(4), b"PK\1\2")) -> bytes:
    """Some bytes exchanged, dropped, added or cut off, mostly where a file keeps what describes it."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 30))):
        if not data:
            break
        reach = draw.choice((128, 1024, len(data), len(data)))
        place = draw.randrange(min(reach, len(data)))
        place = place if draw.randrange(2) else len(data) - 1 - place
        what = draw.randrange(7)
        if what < 2:
            data[place] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        elif what == 2:
            data[place] ^= 1 << draw.randrange(8)
        elif what == 3:
            data[place : place + 8] = draw.choice((b"\xff" * 8, bytes(8), struct.pack("<q", draw.choice((1, 2**40)))))
        elif what == 4:
            del data[place : place + draw.choice((1, 8, 512))]
        elif what == 5:
            data[place:place] = draw.choice(pieces)
        elif draw.randrange(4) == 0:
            del data[place:]
    return bytes(data)


# --- zip archives --------------------------------------------------------------------------------------------------


@functools.cache
def _zeros(megabytes: int) -> tuple[int, bytes]:
    """Checksum and deflated form of that many zeros."""
    packer, crc, made = zlib.compressobj(9, zlib.DEFLATED, -15), 0, b""
    for _ in range(megabytes):
        made += packer.compress(bytes(1 << 20))
        crc = zlib.crc32(bytes(1 << 20), crc)
    return crc, made + packer.flush()


def _record(name: bytes, method: int, crc: int, sizes: tuple[int, int], at: int | None = None) -> bytes:
    """A local header, or with an offset the directory's record of it. sizes: packed and unpacked."""
    common = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 33, crc, *sizes, len(name), 0)
    if at is None:
        return b"PK\3\4" + common + name
    return b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, at) + name


def _bomb(draw: Draw, files: dict[str, bytes]) -> bytes:
    """A member of many zeros in few bytes, which may lie of its size, be there several times, or share its bytes."""
    megabytes = draw.choice((1, 65, 200, 257, 300))
    crc, content = _zeros(megabytes)
    target = draw.choice((WEIGHTS, "config.json", "metadata.json", "other"))
    said = draw.choice((megabytes << 20, megabytes << 20, 100, 0, 0xFFFFFFFF))
    body, directory = b"", b""
    entries = [(name, raw) for name, raw in files.items() if name != target] + [(target, None)]
    for name, raw in entries:
        stored = content if raw is None else raw
        given = (crc, (len(content), said), 8) if raw is None else (zlib.crc32(raw), (len(raw), len(raw)), 0)
        directory += _record(name.encode(), given[2], given[0], given[1], len(body))
        body += _record(name.encode(), given[2], given[0], given[1]) + stored
    again = draw.choice((0, 0, 1, 50))  # more records of one and the same bytes
    at = body.rindex(b"PK\3\4")
    for index in range(again):
        directory += _record(f"{target}{index}".encode(), 8, crc, (len(content), said), at)
    count = len(entries) + again
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)


def _with_members(draw: Draw, files: dict[str, bytes]) -> bytes:
    """Members with names that lead outside, twice, by the thousand, encrypted, as folders, as links."""
    buffer = io.BytesIO(packed(files))
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for _ in range(draw.choice((1, 1, 2, 11_000))):
            kind = draw.randrange(5)
            name = (
                draw.choice(_OUTSIDE)
                if kind < 2
                else draw.choice(("config.json", WEIGHTS, "CONFIG.JSON", "config.json/"))
            )
            if kind == 4:
                name = draw.choice(NAMES).encode("utf-8", "replace").decode()[:60000] + str(draw.random())
            info = zipfile.ZipInfo(name or "x")
            info.external_attr = draw.choice((0, 0, 0o120777 << 16, 0o040755 << 16))
            archive.writestr(info, draw.choice((b"{}", b"/etc/passwd", b"")))
        archive.comment = draw.choice((b"", b"PK\5\6" + bytes(18), b"x" * 65535))
    return buffer.getvalue()


def _fields(draw: Draw, files: dict[str, bytes]) -> bytes:
    """A field of a header that lies: flags, method, checksum, sizes, offsets, counts."""
    data = bytearray(packed(files, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))))
    for _ in range(draw.choice((1, 1, 2, 3))):
        mark, length = draw.choice(((b"PK\3\4", 30), (b"PK\1\2", 46), (b"PK\1\2", 46), (b"PK\5\6", 22)))
        starts = [index for index in range(len(data)) if data.startswith(mark, index)]
        at = draw.choice(starts) + draw.randrange(4, length) if starts else 0
        value = draw.choice((b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\1\0", b"\x63\0", b"\0\0\0\x10"))
        data[at : at + len(value)] = value
    return bytes(data)


def _swapped(draw: Draw, files: dict[str, bytes]) -> bytes:
    """A member dropped, or with content of another kind: a pickle, another member's, an archive in the archive."""
    files = dict(files)
    name = draw.choice(list(files))
    other = draw.choice(
        (None, b"", *PICKLES, files["config.json"], files[WEIGHTS], packed(files), b"\x89HDF\r\n\x1a\n")
    )
    if other is None:
        del files[name]
    else:
        files[name] = other
    return packed(files, draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def of_zip(draw: Draw, templates: Templates) -> Case:
    """A zip archive made to harm, or a damaged one."""
    files = members(templates.folder / draw.choice(("bare.keras", "full.keras")))
    makers: tuple[Callable[[Draw, dict[str, bytes]], bytes], ...] = (_bomb, _with_members, _fields, _fields, _swapped)
    if draw.randrange(6) == 0:
        return Case(content=damage(draw, packed(files)))
    content = draw.choice(makers)(draw, files)
    if draw.randrange(8) == 0:
        content = draw.choice((b"junk", b"\x89HDF\r\n\x1a\n", b"PK\3\4" + bytes(30))) + content
    return Case(content=content, suffix=draw.choice((".keras", ".keras", ".h5", ".zip", "")))


# --- configs that are no config ------------------------------------------------------------------------------------


def of_text(draw: Draw, templates: Templates) -> Case:
    """Text in the place of a config's JSON: damaged, deep, wide, doubled keys, numbers that no number is."""
    config, weights, version = draw.choice(templates.configs)
    text = json.dumps(config)
    kind = draw.randrange(8)
    if kind < 2:
        cut = draw.randrange(len(text))
        text = draw.choice((text[:cut], text[:cut] + draw.choice('"{}[],:\\\0\n') + text[cut + 1 :], text[cut:]))
    elif kind == 2:
        depth = draw.choice((50, 190, 210, 990, 100_000))
        opening, closing = draw.choice(
            (("[", "]"), ('{"config":', "}"), ('{"class_name":"Sequential","config":[', "]}"))
        )
        text = opening * depth + draw.choice(("1", "", text)) + closing * draw.choice((depth, 0))
    elif kind == 3:
        many = draw.choice(("[]", "1", '{"a":1}', '"x"', "null")) + ","
        wide = many * draw.choice((1000, 100_000, 1_500_000))
        text = '{"class_name": "Sequential", "config": {"name": "s", "layers": [' + wide + "1]}}"
    elif kind == 4:
        number = draw.choice(
            ("NaN", "-Infinity", "1e999", "9" * 5000, "1" * 400, "-0", "0.1e-400", '"\\ud800"', '"\\u0000"')
        )
        text = text.replace(draw.choice(("6", "null", "true", "4", '"float32"')), number, draw.choice((1, 1000)))
    elif kind == 5:
        text = text.replace('"class_name"', '"class_name": "function", "class_name"', draw.choice((1, 1000)))
    elif kind == 6:
        text = json.dumps(junk(draw, 4))
    else:
        text = draw.choice(("", " ", "null", "[]", '"x"', "\ufeff" + text, text + "x", "\0" + text, "y" * 10**6))
    return Case({}, weights, version, text)


# --- other files ---------------------------------------------------------------------------------------------------


@functools.cache
def _others() -> tuple[bytes, ...]:
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../evil"))
    torch = packed({"archive/data.pkl": PICKLES[1], "archive/version": b"3\n"})
    arrays = b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(127) + b"\n" + PICKLES[2]
    return (
        *PICKLES, torch, arrays, packed({"arr_0.npy": arrays}), tape.getvalue(), b"", b"\0", b"\x80", b"PK", b"PK\3\4",
        b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(2000), b"\x89HDF\r\n\x1a\n" + b"\xff" * 2000,
        b"\x1c\0\0\0TFL3" + bytes(40), b"\x08\x0a\x12\x07tf2onnx" + bytes(40), b"\x08\x01\x12\xff" + bytes(40),
        b"\x7fELF\2\1\1" + bytes(200), b"#!/bin/sh\ntouch canary\n", b"\x89PNG\r\n\x1a\n" + bytes(50), b"[" * 10**6,
        b'{"class_name": "Sequential", "config": {}}', b"<!DOCTYPE html><html>404</html>", bytes(range(256)) * 50,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Größe\n".encode() * 900, b"import os\n",
    )  # fmt: skip


def of_other(draw: Draw, templates: Templates) -> Case:
    """A file of another format, or of none, under a name of ours."""
    content: Any = draw.choice(_others())
    if draw.randrange(3) == 0:
        content = damage(draw, content)
    if draw.randrange(8) == 0:
        content = random.Random(draw.randrange(2**32)).randbytes(draw.choice((10, 5000)))
    return Case(content=content, suffix=draw.choice((".keras", ".h5", ".hdf5", ".pkl", ".pt", "", ".weights.h5")))
