"""Save bodies.py and models.py with the Keras at hand, and what that Keras computes from drawn inputs.

    FLAVOUR=keras python write_corpus.py STACK OUTPUT_DIRECTORY [NAME_PART]

Runs under Python 2.7 and 3.6 to 3.13, in this directory: bytecode then names `bodies.py`, no path of a machine.
Writes OUTPUT/STACK/FLAVOUR-NAME.h5, .keras, .npz (x0, x1, ..., y0, y1, ...) and OUTPUT/STACK/rows-FLAVOUR.json.
"""
# ruff: noqa: B905, I001, RUF005, UP020, UP032

import io
import json
import os
import sys
import time
import traceback
import types
import zipfile
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("AUTOGRAPH_VERBOSITY", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import warnings

warnings.filterwarnings("ignore")

import logging  # noqa: E402

logging.disable(logging.WARNING)

import h5py  # noqa: E402
import numpy as np  # noqa: E402

import stack as names  # noqa: E402
from stack import KERAS3, TF1, VERSION, Input, K, Lambda, Model, keras, layers, tf  # noqa: E402

BATCH = 4
NUMBER = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in VERSION.split(".")[:2])


def load(filename):
    """The module of that file, whose code objects name it without a directory."""
    module = types.ModuleType(filename[:-3])
    module.__file__ = filename
    sys.modules[module.__name__] = module
    with io.open(filename, "rb") as file:
        exec(compile(file.read(), filename, "exec"), module.__dict__)  # noqa: S102
    return module


def seed_of(name):
    return zlib.crc32(name.encode("ascii")) & 0x7FFFFFFF


def names_used(code):
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_used(constant)
    return found


def absent(needs, function=None):
    """Why this body is not of this stack's time, or None."""
    if needs == "tf1" and not TF1:
        return "of TensorFlow 1"
    if needs == "tf2" and TF1:
        return "of TensorFlow 2"
    if needs == "keras2" and KERAS3:
        return "of Keras 2"
    if needs == "keras3" and not KERAS3:
        return "of Keras 3"
    if needs == "raw" and (KERAS3 or names.FLAVOUR == "keras"):
        return "TensorFlow functions on Keras tensors: tf.keras 1.15 to 2.15"
    code = getattr(function, "__code__", None)
    if code is not None and "ops" in names_used(code) and names.ops is None:
        return "keras.ops: of Keras 3"
    return None


def draw(rng, shape, data, dtype):
    shape = (shape[0] or BATCH,) + tuple(5 if n is None else n for n in shape[1:])
    if data == "positive":
        value = rng.uniform(0.2, 4.0, shape)
    elif data == "image":
        value = rng.randint(0, 256, shape)
    elif data == "unit":
        value = rng.uniform(0.0, 1.0, shape)
    elif data == "index":
        value = rng.randint(0, 3, shape)
    else:
        value = 1.5 * rng.standard_normal(shape)
    return np.asarray(value).astype(dtype)


def random_weights(rng, model):
    """Weights of the size that initialisers give, biases and BatchNorm statistics that are seen in the output."""
    values = []
    old_values = model.get_weights() if KERAS3 else K.batch_get_value(model.weights)  # get_weights: in another order
    for variable, old in zip(model.weights, old_values):
        name = getattr(variable, "path", None) or variable.name
        old = np.asarray(old)
        if not np.issubdtype(old.dtype, np.floating) or name.startswith("lambda"):  # K.ones within one is a variable
            values.append(old)
        elif "variance" in name or "gamma" in name:
            values.append(rng.uniform(0.5, 1.5, old.shape).astype(old.dtype))
        else:
            fan = float(np.prod(old.shape[:-1])) if old.ndim > 1 else 4.0
            values.append((rng.standard_normal(old.shape) / np.sqrt(max(fan, 1.0))).astype(old.dtype))
    if KERAS3:
        model.set_weights(values)
    else:
        K.batch_set_value(list(zip(model.weights, values)))


def describe(tensor):
    shape = tuple(None if n is None else int(n) for n in (tensor.shape if KERAS3 else K.int_shape(tensor)))
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
    return shape, dtype


def functions_of(config):
    """(function, function_type) of every Lambda in a model's config."""
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            inner = config.get("config", {})
            yield inner.get("function"), inner.get("function_type")
        for value in config.values():
            for pair in functions_of(value):
                yield pair
    elif isinstance(config, list):
        for value in config:
            for pair in functions_of(value):
                yield pair


def by_name_only(function):
    if isinstance(function, dict):
        return function.get("class_name") == "function"
    return not isinstance(function, (list, tuple))


