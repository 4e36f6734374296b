"""Throw hostile models at rescue: generated and mutated Lambda bytecode, expressions and configs.

    python scripts/fuzz_rescue.py --count 20000 [--seed 1] [--kind NAME...] [--keep FOLDER]
    python scripts/fuzz_rescue.py --guided FOLDER [LIBFUZZER OPTION...]     (needs `pip install atheris`)

Each case is the config of a model, put beside the real weights of a template and rescued as a file would be. It must
end in a rescued model or in one error of ours, of one line and under 2,000 characters; within 2 s of this process's
time and 256 MB above what it held before; and nothing that the config names may be run, imported or opened. The first
form prints a table and fails if one case breaks this; its configs go to --keep, and --again runs them once more. The
second lets atheris choose the generator's draws by the coverage of converters/lambdas, and stops at the first case that
breaks it. `unforeseen` in the table are refusals that no rule made: each is a message to improve.

tests/hostile/test_rescue.py runs a few hundred cases of it.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import collections
import contextlib
import dataclasses
import functools
import json
import marshal
import os
import random
import signal
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SECONDS, MEGABYTES, CHARACTERS = 2.0, 256.0, 2000
_HANGS: Final = 60  # seconds until a case is stopped

Config = dict[str, Any]
Draw = random.Random


# --- what a case must not do ---------------------------------------------------------------------------------------

# Events of sys.audit that no model file may cause, whatever it holds. `open` is looked at more closely.
_FORBIDDEN: Final = frozenset(
    ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.fork", "os.forkpty", "os.kill",
     "os.chmod", "os.chown", "os.putenv", "os.link", "os.truncate", "pty.spawn", "subprocess.Popen", "socket.connect",
     "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "pickle.find_class", "exec",
     "marshal.loads", "marshal.load", "code.__new__", "function.__new__", "ctypes.dlopen", "webbrowser.open",
     "shutil.rmtree", "shutil.move", "shutil.copyfile", "ftplib.connect", "http.client.connect")
)  # fmt: skip


class Canary:
    """Watches what Python does while it is armed. A hook cannot be taken away again: one for the process is enough."""

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event == "open":
            path, mode, flags = args
            writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if mode is None else set(mode) & set("wax+")
            inside = isinstance(path, int) or os.path.realpath(os.fsdecode(path)).startswith(self.folder)
            if writes and not inside and not str(path).startswith("/proc/self/"):
                self.seen.append(f"opens {path} to write")
            if str(path) in ("/etc/passwd", "/etc/hostname"):
                self.seen.append(f"reads {path}")
        elif event in ("exec", "marshal.loads") and sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
            pass  # an import of a library's own module
        elif (
            event == "subprocess.Popen" and list(args[1])[:2] == [sys.executable, "-c"] and "lambdas.hdf5" in args[1][2]
        ):
            pass  # the process of ours that reads HDF5
        elif event in _FORBIDDEN and not (args and os.path.realpath(str(args[0])).startswith(self.folder)):
            self.seen.append(f"{event} {str(args)[:200]}")
        elif event == "import" and str(args[0]).split(".")[0] not in _IMPORTED:
            self.seen.append(f"imports {args[0]}")

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self.seen.clear()
        self.armed = True
        try:
            yield
        finally:
            self.armed = False


# What our own code imports late; that nothing else is imported is what the canary sees to.
_IMPORTED: Final = frozenset(("converters", "keras", "tensorflow", "numpy", "h5py", "scipy"))


# --- templates -----------------------------------------------------------------------------------------------------


def code_of(text: str) -> str:
    """The bytecode of a lambda as Keras stores it; it is compiled, not run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "abc" is no callable, and more of that kind
        made = compile(text, "<fuzz>", "eval")
    return base64.b64encode(marshal.dumps(made.co_consts[0])).decode()


@dataclasses.dataclass(frozen=True)
class Templates:
    """Real files whose weights the cases use, and the configs of Keras 3 and Keras 2 that they are made from."""

    folder: Path
    configs: tuple[tuple[Config, str, str], ...]  # with the file of its weights, and the Keras version


