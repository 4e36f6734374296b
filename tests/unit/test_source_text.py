"""`--function NAME=...`: what people have as source text is read, never run, and computes what Python would."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers, ops

from converters.errors import OptionError
from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue
from exporter.cli import cbam

UTILS = '''"""Helpers of the author's."""
import os
import math
import numpy as np
import tensorflow as tf
import matplotlib.pyplot as plt
from tensorflow.keras import backend as B
from keras.backend import epsilon as tiny
from mylib import special

MARGIN = 0.5
WEIGHTS = (1.0, 0.25)
PATH = os.path.join("a", "b")

class Trainer:
    pass

@tf.function
def norm(v, axis: int = -1):
    return B.sqrt(B.maximum(B.sum(B.square(v), axis=axis, keepdims=True), tiny()))

def distance(tensors: list, scale=2.0) -> "tensor":
    """The distance of two."""
    first, second = tensors
    return norm(first - second) * scale + MARGIN

def slices(x):
    out = []
    for index, weight in enumerate(WEIGHTS):
        if index == 1:
            part = x[:, 2:] * weight
        else:
            part = x[:, :2] + math.pi
        out.append(part)
    return tf.concat(out, axis=1)

def plotted(x):
    plt.show()
    return x

def special_case(x):
    return special(x)

def pathed(x):
    return x if PATH else -x

if __name__ == "__main__":
    plt.show()
