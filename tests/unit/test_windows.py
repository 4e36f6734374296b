"""Bytecode as Keras stored it on Windows, with 0x2f in the place of each byte 0x5c: mended rightly, or refused."""

from __future__ import annotations

import base64
import json
import marshal
import struct
import types
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

from converters.lambdas.code_object import BytecodeError
from converters.lambdas.marshal import decode_text
from converters.lambdas.symbolic import decode, to_source
from converters.lambdas.windows import MENDED, decode_stored
from exporter import rescue
from exporter.cli import cbam

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "bytecode.json").read_text(encoding="utf-8"))
VERSIONS = {
    version: json.loads(zlib.decompress(base64.b64decode(packed))) for version, packed in FIXTURE["versions"].items()
}
WINDOWS = r"C:\Users\me\net.py"


def _dumped(source: str, path: str = WINDOWS) -> bytes:
    code = next(each for each in compile(source, path, "exec").co_consts if isinstance(each, types.CodeType))
    return marshal.dumps(code)


def _stored(source: str, path: str = WINDOWS) -> bytes:
    return _dumped(source, path).replace(b"\\", b"/")


def _text(data: bytes) -> str:
    return to_source(decode_stored(data)[0].function)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_body_is_mended_rightly_or_refused(version: str) -> None:
    damaged = mended = refused = 0
    for text in VERSIONS[version].values():
        data = decode_text(text)
        stored = data.replace(b"\\", b"/")
        try:
            expected = to_source(decode(data).function)
        except BytecodeError:
            with pytest.raises(BytecodeError):
                decode_stored(stored)
            continue
        damaged += stored != data
        try:
            decoded, assumptions = decode_stored(stored)
        except BytecodeError:
            refused += 1
            continue
        mended += stored != data
        assert to_source(decoded.function) == expected
        assert assumptions in ((), (MENDED,))
    assert damaged == mended + refused >= 3, "what was not damaged was refused"
    assert mended >= refused


@pytest.mark.parametrize(
    "source",
    [
        "lambda x: K.max(x, axis=3, keepdims=True)",
        "lambda x: (lambda a, b: a - b)(*x)",
        "def f(x):\n  a, b = x\n  return K.abs(a - b)",
        "def f(x):\n  (a, b), c = x\n  return [a + b, c + 1, [a, b, c]]",
        "def f(x):\n  mean, spread = x\n  return mean * 0.1 + spread / 255.0",
    ],
)
@pytest.mark.parametrize("path", [WINDOWS, "\\" * 91 + "f", "C:" + "\\a" * 45, "C:" + "\\a" * 100])
def test_sizes_and_instructions_are_mended(source: str, path: str) -> None:
    assert _text(_stored(source, path)) == _text(_dumped(source, "/home/me/net.py"))


def test_the_length_of_the_code_and_the_line_do_not_matter() -> None:
    for count in range(1, 20):
        body = " + ".join(["x"] * count)
        source = "\n" * 91 + f"def f(x):\n  a, b = x\n  return {body}"
        assert _text(_stored(source)) == _text(_dumped(source, "/net.py"))


def test_a_number_that_can_have_been_another_is_refused() -> None:
    for path in (WINDOWS, "<ipython-input-3-0f>"):
        for number in (92, 47):
            with pytest.raises(BytecodeError, match=r"lambda x: x \+ 47, and may have been lambda x: x \+ 92"):
                decode_stored(_stored(f"lambda x: x + {number}", path))
        with pytest.raises(BytecodeError, match="may have been"):
            decode_stored(_stored("lambda x: K.reshape(x, (2, 47, 2))", path))
        with pytest.raises(BytecodeError, match="perhaps on Windows" if path[0] == "<" else "written on Windows"):
            decode_stored(_stored("lambda x: x.call(name='a/b')", path))
    assert _text(_stored("lambda x: x + 47", "/home/me/net.py")) == "lambda x: x + 47"
    assert _text(_dumped("lambda x: x + 92")) == "lambda x: x + 92"
    assert _text(_dumped("lambda x: x + 47")) == "lambda x: x + 47", "a file name with backslashes was not changed"