def make_templates(folder: Path) -> Templates:
    import keras

    layers = keras.layers
    images = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(images)
    odd = layers.Lambda(lambda t, k=2.0: t[..., :1] * k, name="odd")
    inner = keras.Sequential(
        [keras.Input((4, 4, 4)), layers.Dense(2, name="dense"), layers.Lambda(lambda t: t * 2, name="twice")],
        name="inner",
    )
    both = layers.Lambda(lambda t: t[0] + t[1], name="both")([odd(x), inner(x)])
    steps = layers.TimeDistributed(layers.Dense(3, name="step"), name="steps")(both)
    full = keras.Model(images, [steps, keras.ops.mean(inner(x), axis=-1)], name="full")
    full.compile("adam", "mse", ["mae"])
    bare = keras.Model(images, layers.Lambda(lambda t: t * 2, name="odd")(images), name="bare")
    configs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lambdas are stored, and HDF5 is old
        for name, model in (("full", full), ("bare", bare)):
            for suffix in ("keras", "h5"):
                model.save(folder / f"{name}.{suffix}")
            with zipfile.ZipFile(folder / f"{name}.keras") as archive:
                configs.append((json.loads(archive.read("config.json")), f"{name}.keras", "3.15.1"))
        text = json.dumps(_hdf5_config(folder / "full.h5"))
    configs.append((json.loads(text), "full.h5", "3.15.1"))
    configs += [(each, "bare.h5", "2.4.0") for each in _legacy()]
    return Templates(folder, tuple(configs))


def _hdf5_config(path: Path) -> Config:
    import h5py

    with h5py.File(path, "r") as file:
        config: Config = json.loads(file.attrs["model_config"])
    return config


def layer2(kind: str, name: str, calls: list[Any], /, **config: Any) -> Config:
    """A layer as Keras 2 wrote it; calls: the layers it is called on."""
    nodes = [[[each, 0, 0, {}] for each in (call if isinstance(call, list) else [call])] for call in calls]
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def input2(name: str = "image", shape: Sequence[int | None] = (None, 6, 6, 3)) -> Config:
    return layer2("InputLayer", name, [], batch_input_shape=list(shape), dtype="float32")


def model2(*layers: Config, kind: str = "Functional", name: str = "net", outputs: Sequence[str] = ()) -> Config:
    ends = [[each, 0, 0] for each in outputs or [layers[-1]["name"]]]
    begins = [[each["name"], 0, 0] for each in layers if each["class_name"] == "InputLayer"]
    inner = {"name": name, "layers": list(layers), "input_layers": begins, "output_layers": ends}
    return {"class_name": kind, "config": inner}


def lambda2(text: str, name: str = "odd", calls: Sequence[Any] = ("image",), **config: Any) -> Config:
    function = {"function": [code_of(text), None, None], "function_type": "lambda", "arguments": {}}
    return layer2("Lambda", name, list(calls), **{**function, **config})


def raw2(function: str, name: str = "raw", calls: Sequence[Any] = ("image",), /, **kwargs: Any) -> Config:
    made = layer2("TFOpLambda", name, [], function=function, trainable=True, dtype="float32")
    made["inbound_nodes"] = [[each, 0, 0, kwargs] for each in calls]
    return made


def node2(op: str, attr: Config | None = None, constants: Config | None = None, count: int = 1) -> Config:
    """A TensorFlowOpLayer of TensorFlow 1.15 to 2.3."""
    inputs = ["image"] * (count + len(constants or {}))
    definition = json.dumps({"name": "node", "op": op, "input": inputs, "attr": attr or {}})
    made = layer2("TensorFlowOpLayer", "node", [["image"] * count], node_def=definition, constants=constants or {})
    return {**made, "name": f"tf_op_layer_{op}", "config": {**made["config"], "name": f"tf_op_layer_{op}"}}


