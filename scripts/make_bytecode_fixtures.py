"""Write tests/fixtures/bytecode.json: real bytecode of the functions people put in Lambda layers, by each interpreter.

    python scripts/make_bytecode_fixtures.py python2.7 python3.6 python3.7 ... python3.13

A body is (source, what decoding it must give, up to how conditions are nested). Bodies that a version cannot compile
(`@` in 2.7) are left out for it. The file holds
{"sources": [[source, expected], ...], "versions": {"3.8": packed}}, packed being {index: base64 of the marshalled code}
as JSON, compressed, in base64.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "bytecode.json"

LAMBDAS = """
x: x
x: K.max(x, axis=3, keepdims=True)
x: K.mean(x, axis=[1, 2], keepdims=True)
x: tf.reduce_sum(x, -1)
x: tf.reduce_max(tf.abs(x), axis=(1, 2), keepdims=False, name='peak')
x: K.sqrt(K.sum(K.square(x[0] - x[1]), axis=1, keepdims=True))
x: x / 255.0
x: x / 127.5 - 1.0
x: x * 2 + 1
x: 2 ** x % 3 // 4
x: (x + 1) * (x - 1) / -x
x: ~x & 1 | x ^ 3
x: x << 2 >> 1
x: +x
x: x @ y
x: -K.log(1e-07 + x)
x: x > 0.5
x: x <= 1
x: x != y
x: x is None
x: x is not None
x: 'a' in x
x: x not in (1, 2)
x: not x
x: x[0]
x: x[-1]
x: x[:]
x: x[1:]
x: x[:-1]
x: x[1:3]
x: x[::2]
x: x[::-1]
x: x[1:9:2]
x: x[:, 0]
x: x[:, 1:, :-1, ::2]
x: x[..., 0]
x: x[..., None]
x: x[:, tf.newaxis, :, n:n + 1]
x: x[0, 1]
x: x[None]
x: [x[:, :2], x[:, 2:]]
x: (x, x + 1)
x: {'a': x, 'b': 2}
x: tf.nn.relu(x)
x: keras.backend.relu(x, alpha=0.1, max_value=6.0)
x: K.permute_dimensions(x, (0, 3, 1, 2))
x: K.reshape(x, (-1, 28, 28, 1))
x: tf.reshape(x, [tf.shape(x)[0], -1, K.int_shape(x)[3]])
x: tf.image.resize(x, size=(64, 64), method='bilinear')
x: tf.image.resize_bilinear(x, [64, 64], align_corners=True)
x: x.get_shape().as_list()[1:]
x: x.reshape((2, -1)).transpose()
x: K.stack([x, x], axis=-1)
x: K.concatenate([x[0], x[1]], axis=3)
x: f(x, *args)
x: f(1, *args, key=2)
x: f(x)(x)
x: f()
x: (1, 'two', 3.0, None, True, False, ..., -1, -2.5, (3, (4,)), b'raw')
x: [1, 2, 3, 4, 5]
x: (1, 2, x)
x: 123456789012345678901234567890
x: -98765432109876543210
x: 1e+300 * 2.5e-320
x: 3j * x
x: K.cast(x, 'float32')
x, y: x + y
x, mask=None: x * 2
x, axis=1, scale=2.0: K.sum(x, axis=axis) * scale
*args: args[0]
x, **kwargs: kwargs
x: x if flag else -x
x: K.max(x, axis=1 if K.image_data_format() == 'channels_first' else 3)
x: a if x and y else b
x: a if x or y else b
x: a if x and y or z else b
x: x and y
x: x or y or z
x: x and (y or z)
x: (lambda t: t * 2)(x)
x: K.map_fn(lambda t: t * x, x)
x: tf.map_fn(lambda t, s=3: tf.scan(lambda u: u + t + s + x, t), x)
x: (lambda a: lambda b: a + b)(x)(x)
x: tf.cond(x > 0, lambda: x, lambda: -x)
x: 1 if x is None else 2
x: 1 if x is not None else 2
x: {1, 2, x}
x: f(a=1, b=2, c=3, d=x)
x: x.f(1, 2).g(k=3).h[0].i
x: tf.concat([x, *y, z], 0)
x: (x, *y)
x: f(*x)
x: K.softmax(x - K.max(x, axis=-1, keepdims=True)) + K.epsilon() * 0.5
x: 2 * x[0][1][2] ** 2 ** 3
x: True
x: None
x: ~x
"""

DEFS = (
    ("f = lambda x: f(*(1, 2), **{'a': 3})", "lambda x: f(1, 2, a=3)"),
    ("f = lambda x: f(**{'a': x, 'b': 1})", "lambda x: f(a=x, b=1)"),
    ("f = lambda x: u'\u5377\u7a4d \u00e9'", "lambda x: '\u5377\u7a4d \u00e9'"),
    ("f = lambda x: a < x < b", "lambda x: a < x and x < b"),
    ("def f(x):\n  y = x * 2\n  return y", "lambda x: x * 2"),
    ("def f(x):\n  y = x * 2\n  y = y + 1\n  z = y - x\n  return z / y", "lambda x: (x * 2 + 1 - x) / (x * 2 + 1)"),
    ("def f(x):\n  a, b = x\n  return a - b", "lambda x: x[0] - x[1]"),
    ("def f(x):\n  (a, b), c = x\n  return a + b + c", "lambda x: x[0][0] + x[0][1] + x[1]"),
    ("def f(x):\n  a, b = x[0], x[1]\n  return a - b", "lambda x: x[0] - x[1]"),
    ("def f(x):\n  a, b, c = x[0], x[1], x[2]\n  return a - b * c", "lambda x: x[0] - x[1] * x[2]"),
    ("def f(x):\n  a, b = 1, 2\n  a, b = b, a\n  return x * a + b", "lambda x: x * 2 + 1"),
    ("def f(x):\n  a = b = K.abs(x)\n  return a * b", "lambda x: K.abs(x) * K.abs(x)"),
    ("def f(x):\n  'Doc.'\n  return x", "lambda x: x"),
    ("def f(x):\n  x += 1\n  x *= 2\n  x -= 3\n  x /= 4\n  return x", "lambda x: ((x + 1) * 2 - 3) / 4"),
    ("def f(x):\n  if flag:\n    return x\n  return -x", "lambda x: x if flag else -x"),
    ("def f(x):\n  if flag:\n    x = x + 1\n  return x * 2", "lambda x: (x + 1 if flag else x) * 2"),
    (
        "def f(x):\n  if a == 1:\n    y = x\n  elif a == 2:\n    y = -x\n  else:\n    y = x * x\n  return y",
        "lambda x: x if a == 1 else -x if a == 2 else x * x",
    ),
    (
        "def f(x):\n  if a:\n    if b:\n      return p(x)\n    y = 1\n  else:\n    y = 2\n  return x + y",
        "lambda x: (p(x) if b else x + (1 if a else 2)) if a else x + (1 if a else 2)",
    ),
    (
        "def f(x):\n  c = -1\n  if K.image_data_format() == 'channels_first':\n    c = 1\n  m = K.mean(x, axis=c)\n"
        "  if c == 1:\n    return K.stack([m, m], 1)\n  return m",
        "lambda x: K.stack([K.mean(x, axis=AXIS), K.mean(x, axis=AXIS)], 1) if (AXIS) == 1 else K.mean(x, axis=AXIS)",
    ),
    ("def f(x):\n  g = lambda t: t * 2\n  return g(x)", "lambda x: (lambda t: t * 2)(x)"),
    ("def f(x):\n  def g(t, s=2):\n    u = t * s\n    return u\n  return g(x)", "lambda x: (lambda t, s=2: t * s)(x)"),
    ("def f(x):\n  k = 3\n  g = lambda t: t * k\n  return g(x)", "lambda x: (lambda t: t * 3)(x)"),
    ("def f(x):\n  y = x * 2\n  g = lambda x: x + y\n  return g(1)", "lambda x_: (lambda x: x + x_ * 2)(1)"),
    ("def make(k, s):\n  return lambda x: x[:, k:s]\nf = make(1, 2)", "lambda x: x[:, k:s]"),
    (
        "def make(k):\n  return lambda x: tf.map_fn(lambda t: t ** k, x)\nf = make(1)",
        "lambda x: tf.map_fn(lambda t: t ** k, x)",
    ),
    ("def f(x):\n  shape = K.int_shape(x)\n  return x", "lambda x: x"),
    (
        "def f(x):\n  if x is None:\n    return 0\n  if x is not y:\n    return 1\n  return 2",
        "lambda x: 0 if x is None else 1 if x is not y else 2",
    ),
    ("def f(x):\n  y = (not a) and b\n  return x if y else -x", "lambda x: x if not a and b else -x"),
    ("def f(x):\n  if not a and b:\n    y = 1\n  else:\n    y = x\n  return y", "lambda x: 1 if not a and b else x"),
    ("def f(x):\n  y = x\n  del y\n  return x", "lambda x: x"),
    ("f = lambda x: [SUMS(270)]", "lambda x: [SUMS(270)]"),
    ("f = lambda x: {NAMES(260)}", "lambda x: {NAMES(260)}"),
    ("f = lambda x: x if a else g(SUMS(60))", "lambda x: x if a else g(SUMS(60))"),
    ("f = lambda (a, b): a + b", "lambda arg0: arg0[0] + arg0[1]"),
    ("f = lambda x, *, axis=1: K.sum(x, axis)", "lambda x, *, axis: K.sum(x, axis)"),
    ("f = lambda x: g(lambda t, *, s=1: t + s)", "lambda x: g(lambda t, *, s=1: t + s)"),
    ("f = lambda x, /: x", "lambda x, /: x"),
    ("f = lambda x: [*x, *y, 3]", "lambda x: [*x, *y, 3]"),
    ("f = lambda x: {'a': 1, **{'b': 2}}", "lambda x: {'a': 1, 'b': 2}"),
    ("def f(x):\n  import tensorflow as t\n  return t.nn.relu(x)", "lambda x: tensorflow.nn.relu(x)"),
    ("def f(x):\n  import keras.backend\n  return keras.backend.abs(x)", "lambda x: keras.backend.abs(x)"),
    ("def f(x):\n  import keras.backend as K\n  return K.abs(x)", "lambda x: keras.backend.abs(x)"),
    (
        "def f(x):\n  import tensorflow.keras.backend as K\n  return K.abs(x)",
        "lambda x: tensorflow.keras.backend.abs(x)",
    ),
    ("def f(x):\n  from keras import backend as K\n  return K.abs(x)", "lambda x: keras.backend.abs(x)"),
    (
        "def f(x):\n  from math import pi, sqrt as s\n  import numpy as np\n  return s(pi) + np.abs(x)",
        "lambda x: math.sqrt(math.pi) + numpy.abs(x)",
    ),
    (
        "def f(x):\n  import tensorflow as t\n  return (lambda y: t.abs(y))(x)",
        "lambda x: (lambda y: tensorflow.abs(y))(x)",
    ),
)

REFUSED = (
    ("f = lambda x: [x[i] for i in range(3)]", "lambda x: [x[i] for i in range(3)]"),
    ("f = lambda x: {i: x for i in range(3)}", "lambda x: {i: x for i in range(3)}"),
    ("f = lambda x: sum(x[i] for i in y)", "lambda x: sum(x[i] for i in y)"),
    (
        "def f(x):\n  for i in range(3):\n    x = x + i\n  return x",
        "lambda x_: reduce(lambda x, i: x + i, range(3), x_)",
    ),
    ("def f(x):\n  while x:\n    x = g(x)\n  return x", "a loop or a comprehension"),
    ("def f(x):\n  try:\n    return g(x)\n  except ValueError:\n    return x", "a try"),
    ("def f(x):\n  with tf.name_scope('a'):\n    y = x * 2\n  return y", "with statement"),
    ("def f(x):\n  import os\n  return os.system(x)", "imports 'os', a module that is not known"),
    ("def f(x):\n  from os import system\n  return system(x)", "imports 'os', a module that is not known"),
    ("def f(x):\n  import os.path as tf\n  return x", "imports 'os.path', a module that is not known"),
    ("def f(x):\n  from . import tf\n  return tf.abs(x)", "imports '.', a module of the author's own"),
    ("def f(x):\n  from .keras import tf\n  return tf.abs(x)", "imports '.keras', a module of the author's own"),
    ("def f(x):\n  global g\n  g = x\n  return x", "an assignment to a global"),
    ("def f(x):\n  x[0] = 1\n  return x", "a change of an object in place"),
    ("def f(x):\n  x.a = 1\n  return x", "a change of an object in place"),
    ("def f(x):\n  y = []\n  y.append(x)\n  return y", "lambda x: [x]"),
    ("def f(x):\n  assert x\n  return x", "lambda x: x or raise_error(AssertionError)"),
    ("def f(x):\n  raise ValueError(x)", "a raise or assert"),
    ("def f(x):\n  yield x", "generator"),
    ("f = lambda x: f'{x}'", "lambda x: '{}'.format(x)"),
    (
        "f = lambda x: x.g(f'a{n}b', f'{n}{x}')",
        "lambda x: x.g('a' + '{}'.format(n) + 'b', '{}'.format(n) + '{}'.format(x))",
    ),
    ("f = lambda x: f'{x:>4}'", "an f-string with a conversion or a format"),
    ("f = lambda x: f'{x!r}'", "an f-string with a conversion or a format"),
    ("def f(x):\n  y = [x]\n  y += [x, 1]\n  y += (2, x)\n  return y", "lambda x: [x, x, 1, 2, x]"),
    (
        "def f(x):\n  y = []\n  for i in range(3):\n    y += [x[i]]\n  return y",
        "lambda x: [x[i] for i in range(3)]",
    ),
    ("def f(x):\n  y = []\n  z = y\n  y += [x]\n  return z", "a change of an object in place"),
    ("def f(x):\n  y = []\n  y += x\n  return y", "a change of an object in place"),
    ("def f(x):\n  y = 0\n  def g():\n    nonlocal y\n    y = 1\n  g()\n  return x + y", "closure variable"),
    ("def f(x):\n  k = 1\n  g = lambda: k\n  k = 2\n  return g()", "closure variable"),
    ("def f(x):\n  a, *b = x\n  return b", "a starred assignment"),
    ("f = lambda x: g(**x)", "that are not written out|is not written out"),
    ("def f(x):\n  class A: pass\n  return A", "a class"),
    ("def f(x):\n  if a:\n    y = 1\n  return y", "may have no value"),
    ("def f(x):\n  def g(t):\n    return g(t)\n  return g(x)", "may have no value"),
)

# Runs under Python 2.7 as well.
PROBE = """
import base64, json, marshal, sys
found = {}
for index, source in enumerate(json.loads(sys.stdin.read())):
    scope = {}
    try:
        exec(compile(source, "<lambda>", "exec"), scope)
    except SyntaxError:
        continue
    found[index] = base64.b64encode(marshal.dumps(scope["f"].__code__)).decode("ascii")
