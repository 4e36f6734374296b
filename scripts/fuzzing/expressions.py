"""The text of lambdas: mostly calls of functions that rescue knows, with arguments that they should not have."""

from __future__ import annotations

import functools
from typing import Final

from fuzzing.case import Draw
from fuzzing.templates import code_of

VALUES: Final = (
    "x", "x", "x", "x[0]", "x[..., 0]", "x.shape", "x.shape[0]", "x.shape[1]", "tf.shape(x)", "tf.shape(x)[0]",
    "K.int_shape(x)", "None", "True", "False", "-1", "0", "1", "2", "3", "4", "7", "-5", "1000", "65536", "2**31",
    "10**9", "-10**9", "2**62", "2**63", "-2**63", "2**64", "10**100", "0.5", "-0.5", "1e-7", "1e308", "1e400",
    "float('nan')", "float('inf')", "'a'", "''", "'same'", "'valid'", "'channels_first'", "'channels_last'", "'SAME'",
    "'float32'", "'int32'", "'bool'", "'float16'", "'complex64'", "'string'", "'object'", "'x\\0y'", "b'x'", "1j",
    "...",
    "[]", "()", "{}", "[1]", "[0, 1]", "[1, 2]", "(1, 2)", "[2, 2]", "[-1, 3]", "[3, -1]", "(-1,)", "[None]",
    "[None, 2]", "[x]", "[x, x]", "(x, x, x)", "[x, 1]", "[[1, 2], [3, 4]]", "[[1], [2, 3]]", "[[]]", "[0.5]",
    "[10**9]", "[10**9, 10**9]", "[65536, 65536]", "[2**62]", "[1] * 40", "[[0, 0]] * 4", "[[10**9, 10**9]] * 4",
    "[1, 10**9, 1, 1]", "'ij,jk->ik'", "'abcd,abcd->'", "'" + "abcdefghijklmnop" * 4 + "'", "'...i->...i'", "'->'",
    "'ab->a,b'", "{'a': 1}", "{'a': x}", "slice(None)", "slice(0, 2)", "slice(x, 1)", "[slice(None), 1]",
    "np.ones((3, 3))", "np.zeros((2, 0))", "np.ones(())", "np.array([1, 2])", "np.arange(5)", "np.ones((1, 6, 6, 3))",
    "np.ones(100000)", "np.float32(1)", "np.int64(3)", "np.pi", "tf.float32", "tf.int32", "np.float32", "tf", "K",
    "tf.reduce_max", "len", "lambda q: q", "(lambda q: q)", "lambda q, r: q + r", "lambda *a, **k: a", "range(5)",
    "range(10**9)", "tf.zeros((2, 3))", "tf.constant(1)", "tf.cast(x, 'int32')", "tf.cast(x, 'bool')", "x > 0",
    "K.ones_like(x)", "x[:, 0, 0]", "x[:, 0]", "x[0, 0, 0]", "x[0, 0, 0, 0]", "K.flatten(x)", "x.dtype",
)  # fmt: skip
_BINARY: Final = (
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "@",
    "&",
    "|",
    "^",
    "<<",
    ">>",
    "<",
    "==",
    "!=",
    ">=",
    "in",
    "is",
)
_ATTRIBUTES: Final = (
    "shape", "dtype", "ndim", "T", "size", "value", "name", "get_shape()", "shape.as_list()", "astype('int32')",
    "reshape(-1)", "reshape(2, 10**9)", "tolist()", "get('a')", "keys()", "values()", "items()", "as_list()", "rank",
    "num_elements()", "set_shape([None, 6, 6, 3])", "__class__", "__dict__", "numpy()", "values", "indices",
    "base_dtype",
)  # fmt: skip
EVIL: Final = (
    "__import__('os').system('touch {canary}')", "open('{canary}', 'w')", "eval('open(1)')", "exec('x')",
    "tf.io.write_file('{canary}', 'x')", "tf.io.read_file('/etc/passwd')", "tf.py_function(print, [x], 'float32')",
    "tf.numpy_function(print, [x], 'float32')", "np.load('{canary}')", "np.fromfile('/etc/passwd')", "K.eval(x)",
    "np.save('{canary}', 1)", "x.__class__.__mro__", "tf.raw_ops.WriteFile(filename='{canary}', contents='x')",
    "tf.saved_model.load('{canary}')", "tf.load_op_library('{canary}')", "keras.models.load_model('{canary}')",
    "keras.utils.get_file('a', origin='http://127.0.0.1:9/')", "np.ctypeslib.load_library('c', '/')", "print(x)",
    "tf.keras.utils.get_file('a', 'file:///etc/passwd')", "getattr(tf, 'io')", "globals()", "vars(tf)", "type(x)",
    "tf.compat.v1.py_func(print, [x], tf.float32)", "K.tf.io.gfile.GFile('{canary}', 'w')", "np.os.system('id')",
    "np.distutils.exec_command", "K.get_session().run(x)", "tf.summary.create_file_writer('{canary}')", "input()",
    "breakpoint()", "evil_module_canary.run(x)", "np.frombuffer(b'x')", "np.lib.npyio.load('x')", "memoryview(b'x')",
)  # fmt: skip