def _legacy() -> list[Config]:
    text = "lambda t: K.max(t, axis=3, keepdims=True)"
    twice = model2(input2("in"), lambda2(text, "within", ["in"]), name="twice")
    shared = {**twice, "name": "twice", "inbound_nodes": [[["image", 0, 0, {}]], [["image", 0, 0, {}]]]}
    both = layer2("Add", "both", [])
    both["inbound_nodes"] = [[["twice", 1, 0, {}], ["twice", 2, 0, {}]]]
    sliced = layer2("SlicingOpLambda", "cut", [], function="__operators__.getitem")
    spec = [{"start": None, "stop": None, "step": None}, {"start": 0, "stop": 2, "step": 1}]
    sliced["inbound_nodes"] = [["image", 0, 0, {"slice_spec": spec}]]
    chain = [input2(), lambda2(text, calls=()), layer2("ReLU", "relu", [])]
    each = {"class_name": "Lambda", "config": lambda2(text)["config"]}
    return [
        model2(input2(), lambda2(text), layer2("Activation", "last", ["odd"], activation="hard_sigmoid")),
        model2(input2(), shared, both),
        model2(input2(), raw2("math.reduce_max", axis=3, keepdims=True)),
        model2(input2(), raw2("math.add", y=["image", 0, 0]), raw2("nn.relu", "second", ["raw"])),
        model2(input2(), sliced),
        model2(input2(), node2("Max", {"keep_dims": {"b": True}}, {"1": [3]})),
        model2(input2(), node2("StridedSlice", {"begin_mask": {"i": "1"}}, {"1": [0, 1], "2": [0, 3], "3": [1, 1]})),
        {"class_name": "Sequential", "config": {"name": "s", "layers": chain}},
        {"class_name": "Sequential", "config": [{**each, "config": {**each["config"], "batch_input_shape": [None,
        6]}}]},
        model2(input2(), layer2("TimeDistributed", "steps", ["image"], layer=each)),
        model2(input2(), layer2("UpSampling2D", "up", ["image"], size=[2, 2], interpolation="bilinear")),
        model2(input2(), layer2("ThresholdedReLU", "thr", ["image"], theta={"type": "ndarray", "value": 0.5})),
        model2(
            input2("steps", (None, 5, 2)), lambda2("lambda t: t * 2", calls=["steps"]),
            layer2("LSTM", "rnn", ["odd"], units=2, recurrent_activation="hard_sigmoid", time_major=True),
        ),
    ]  # fmt: skip


# --- generated expressions -----------------------------------------------------------------------------------------

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
def _functions() -> tuple[str, ...]:
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

    name = draw.choice(_functions())
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


# --- generated bytecode --------------------------------------------------------------------------------------------


@functools.cache
def _blobs() -> tuple[bytes, ...]:
    """Bytecode of every CPython from 2.7 on."""
    stored = json.loads((ROOT / "tests" / "fixtures" / "bytecode.json").read_text(encoding="utf-8"))
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
        data = bytearray(draw.choice(_blobs()))
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
            other = draw.choice(_blobs())
            cut = draw.randrange(len(other))
            data[place:] = other[cut:]
    text = base64.b64encode(bytes(data)).decode()
    if draw.randrange(40) == 0:
        text = draw.choice(
            (text[:-1], text + "\n", "é" + text, text.replace("A", "\0"), binascii.hexlify(data).decode())
        )
    return text


# --- generated configs ---------------------------------------------------------------------------------------------