def test_a_decimal_that_somebody_wrote_is_told_from_one_that_nobody_did() -> None:
    told = refused = 0
    for number in (each / 1000 for each in range(1, 4000)):
        packed = struct.pack("<d", number)
        if b"/" in packed and b"\\" not in packed:
            assert _text(_stored(f"lambda x: x * {number}")) == f"lambda x: x * {number}"
            told += 1
        if b"\\" in packed:  # what is stored is a number, of many digits, and what stands is never changed
            with pytest.raises(BytecodeError, match=f"may have been lambda x: x \\* {number}$"):
                decode_stored(_stored(f"lambda x: x * {number}"))
            refused += 1
        if told > 40 and refused > 40:
            return
    raise AssertionError((told, refused))


def decodes(data: bytes) -> bool:
    try:
        decode(data)
    except BytecodeError:
        return False
    return True


def test_bytecode_that_is_not_understood_is_refused_for_its_own_reason() -> None:
    for path in (WINDOWS, "net.py", "/net.py"):
        with pytest.raises(BytecodeError, match="a class"):
            decode_stored(_stored("def f(x):\n  class A: pass\n  return A", path))
    damaged = _stored("lambda x: x + 1", "net/py")[:-3]
    with pytest.raises(BytecodeError, match="damaged bytecode"):
        decode_stored(damaged)


def test_a_hostile_function_does_not_take_long() -> None:
    many = ", ".join(str(0x2F2F0000 + each) for each in range(500))
    with pytest.raises(BytecodeError, match="in more ways than can be tried"):
        decode_stored(_stored(f"lambda x: [{many}]"))


def _file(source: str, target: Path) -> None:
    function = next(each for each in compile(source, WINDOWS, "exec").co_consts if isinstance(each, types.CodeType))
    inputs = [keras.Input((4,)), keras.Input((4,))]
    odd = layers.Lambda(types.FunctionType(function.replace(co_name="<lambda>"), {}), output_shape=(4,), name="odd")
    keras.Model(inputs, odd(inputs)).save(target)
    with zipfile.ZipFile(target) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    stored: dict[str, Any] = config["config"]["layers"][2]["config"]["function"]["config"]
    stored["code"] = base64.b64encode(base64.b64decode(stored["code"]).replace(b"\\", b"/")).decode()
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_the_command_mends_it_and_says_so(tmp_path: Path) -> None:
    _file("def f(x):\n  a, b = x\n  return a - b * 2", tmp_path / "old.keras")
    made = rescue(tmp_path / "old.keras")
    one, two = np.ones((2, 4), "float32"), np.full((2, 4), 3, "float32")
    np.testing.assert_array_equal(np.asarray(made.model([one, two])), one - two * 2)
    assert made.replaced[0].assumptions == ((MENDED,) if not decodes_plain(tmp_path / "old.keras") else ())
    _file("def f(x):\n  return x[0] - 92 * x[1]", tmp_path / "doubtful.keras")
    ran = CliRunner().invoke(
        cbam, ["rescue", str(tmp_path / "doubtful.keras"), "-o", str(tmp_path / "n.keras"), "--json"]
    )
    assert ran.exit_code == 2
    reason = json.loads(ran.stdout)["refused"][0]["reason"]
    assert "reads as lambda x: x[0] - 47 * x[1], and may have been lambda x: x[0] - 92 * x[1]" in reason
    given = {"odd": "lambda x: x[0] - 92 * x[1]"}
    again = rescue(tmp_path / "doubtful.keras", functions=given)
    np.testing.assert_array_equal(np.asarray(again.model([one, two])), one - 92 * two)


def decodes_plain(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    return decodes(base64.b64decode(config["config"]["layers"][2]["config"]["function"]["config"]["code"]))