'''


def _saved(function: Any, folder: Path, *sizes: int, **more: Any) -> tuple[keras.Model, list[np.ndarray], Path]:
    tensors = [keras.Input((size,), name=f"in{index}") for index, size in enumerate(sizes)]
    inputs = tensors if len(tensors) > 1 else tensors[0]
    model = keras.Model(inputs, layers.Lambda(function, name="odd", **more)(inputs))
    model.save(folder / "old.keras")
    random = np.random.default_rng(1)
    return model, [random.normal(size=(3, size)).astype("float32") for size in sizes], folder / "old.keras"


def named(tensor: Any) -> Any:
    return tensor


def distance(tensors: Any, scale: float = 2.0) -> Any:
    first, second = tensors
    root = ops.sqrt(ops.maximum(ops.sum(ops.square(first - second), axis=-1, keepdims=True), 1e-7))
    return root * scale + 0.5


def slices(tensor: Any) -> Any:
    return ops.concatenate([tensor[:, :2] + math.pi, tensor[:, 2:] * 0.25], axis=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    _, (values,), path = _saved(named, tmp_path_factory.mktemp("old"), 4, output_shape=(4,))
    return values, path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lambda t: K.concatenate([t * w for w in (1.0, 2.0, 3.0)])", lambda v: np.hstack([v, v * 2, v * 3])),
        ("lambda t: sum(t[:, i] * i for i in range(4) if i % 2)", lambda v: v[:, 1] + 3 * v[:, 3]),
        ("lambda t: tuple(t + i for i in range(2))[1] * {k: 2 for k in 'b'}['b']", lambda v: (v + 1) * 2),
        ("lambda t: (lambda a, b=3: a * b)(t) if K.ndim(t) == 2 else t", lambda v: v * 3),
        ("lambda t, k=2, *, j=1: t * k + j", lambda v: v * 2 + 1),
        ("def f(t):\n    a = 0\n    for i in range(1, 3):\n        a += t * i\n    return a", lambda v: v * 3),
        ("    def f(t):\n        import numpy as jnp\n        return t + jnp.pi\n", lambda v: v + np.pi),
        ("def f(t):\n    if K.ndim(t) > 2:\n        raise ValueError\n    return {'a': t}['a'] - 1", lambda v: v - 1),
        ("def f(t):\n    def g(u):\n        return u * 2\n    return g(g(t))", lambda v: v * 4),
        ("f = lambda t: t ** 2", lambda v: v**2),
        ("def helper(t):\n    return t + 1\n\ndef named(t):\n    return helper(t) * 2", lambda v: (v + 1) * 2),
        ("from numpy import e\ndef f(t): return layers.add([t, t]) * e", lambda v: v * 2 * np.e),
        ("max = lambda t: t * 5", lambda v: v * 5),
        ("import tensorflow.keras.backend as Q\ndef named(t): return Q.abs(t)\ndef f(t): return unknown(t)", np.abs),
    ],
)  # fmt: skip
def test_text_computes_what_python_would(text: str, expected: Any, file: tuple[np.ndarray, Path]) -> None:
    values, path = file
    made = rescue(path, functions={"named": text})
    np.testing.assert_allclose(np.asarray(made.model(values)), expected(values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(t):\n    while True:\n        t = t + 1\n    return t", "a loop"),
        ("def f(t):\n    with open('x') as f:\n        return t", "With"),
        ("def f(t):\n    try:\n        return t\n    finally:\n        pass", "Try"),
        ("def f(t):\n    global G\n    G = 1\n    return t", "Global"),
        ("def f(t):\n    class A: pass\n    return t", "ClassDef"),
        ("async def f(t):\n    return t", "line 1"),
        ("lambda t: [x async for x in t]", "not Python|comprehension"),
        ("lambda t: (t := t + 1)", "NamedExpr"),
        ("lambda t: t * dict((a, 2) for a in 'b')['b']", "generator"),
        ("print(1)", "is no function"),
        ("import os\nos.system('true')", "line 2 .*os.system"),
        ("def f(t): return t\ndef g(t): return t", "defines f, g; name the one that is meant"),
        ("def f(t): return t\ndef f(t): return t + 1", "defines f again"),
        ("@cached\ndef f(t): return t", "decorator cached"),
        ("def f(t, k=K.epsilon()): return t * k", "default k=K.epsilon"),
        ("def f(t):\n    @g\n    def h(u): return u\n    return h(t)", "decorator"),
        ("from os import system as relu\ndef f(t): return relu('true')", "uses relu, what from os import system"),
        ("from keras import *\nX = 1", "is no function"),
        ("def f(t):\n    return " + "(" * 90 + "t" + ")" * 90 + "[0]" * 99, "deeper|nested"),
        ("", "is no function"),
    ],
)
def test_other_text_is_refused(text: str, said: str, file: tuple[np.ndarray, Path]) -> None:
    with pytest.raises(OptionError, match=said):
        rescue(file[1], functions={"odd": text})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import numpy as np\ndef f(t): return np.load('x')", "np.load"),
        ("from numpy import load\ndef f(t): return load('x')", "np.load"),
        ("from tensorflow.io import write_file\ndef f(t): return write_file('x', t)", "tf.io"),
        ("from tensorflow import py_function as relu\ndef f(t): return relu(t)", "py_function"),
        ("from keras.utils import get_file\ndef f(t): return get_file('x', 'file:///etc/passwd')", "keras.utils"),
        ("def f(t): return f(t)", "deep"),
        ("def f(t): return t.__class__.__base__", "__class__"),
    ],
)
def test_imports_reach_nothing_that_is_not_on_the_list(text: str, said: str, file: tuple[np.ndarray, Path]) -> None:
    with pytest.raises(LambdaRefusedError, match=said):
        rescue(file[1], functions={"odd": text})


def test_a_file_of_functions_gives_each_lambda_its_own(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text(UTILS, encoding="utf-8")
    for function, sizes in ((distance, (4, 4)), (slices, (4,))):
        model, values, path = _saved(function, tmp_path, *sizes, output_shape=(1,) if len(sizes) > 1 else (4,))
        target = tmp_path / f"{function.__name__}.keras"
        given = f"{function.__name__}=@{tmp_path / 'utils.py'}"
        ran = CliRunner().invoke(cbam, ["rescue", str(path), "-o", str(target), "--function", given, "--json"])
        assert ran.exit_code == 0, ran.output
        inputs = values if len(values) > 1 else values[0]
        again = keras.models.load_model(target)
        np.testing.assert_allclose(np.asarray(again(inputs)), np.asarray(model(inputs)), rtol=1e-5, atol=1e-6)
        assert "K is" not in json.loads(ran.stdout)["replaced"][0]["assumptions"]
        made = rescue(path, functions={"odd": function})  # of Python's own, read and not called
        np.testing.assert_allclose(np.asarray(made.model(inputs)), np.asarray(model(inputs)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plotted", "uses plt, what import"),
        ("special_case", "uses special"),
        ("pathed", "uses PATH, a value"),
    ],
)
def test_what_a_file_does_not_tell_is_refused_only_where_it_is_used(name: str, said: str, tmp_path: Path) -> None:
    renamed = UTILS.replace(f"def {name}(", "def named(")
    _, _, path = _saved(named, tmp_path, 4, output_shape=(4,))
    with pytest.raises(OptionError, match=said):
        rescue(path, functions={"named": renamed})


def test_a_file_that_cannot_be_read_is_one_line(file: tuple[np.ndarray, Path], tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\xff")
    for name, said in (("missing.py", "No such file"), ("binary.py", "not UTF-8")):
        given = f"named=@{tmp_path / name}"
        ran = CliRunner().invoke(cbam, ["rescue", str(file[1]), "-o", str(tmp_path / "n.keras"), "--function", given])
        assert ran.exit_code == 2
        assert said in ran.stderr