NAMES: Final = (
    "odd", "image", "conv", "inner", "", "a/b", "/", "..", "a\0b", "\u202e", "ﬁ", "x" * 5000, "a\nb", "\x1b[31m",
    "\ud800",
    "__class__", "%s{0}", "self", "layers", "0", "os.system", "evil_module_canary", "/etc/passwd", "name", "odd_1",
)  # fmt: skip
SCALARS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, -(2**31), 2**63, 2**64, 10**100, 10**300, 0.0, -0.5, 1e308, 1e-320,
    float("nan"), float("inf"), "float32", "int32", "relu", "hard_sigmoid", "channels_first", "same", "nearest", *NAMES,
)  # fmt: skip
_CLASSES: Final = (
    "Lambda", "Dense", "Conv2D", "InputLayer", "Functional", "Model", "Sequential", "TFOpLambda", "SlicingOpLambda",
    "TensorFlowOpLayer", "ClassMethod", "InstanceMethod", "InstanceProperty", "TimeDistributed", "Bidirectional", "RNN",
    "LSTM", "GRU", "Embedding", "StringLookup", "TextVectorization", "Pipeline", "Layer", "Wrapper", "StackedRNNCells",
    "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "function", "__lambda__", "__tuple__", "__slice__", "__ellipsis__",
    "__numpy__", "__tensor__", "__keras_tensor__", "__typespec__", "TensorShape", "ThresholdedReLU", "UpSampling2D",
    "Reshape", "Permute", "RepeatVector", "Add", "Concatenate", "Dot", "Activation", "BatchNormalization",
    "Normalization",
    "Max", "Subtract", "Rescaling", "Masking", "MultiHeadAttention", "SeparableConv2D", "CuDNNLSTM", "Merge",
    "Discretization",
    "Hashing", "CategoryEncoding", "RandomFlip", "SpectralNormalization", "Resizing", "ZeroPadding2D", "EinsumDense",
)  # fmt: skip
_MODULES: Final = (
    None, "keras", "keras.layers", "keras.models", "keras.src.layers.core.lambda_layer", "builtins", "os", "subprocess",
    "evil_module_canary", "keras.src.ops.numpy", "keras.src.ops.core", "keras.utils", "keras.saving", "keras.config",
    "keras.src.models.functional", "keras.layersx", "tensorflow", "numpy", "tf_keras.layers", "", "..", "a.b.c",
)  # fmt: skip
_KEYS: Final = (
    "class_name", "module", "config", "name", "registered_name", "inbound_nodes", "layers", "layer", "function",
    "items",
    "arguments", "output_shape", "mask", "function_type", "input_layers", "output_layers", "build_config",
    "compile_config",
    "batch_input_shape", "batch_shape", "dtype", "trainable", "cell", "cells", "node_def", "constants", "axis",
    "activation",
    "units", "filters", "size", "shared_object_id", "args", "kwargs", "keras_history", "value", "start", "stop", "step",
    "defaults", "closure", "code", "vocabulary", "output_mode", "initial_value", "target_shape", "n", "dims", "axes",
)  # fmt: skip