def stored(path):
    """The format that a file really has, and its config."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "keras-v3", json.loads(archive.read("config.json").decode("utf-8"))
    with h5py.File(path, "r") as file:
        text = file.attrs["model_config"]
    return "hdf5", json.loads(text if isinstance(text, str) else text.decode("utf-8"))


def save(model, base, everything):
    """(path, error) for each way that this stack saves a model."""
    ways = [(".h5", {})]
    if KERAS3 or NUMBER >= (2, 13):
        ways.append((".keras", {}))
    elif NUMBER == (2, 12):
        ways.append((".v3.keras", {"save_format": "keras_v3"}))
        if everything:
            ways.append((".keras", {"save_format": "h5"}))
    elif everything and names.FLAVOUR != "keras":
        ways.append((".keras", {"save_format": "h5"}))
    for suffix, options in ways:
        try:
            model.save(base + suffix, **options)
            yield base + suffix, None
        except Exception as error:
            if os.path.exists(base + suffix):
                os.remove(base + suffix)
            yield base + suffix, "save: " + reason(error)


def reason(error):
    text = "{}: {}".format(type(error).__name__, error)
    return " ".join(text.split())[:300]


def body_model(row):
    inputs = [Input(shape=shape, dtype=row["dtype"]) for shape in row["shapes"]]
    x = inputs
    if len(inputs) == 1:
        x = inputs[0]
        plain = row["data"] == "normal" and row["dtype"] == "float32" and len(row["shapes"][0]) == 3
        if plain and seed_of(row["name"]) % 4 == 0:
            x = layers.Conv2D(row["shapes"][0][-1], 1)(x)
    return Model(inputs if len(inputs) > 1 else inputs[0], Lambda(row["function"], **row["layer"])(x))


def write(row, build, directory):
    """The rows and the refusals of one item."""
    base = os.path.join(directory, names.FLAVOUR.replace(".", "") + "-" + row["name"])
    rng = np.random.RandomState(seed_of(row["name"]))
    keras.backend.clear_session()
    stage = "build"
    try:
        model = build()
        random_weights(rng, model)
        kinds = row["data"] if isinstance(row["data"], (list, tuple)) else [row["data"]] * len(model.inputs)
        x = [
            draw(rng, *(describe(tensor)[:1] + (kind, describe(tensor)[1])))
            for tensor, kind in zip(model.inputs, kinds)
        ]
        feed = x if len(x) > 1 else x[0]
        if row.get("fit"):
            stage = "fit"
            model.compile(optimizer="adam", loss=row["loss"])
            targets = model.predict_on_batch(feed)
            targets = [np.asarray(t) + 0.5 for t in (targets if isinstance(targets, (list, tuple)) else [targets])]
            model.train_on_batch(feed, targets if len(targets) > 1 else targets[0])
        stage = "predict"
        if hasattr(model, "reset_states"):
            model.reset_states()
        y = model.predict_on_batch(feed)
        y = list(y) if isinstance(y, (list, tuple)) else [y]
        for i, value in enumerate(y):  # TensorFlow 2 makes a scalar a Python float
            y[i] = np.asarray(value, dtype="float32" if isinstance(value, float) else None)
        if hasattr(model, "reset_states"):
            model.reset_states()
    except Exception as error:
        if os.environ.get("TRACEBACK"):
            traceback.print_exc()
        return [], [{"name": row["name"], "reason": stage + ": " + reason(error)}]
    arrays = {"x{}".format(i): value for i, value in enumerate(x)}
    arrays.update(("y{}".format(i), value) for i, value in enumerate(y))
    rows, skipped = [], []
    for path, error in save(model, base, row["kind"] == "model" or seed_of(row["name"]) % 8 == 1):
        if error:
            skipped.append({"name": row["name"], "file": os.path.basename(path), "reason": error})
            continue
        form, config = stored(path)
        functions = [function for function, _ in functions_of(config)]
        named = any(by_name_only(function) for function in functions)
        rows.append(
            {
                "name": row["name"],
                "kind": "named" if named and row["kind"] not in ("model", "unknowable") else row["kind"],
                "file": os.path.basename(path),
                "data": os.path.basename(base) + ".npz",
                "format": form,
                "fitted": bool(row.get("fit")),
                "small": row.get("small", True),
                "finite": bool(all(np.all(np.isfinite(v)) for v in y if np.issubdtype(v.dtype, np.floating))),
                "note": "; ".join(filter(None, [row["note"], "a function by name" if named else ""])),
            }
        )
    if rows:
        np.savez_compressed(base + ".npz", **arrays)
    return rows, skipped


def main(stack, output, part=""):
    directory = os.path.join(output, stack)
    if not os.path.isdir(directory):
        os.makedirs(directory)
    bodies, models = load("bodies.py"), load("models.py")
    items = [(row, lambda row=row: body_model(row), row["function"]) for row in bodies.BODIES]
    items += [(dict(row, kind="model"), row["build"], row["build"]) for row in models.MODELS]
    rows, skipped = [], []
    start = time.time()
    for row, build, function in items:
        if part not in row["name"]:
            continue
        why = absent(row["needs"], function if row["kind"] != "model" else None)
        if why:
            skipped.append({"name": row["name"], "reason": "needs: " + why})
            continue
        made, refused = write(row, build, directory)
        rows.extend(made)
        skipped.extend(refused)
    common = {
        "stack": stack,
        "flavour": names.FLAVOUR,
        "python": ".".join(str(n) for n in sys.version_info[:3]),
        "keras": VERSION,
        "tf": tf.__version__,
    }
    for row in rows + skipped:
        row.update(common)
    with io.open(os.path.join(directory, "rows-{}.json".format(names.FLAVOUR)), "wb") as file:
        file.write(json.dumps({"rows": rows, "skipped": skipped}, indent=0, sort_keys=True).encode("ascii"))
    print(
        "{} {}: {} files, {} skipped, {:.0f} s".format(
            stack, names.FLAVOUR, len(rows), len(skipped), time.time() - start
        )
    )


if __name__ == "__main__":
    sys.path.insert(0, "")
    main(*sys.argv[1:])
