"""What a refusal tells: which function it was, how to give another, and on a terminal each reason once."""

from __future__ import annotations

import base64
import json
import marshal
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner
from keras import layers

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue
from exporter.cli import cbam


def _helper(x: Any, block_size: int, how: str) -> Any:
    return x


def _file(tmp_path: Path, *functions: Any, **more: Any) -> Path:
    inputs = keras.Input((4, 6))
    made = [
        layers.Lambda(function, output_shape=(4, 6), name=f"odd{index}", **more)(inputs)
        for index, function in enumerate(functions)
    ]
    keras.Model(inputs, made).save(tmp_path / "old.keras")
    return tmp_path / "old.keras"


def test_the_hint_names_what_the_layer_gives_the_function(tmp_path: Path) -> None:
    path = _file(tmp_path, _helper, arguments={"block_size": 2, "how": "a"})
    with pytest.raises(LambdaRefusedError, match=r"--function _helper='lambda t, block_size, how: \.\.\.', or with"):
        rescue(path)
    path = _file(tmp_path, lambda x, scale: unknown(x) * scale, arguments={"scale": 3})  # type: ignore[name-defined]  # noqa: F821
    with pytest.raises(LambdaRefusedError, match=r"'unknown', .*; --function odd0='lambda t, scale: \.\.\.' would get"):
        rescue(path)
    assert rescue(path, functions={"odd0": "lambda t, scale: t * scale"}).replaced[0].became == "ops.multiply(t, 3)"


def test_a_terminal_shows_each_reason_once_and_long_functions_cut(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = _file(tmp_path, lambda x: nowhere_known(x), lambda x: another_name(x))  # type: ignore[name-defined]  # noqa: F821
    ran = CliRunner().invoke(cbam, ["rescue", str(path), "-o", str(tmp_path / "new.keras")])
    assert ran.exit_code == 2
    shown = capfd.readouterr().err
    assert shown.count("'nowhere_known'") == shown.count("'another_name'") == 1
    last = shown.strip().splitlines()[-1]
    assert last.endswith(
        "2 of its Lambda layers cannot be replaced, for the reasons above: 'odd0', 'odd1'; "
        "--function LAYER='lambda t: ...' says what such a layer computes"
    )
    CliRunner().invoke(cbam, ["rescue", str(path), "-o", str(tmp_path / "new.keras"), "-q"])
    assert "'nowhere_known'" in capfd.readouterr().err

    path = _file(tmp_path, lambda x: x)
    text = "def f(x):\n" + "    x = tf.tanh(tf.sin(x) + 1.25) * tf.cos(x) - tf.exp(x * 0.125)\n" * 4 + "    return x"
    target = tmp_path / "new.keras"
    ran = CliRunner().invoke(cbam, ["rescue", str(path), "-o", str(target), "--function", f"odd0={text}"])
    assert ran.exit_code == 0
    shown = capfd.readouterr().err
    assert max(map(len, shown.splitlines())) <= 120
    assert "characters; --json has all)" in shown
    assert len(shown.splitlines()) < 20


def op_dispatch_handler(*args: Any, **kwargs: Any) -> Any:
    return target(*args, **kwargs)  # type: ignore[name-defined]  # noqa: F821


def l2_normalize(x: Any) -> Any:
    return not_a_table_row(x)  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (op_dispatch_handler, "; a library's function of keras.backend was given to the layer itself, and the file"),
        (l2_normalize, "the name 'not_a_table_row', .*; it is the function 'l2_normalize' of keras.backend"),
    ],
)
def test_a_function_of_the_library_itself_is_said_to_be_one(function: Any, said: str, tmp_path: Path) -> None:
    """As files of Keras 2 hold `Lambda(K.l2_normalize)`: its bytecode, or that of the wrapper around it."""
    inputs = keras.Input((4, 6))
    keras.Model(inputs, layers.Lambda(lambda x: x, name="odd")(inputs)).save(tmp_path / "old.keras")
    with zipfile.ZipFile(tmp_path / "old.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = next(each for each in config["config"]["layers"] if each["class_name"] == "Lambda")
    code = base64.b64encode(marshal.dumps(function.__code__)).decode("ascii")
    layer["config"]["function"]["config"]["code"] = code
    layer["config"]["module"] = "keras.backend"
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(LambdaRefusedError, match=said):
        rescue(tmp_path / "odd.keras")