def junk(draw: Draw, depth: int = 3) -> Any:
    """Any JSON, likely with the marks by which Keras knows its objects."""
    kind = draw.randrange(12) if depth else 0
    if kind < 5:
        return draw.choice(SCALARS)
    if kind == 5:
        return [junk(draw, depth - 1) for _ in range(draw.randrange(5))]
    if kind == 6:
        return {draw.choice(_KEYS): junk(draw, depth - 1) for _ in range(draw.randrange(5))}
    if kind == 7:
        made = {"class_name": draw.choice(_CLASSES), "config": junk(draw, depth - 1)}
        if draw.randrange(2):
            made |= {"module": draw.choice(_MODULES), "registered_name": draw.choice((None, "x>y", *_CLASSES[:3]))}
        return made
    if kind == 8:
        return [draw.choice(NAMES[:5]), draw.choice((0, 1, -1, 10**9)), draw.choice((0, 1, -1)), {}]
    if kind == 9:
        value: Any = draw.choice(SCALARS)
        for _ in range(draw.choice((3, 30, 150, 400))):
            value = [value] if draw.randrange(2) else {"a": value}
        return value
    if kind == 10:
        return draw.choice((["a"] * 3000, "y" * 50_000, list(range(2000)), [[]] * 2000, [[["image", 0, 0, {}]]] * 300))
    return {"class_name": "__lambda__", "config": {"code": blob(draw), "defaults": None, "closure": None}}


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(object or list, key) of every value."""
    found, stack = [], [node]
    while stack:
        each = stack.pop()
        inner = each.items() if isinstance(each, dict) else enumerate(each)
        for key, value in inner:
            found.append((each, key))
            if isinstance(value, dict | list):
                stack.append(value)
    return found


def mutate(draw: Draw, config: Config) -> Config:
    """A config with a few values exchanged, doubled, dropped, wrapped or replaced."""
    config = json.loads(json.dumps(config))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        places = _places(config)
        if not places:
            break
        owner, key = draw.choice(places)
        value = owner[key]
        what = draw.randrange(9)
        if what == 0:
            del owner[key]
        elif what == 1:
            owner[key] = draw.choice(SCALARS)
        elif what == 2:
            owner[key] = junk(draw)
        elif what == 3:
            other, name = draw.choice(places)
            owner[key] = json.loads(
                json.dumps(other.get(name) if isinstance(other, dict) else other[name % len(other)] if other else None)
            )
        elif what == 4:
            owner[key] = [value] if draw.randrange(2) else {"class_name": draw.choice(_CLASSES), "config": value}
        elif what == 5 and isinstance(value, int | float) and not isinstance(value, bool):
            owner[key] = draw.choice((value + 1, -value, value * 10**6, float(value), str(value), [value], 2**40))
        elif what == 5 and isinstance(value, str):
            owner[key] = draw.choice((*NAMES, *_CLASSES))
        elif what == 6 and isinstance(owner, dict):
            owner[draw.choice(_KEYS)] = owner.pop(key) if draw.randrange(2) else junk(draw)
        elif what == 6 and isinstance(owner, list):
            owner.insert(draw.randrange(len(owner) + 1), value)
        elif what == 7 and isinstance(value, list):
            draw.shuffle(value)
        elif isinstance(value, list) and value:
            owner[key] = (value * 40)[: draw.choice((1, 2, 40))]
    return config


def _with(function: Any, draw: Draw, more: Config | None = None) -> tuple[Config, str, str]:
    """A model of one Lambda, in one of the forms that Keras has used."""
    config = {"name": "odd", "function": function, **(more or {})}
    if draw.randrange(2):
        made = layer2(
            "Lambda", "odd", ["image"], function_type="lambda", **{k: v for k, v in config.items() if k != "name"}
        )
        return model2(input2(), made), "bare.h5", draw.choice(("2.2.4", "2.2.4-tf", "2.4.0", "2.15.0", "1.2.2", ""))
    sequential = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": "s", "layers": [
            {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
             "config": {"batch_shape": [None, 6, 6, 3], "dtype": draw.choice(("float32", "int32", "float16")),
             "name": "i"}},
            {"module": "keras.layers", "class_name": "Lambda", "config": config, "registered_name": None},
        ]},
    }  # fmt: skip
    return sequential, "bare.keras", "3.15.1"


def _function(code: str, draw: Draw, defaults: Any = None, closure: Any = None) -> Any:
    if draw.randrange(2):
        return [code, defaults, closure]
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}


def of_expression(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    return _with(_function(code_of(lambda_text(draw)), draw), draw)


def of_blob(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    extra: list[Any] = [None, [], [1], [x := draw.choice(SCALARS)], {"class_name": "__tuple__", "items": [x, 1]}]
    return _with(_function(blob(draw), draw, draw.choice(extra), draw.choice(extra)), draw)


def of_arguments(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    """Values beside a Lambda's code: defaults, closure, arguments, output_shape, mask."""
    text = draw.choice(
        ("lambda x, k=1: x * k", "lambda x, **k: x * k['a']", "lambda x, *a, k=2: x + k", "lambda x, k: K.sum(x, k)")
    )
    more = {key: junk(draw) for key in ("arguments", "output_shape", "mask", "output_shape_type") if draw.randrange(2)}
    if draw.randrange(2):
        more["arguments"] = {draw.choice(("k", "a", "x", "", "mask", "training")): junk(draw)}
    if draw.randrange(3):
        more.pop("mask", None)
    return _with(_function(code_of(text), draw, junk(draw), junk(draw)), draw, more)


