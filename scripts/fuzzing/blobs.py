"""Real bytecode of every CPython from 2.7 on, and what damage makes of it."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import zlib
from pathlib import Path
from typing import Final

from fuzzing.case import Draw
from fuzzing.expressions import lambda_text
from fuzzing.templates import code_of

FIXTURES: Final = Path(__file__).resolve().parents[2] / "tests" / "fixtures"


@functools.cache
def blobs() -> tuple[bytes, ...]:
    """Bytecode of every CPython from 2.7 on."""
    stored = json.loads((FIXTURES / "bytecode.json").read_text(encoding="utf-8"))
    packed = [json.loads(zlib.decompress(base64.b64decode(each))) for each in stored["versions"].values()]
    return tuple(base64.b64decode(text) for texts in packed for text in texts.values() if len(text) < 2000)


_PIECES: Final = (
    b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"r\0\0\0\0", b"\x64\x00", b"(\x02\0\0\0", b"c", b"\xe3", b"[\x01\0\0\0N",
    b"{NN0", b">\x01\0\0\0N", b"l\x03\0\0\0\xff\x7f\xff\x7f\xff\x7f", b"g" + b"\xff" * 8, b"y" + bytes(16), b"S", b".",
    b"T", b"N", b")\x01" * 40 + b"N", b"u\x03\0\0\0a\0b", b"s\x00\x00\x00\x70", b"z\x05print", b"\x04\x00\x17\x00" * 60,
)  # fmt: skip


def blob(draw: Draw) -> str:
    """Bytecode as Keras stores it, damaged or made up."""
    kind = draw.randrange(8)
    if kind == 0:
        data = bytearray(draw.randrange(256) for _ in range(draw.randrange(200)))
    elif kind == 1:
        data = bytearray(base64.b64decode(code_of(lambda_text(draw))))
    else:
        data = bytearray(draw.choice(blobs()))
    for _ in range(draw.choice((0, 1, 1, 2, 4, 16))):
        if not data:
            break
        place = draw.randrange(len(data))
        what = draw.randrange(5)
        if what == 0:
            data[place] = draw.randrange(256)
        elif what == 1:
            data[place] ^= 1 << draw.randrange(8)
        elif what == 2:
            del data[place : place + draw.randrange(1, 5)]
        elif what == 3:
            data[place:place] = draw.choice(_PIECES)
        else:
            other = draw.choice(blobs())
            cut = draw.randrange(len(other))
            data[place:] = other[cut:]
    text = base64.b64encode(bytes(data)).decode()
    if draw.randrange(40) == 0:
        text = draw.choice(
            (text[:-1], text + "\n", "é" + text, text.replace("A", "\0"), binascii.hexlify(data).decode())
        )
    return text