@functools.cache
def functions() -> tuple[str, ...]:
    from converters.lambdas.rules.table import rules

    return tuple(sorted(rules()))


def expression(draw: Draw, depth: int = 3) -> str:
    """Python text of a value: mostly a call of a function that rescue knows, with arguments that it should not have."""
    kind = draw.randrange(20) if depth else 19
    if kind < 10:
        return call(draw, depth)
    if kind == 10:
        return f"({expression(draw, depth - 1)} {draw.choice(_BINARY)} {expression(draw, depth - 1)})"
    if kind == 11:
        return f"({draw.choice(('-', '~', 'not ', '+'))}{expression(draw, depth - 1)})"
    if kind == 12:
        return f"{_closed(draw, depth)}.{draw.choice(_ATTRIBUTES)}"
    if kind == 13:
        return f"{_closed(draw, depth)}[{_index(draw, depth)}]"
    if kind == 14:
        opening, closing = draw.choice(("[]", "()", "[]"))
        return opening + "".join(f"{expression(draw, depth - 1)}, " for _ in range(draw.randrange(4))) + closing
    if kind == 15:
        yes, test, no = (expression(draw, depth - 1) for _ in range(3))
        return f"({yes} if {test} else {no})"
    if kind == 16:
        return f"(lambda q: {expression(draw, depth - 1)})({expression(draw, depth - 1)})"
    if kind == 17:
        return f"({expression(draw, depth - 1)} {draw.choice(('and', 'or'))} {expression(draw, depth - 1)})"
    if kind == 18 and draw.randrange(4) == 0:
        return draw.choice(EVIL)
    if kind == 18:
        return f"[{expression(draw, depth - 1)} for q in {expression(draw, depth - 1)}]"
    return draw.choice(VALUES)


def _closed(draw: Draw, depth: int) -> str:
    return f"({expression(draw, depth - 1)})"


def _index(draw: Draw, depth: int) -> str:
    parts = (":", "::2", "1:", ":-1", "::-1", "...", "None", "0", "-1", "10**9", "::0", "x", "2**70:", "True", "'a'")
    if draw.randrange(4) == 0:
        return expression(draw, depth - 1)
    return ", ".join(draw.choice(parts) for _ in range(draw.randrange(1, 5)))


def call(draw: Draw, depth: int) -> str:
    from converters.lambdas.rules.table import rules

    name = draw.choice(functions())
    given = []
    for place, parameter in enumerate(rules()[name].signature.parameters):
        value = draw.choice(VALUES[:4]) if not place and draw.randrange(4) else expression(draw, draw.randrange(depth))
        keyword = not parameter.positional or draw.randrange(4) == 0
        if place and draw.randrange(3) == 0 and keyword:
            continue
        given.append(f"{parameter.name}={value}" if keyword or "=" in "".join(given) else value)
    if rules()[name].signature.rest:
        given += [expression(draw, draw.randrange(depth)) for _ in range(draw.randrange(4))]
    text = name.replace("tf1.", "tf.compat.v1.", 1) if name.startswith("tf1.") else name
    return f"{text}({', '.join(sorted(given, key=lambda each: '=' in each.split('(')[0]))})"


def lambda_text(draw: Draw) -> str:
    """A lambda that compiles."""
    while True:
        text = f"lambda x: {expression(draw)}"
        try:
            code_of(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            if not getattr(draw, "left", True):
                return "lambda x: x"
            continue
        return text