def of_raw(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    """TFOpLambda: a function by name with arguments in JSON."""
    names = [each.split(".", 1)[1] for each in _functions() if each.startswith(("tf.", "tf1."))]
    names += ["__operators__.getitem", "__operators__.add", "__operators__.rsub", "__operators__.eq",
    "__operators__.neg",
              "__operators__.__class__", "io.write_file", "io.read_file", "py_function", "", ".", "..", "__class__",
              "keras.backend.eval", "compat.v1.py_func", "raw_ops.WriteFile", "keras.utils.get_file", "v1"]  # fmt: skip
    keys = (
        "axis",
        "y",
        "keepdims",
        "shape",
        "name",
        "perm",
        "multiples",
        "paddings",
        "dtype",
        "slice_spec",
        "size",
        "num",
    )
    kwargs = {draw.choice(keys): _argument(draw) for _ in range(draw.randrange(4))}
    made = raw2(draw.choice(names), **kwargs)
    if draw.randrange(4) == 0:
        made["class_name"] = draw.choice(("SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"))
    if draw.randrange(3) == 0:
        made["inbound_nodes"] = [["_CONSTANT_VALUE", -1, _argument(draw), kwargs]]
    if draw.randrange(3) == 0:
        made["inbound_nodes"] = [[["image", 0, 0, kwargs], ["image", 0, 0]]]
    return model2(input2(), made), "bare.h5", "2.4.0"


def _argument(draw: Draw) -> Any:
    plain = (["image", 0, 0], [1, 2], [-1, 3], [1, 1, 1, 10**9], [[0, 0]] * 4, [[0, 10**9]] * 4, 10**9, -1, 0, 3,
    None, "float32",
             {"start": None, "stop": 2, "step": 0}, [{"start": 0, "stop": None, "step": None}], [], 0.5, 2**70,
             True)  # fmt: skip
    return draw.choice(plain) if draw.randrange(3) else junk(draw)


def of_node(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    """TensorFlowOpLayer: a graph node by its NodeDef."""
    from converters.lambdas import tfnodes

    tables = (tfnodes._BINARY, tfnodes._COMPARE, tfnodes._PLAIN, tfnodes._REDUCTIONS, tfnodes._OTHER)
    ops = [name for table in tables for name in table] + [
        "PyFunc",
        "WriteFile",
        "ReadFile",
        "PyFuncStateless",
        "EagerPyFunc",
    ]
    keys = ("keep_dims", "axis", "num", "num_split", "block_size", "squeeze_dims", "begin_mask", "end_mask",
    "shrink_axis_mask",
            "ellipsis_mask", "DstT", "equation", "mode", "adj_x", "transpose_a", "data_format", "alpha",
            "output_type")  # fmt: skip
    kinds = ("i", "f", "b", "type", "s", "list", "shape", "func")
    values = (
        "1",
        1,
        "99999999999999999999",
        -1,
        True,
        "DT_FLOAT",
        "DT_STRING",
        "TkhXQw==",
        "ij,jk->ik",
        {"i": ["1", 2]},
        None,
        [],
        "nan",
    )
    attr = {draw.choice(keys): {draw.choice(kinds): draw.choice(values)} for _ in range(draw.randrange(4))}
    constants = {str(draw.choice((0, 1, 2, 3, 10**9))): _argument(draw) for _ in range(draw.randrange(4))}
    return model2(input2(), node2(draw.choice(ops), attr, constants, draw.randrange(1, 4))), "bare.h5", "2.2.4-tf"


def of_mutation(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    config, weights, version = draw.choice(templates.configs)
    return mutate(draw, config), weights, version


def of_junk(draw: Draw, templates: Templates) -> tuple[Config, str, str]:
    """Layers of any class with settings made up."""
    layers: list[Any] = [input2()]
    for index in range(draw.randrange(1, 4)):
        settings = {draw.choice(_KEYS): junk(draw, 2) for _ in range(draw.randrange(4))}
        known = {"units": 2, "filters": 2, "kernel_size": 2, "layer": layer2("Dense", "d", [], units=2),
        "target_shape": [-1],
                 "dims": [1, 2, 3], "activation": "relu", "n": 2, "axes": 1, "input_dim": 5,
                 "output_dim": 2}  # fmt: skip
        settings |= {key: value for key, value in known.items() if draw.randrange(3) == 0}
        name = draw.choice(NAMES) if draw.randrange(5) == 0 else f"layer{index}"
        calls = [draw.choice([each["name"] for each in layers] + ["image"])]
        layers.append(layer2(draw.choice(_CLASSES), name, calls, **settings))
    return model2(*layers), "bare.h5", draw.choice(("2.4.0", "3.15.1"))


KINDS: Final[dict[str, Callable[[Draw, Templates], tuple[Config, str, str]]]] = {
    "expression": of_expression, "blob": of_blob, "arguments": of_arguments, "raw": of_raw, "node": of_node,
    "mutation": of_mutation, "junk": of_junk,
}  # fmt: skip
_OFTEN: Final = ("expression",) * 8 + ("blob",) * 4 + ("mutation",) * 4 + ("raw",) * 2 + ("node", "arguments", "junk")


# --- one case ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one case came to. fault: what it did that no case may do, or empty."""

    kind: str
    message: str
    seconds: float
    megabytes: float
    fault: str = ""


class Hang(BaseException):
    """A case that does not end."""


class Runner:
    """Rescues configs beside the weights of the templates, and measures."""

    def __init__(self, templates: Templates, canary: Canary) -> None:
        self.templates, self.canary = templates, canary
        self.weights: dict[str, bytes] = {}
        for path in templates.folder.glob("*.keras"):
            with zipfile.ZipFile(path) as archive:
                self.weights[path.name] = archive.read("model.weights.h5")

    def run(self, config: Config, weights: str = "bare.h5", version: str = "2.4.0", text: str | None = None) -> Outcome:
        """Rescue a file that holds this config. The HDF5 check, a process of its own, is left out."""
        from converters.errors import CbamError

        path = self._write(config, weights, version, text)
        before, kind, message, fault = _reset(), "", "", ""
        begun = time.process_time()
        try:
            with self.canary.watching(), _alarm(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._rescue(path, weights)
            kind = "rescued"
        except CbamError as error:
            kind, message = type(error).__name__, str(error)
        except Hang:
            kind = fault = f"hangs for more than {_HANGS} s"
        except (Exception, SystemExit) as error:
            kind, message = type(error).__name__, str(error)
            fault = f"raises {kind}: {message[:200]} ({_where(error)})"
        seconds, megabytes = time.process_time() - begun, _peak() - before
        if self.canary.seen:
            fault = f"does what no model may: {'; '.join(self.canary.seen[:3])}"
        elif not fault and (len(message) >= CHARACTERS or not message.isprintable()):
            fault = f"says too much, or on several lines: {len(message)} characters"
        elif not fault and kind != "rescued" and not message:
            fault = "says nothing"
        elif not fault and seconds > SECONDS:
            fault = f"takes {seconds:.1f} s"
        elif not fault and megabytes > MEGABYTES:
            fault = f"takes {megabytes:.0f} MB"
        return Outcome(kind, message, seconds, megabytes, fault)

    def _write(self, config: Config, weights: str, version: str, text: str | None) -> Path:
        path = self.templates.folder / "case.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config) if text is None else text)
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("model.weights.h5", self.weights.get(weights, b""))
        return path

    def _rescue(self, path: Path, weights: str) -> None:
        from converters.lambdas.archive import read_archive
        from converters.lambdas.rewrite import rewrite_archive

        archive = read_archive(path)
        if weights.endswith(".h5"):
            archive = dataclasses.replace(archive, kind="hdf5", path=self.templates.folder / weights)
        rewrite_archive(dataclasses.replace(archive, elements=100_000), optimizer=True)


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_HANGS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def _where(error: BaseException) -> str:
    """The last place in our own code."""
    found, trace = "?", error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if "converters" in name:
            found = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _reset() -> float:
    """Start to measure the largest memory anew; gives the present one in MB. On other systems than Linux: 0."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(key: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), 0.0)


def make_runner(folder: Path) -> Runner:
    """A runner on fresh templates, with everything imported that is imported late."""
    canary = Canary(folder)
    templates = make_templates(folder)
    runner = Runner(templates, canary)
    _functions()
    for config, weights, version in templates.configs:
        runner.run(config, weights, version)
    for text in ("np.einsum('i,j->ij', np.ones(3), np.ones(3))", "tf.image.resize(x, [3, 3])"):
        runner.run(model2(input2(), lambda2(f"lambda x: {text}")))
    draw = random.Random(0)
    for kind in KINDS.values():
        for _ in range(10):
            runner.run(*kind(draw, templates))
    return runner


def cases(draw: Draw, templates: Templates, kinds: Sequence[str] = _OFTEN) -> Iterator[tuple[str, Config, str, str]]:
    """Cases without end."""
    while True:
        kind = draw.choice(kinds)
        yield kind, *KINDS[kind](draw, templates)


# --- the command ---------------------------------------------------------------------------------------------------


class Entropy(random.Random):
    """Draws that a fuzzer chooses: its bytes, then zeros."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self.data, self.place = data, 0

    @property
    def left(self) -> bool:
        return self.place < len(self.data)

    def getrandbits(self, k: int) -> int:
        count = (k + 7) // 8
        part = self.data[self.place : self.place + count]
        self.place += count
        return int.from_bytes(part, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(24) / (1 << 24)


def guided(folder: Path, options: Sequence[str]) -> None:
    """Let atheris choose."""
    try:
        import atheris
    except ImportError:
        sys.exit("--guided needs atheris: pip install atheris")
    with atheris.instrument_imports(include=["converters"]):
        from converters.lambdas.rules.table import rules

        rules()
    runner = make_runner(folder)

    def one(data: bytes) -> None:
        draw = Entropy(data)
        _, config, weights, version = next(cases(draw, runner.templates))
        outcome = runner.run(config, weights, version)
        if outcome.fault:
            (folder / "fault.json").write_text(json.dumps(config))
            raise AssertionError(f"{outcome.fault}; its config is {folder / 'fault.json'}")

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def counted(folder: Path, count: int, seed: int, kinds: Sequence[str], keep: Path | None) -> int:
    """Run `count` cases and print what came of them."""
    import keras

    runner = make_runner(folder)
    begun = time.monotonic()
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults: dict[str, list[str]] = collections.defaultdict(list)
    slowest, largest = (0.0, ""), (0.0, "")
    made = cases(random.Random(seed), runner.templates, kinds)
    for index in range(count):
        if index % 50 == 0:
            keras.backend.clear_session()
        kind, config, weights, version = next(made)
        outcome = runner.run(config, weights, version)
        rows[kind]["cases"] += 1
        rows[kind]["fault" if outcome.fault else outcome.kind] += 1
        if any(each in outcome.message for each in ("not foreseen", "config is broken (")):
            rows[kind]["unforeseen"] += 1
            _keep(keep, f"unforeseen-{seed}-{index}", [config, weights, version, outcome.message])
        slowest = max(slowest, (outcome.seconds, f"case {index}, {kind}: {outcome.message[:160]}"))
        largest = max(largest, (outcome.megabytes, f"case {index}, {kind}: {outcome.message[:160]}"))
        if outcome.fault:
            faults[outcome.fault.partition("(")[2] or outcome.fault].append(outcome.fault)
            _keep(keep, f"{seed}-{index}", [config, weights, version, outcome.fault])
    columns = ("cases", "rescued", "LambdaRefusedError", "ModelError", "ConversionError", "unforeseen", "fault")
    shown = [each for each in columns if any(row[each] for row in rows.values())]
    rows["all"] = sum(rows.values(), collections.Counter())
    print("".join(f"{each:>20}" for each in ("", *shown)))
    for kind, row in rows.items():
        print("".join(f"{each:>20}" for each in (kind, *(row[column] for column in shown))))
    print(f"slowest {slowest[0]:.2f} s ({slowest[1]})")
    print(f"largest {largest[0]:.0f} MB ({largest[1]})")
    print(f"seed {seed}, {time.monotonic() - begun:.0f} s")
    for texts in sorted(faults.values(), key=len, reverse=True):
        print(f"FAULT, {len(texts)} times: {texts[0]}")
    return 1 if faults else 0


def _keep(folder: Path | None, name: str, case: list[Any]) -> None:
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(case))


def again(folder: Path, files: Sequence[Path]) -> int:
    """Run kept cases once more and print what each comes to."""
    runner, faults = make_runner(folder), 0
    for path in files:
        config, weights, version, _ = json.loads(path.read_text(encoding="utf-8"))
        outcome = runner.run(config, weights, version)
        faults += bool(outcome.fault)
        print(f"{path.name}: {outcome.kind} {outcome.seconds:.2f} s {outcome.message[:300]!r} {outcome.fault}")
    return 1 if faults else 0


def main() -> int:
    import tempfile

    parser = argparse.ArgumentParser(description="Throw hostile models at rescue.")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=sorted(KINDS), nargs="+", default=_OFTEN)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--again", type=Path, nargs="+", metavar="FILE", help="run kept cases again")
    parser.add_argument("--guided", type=Path, metavar="FOLDER")
    given, options = parser.parse_known_args()
    if given.guided:
        given.guided.mkdir(parents=True, exist_ok=True)
        guided(given.guided, [str(given.guided), *options])
        return 0
    if options:
        parser.error(f"unknown: {' '.join(options)}")
    with tempfile.TemporaryDirectory(prefix="cbam-fuzz-") as folder:
        tempfile.tempdir = folder
        if given.again:
            return again(Path(folder), given.again)
        return counted(Path(folder), given.count, given.seed, given.kind, given.keep)


if __name__ == "__main__":
    sys.exit(main())