print(json.dumps([list(sys.version_info[:2]), found]))
"""


AXIS = "1 if K.image_data_format() == 'channels_first' else -1"


def expand(text: str) -> str:
    """Text with its long parts written out: more constants, names and bytes than fit into one byte."""
    text = re.sub(r"SUMS\((\d+)\)", lambda n: ", ".join(f"x + {1000 + i}" for i in range(int(n[1]))), text)
    text = re.sub(r"NAMES\((\d+)\)", lambda n: ", ".join(f"'{i}': x.n{i}" for i in range(int(n[1]))), text)
    return text.replace("AXIS", AXIS)


def bodies() -> list[tuple[str, str]]:
    """(source, expected source) or, for what must be refused, (source, "!" + reason)."""
    found = [(f"f = lambda {line}", f"lambda {line}") for line in LAMBDAS.strip().splitlines()]
    found += [(expand(source), expand(expected)) for source, expected in DEFS]
    return found + [(source, reason if reason.startswith("lambda") else f"!{reason}") for source, reason in REFUSED]


def main() -> None:
    sources = bodies()
    versions = {}
    given = json.dumps([source for source, _ in sources])
    for interpreter in sys.argv[1:]:
        ran = subprocess.run([interpreter, "-c", PROBE], input=given, capture_output=True, text=True, check=True)
        version, found = json.loads(ran.stdout)
        packed = zlib.compress(json.dumps(found).encode("ascii"), 9)
        versions[".".join(map(str, version))] = base64.b64encode(packed).decode("ascii")
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({"sources": sources, "versions": versions}, indent=0) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(sources)} bodies, {len(versions)} versions, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
