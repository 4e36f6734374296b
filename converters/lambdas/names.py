"""Global names in a Lambda: which library each stands for. The file does not say; what is assumed is noted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from converters.lambdas.builder import Builder
from converters.lambdas.rules.refused import reason_against
from converters.lambdas.rules.table import is_known, misspelt, rules
from converters.lambdas.values import Library, RefusedError, Value

__all__ = ["DTYPES", "canonical", "dtype_of", "library", "look_up"]

# What people call the libraries when they import them.
_ALIASES: Final[Mapping[str, str]] = {
    "K": "K", "k": "K", "KB": "K", "Kb": "K", "kb": "K", "backend": "K", "keras_backend": "K",
    "tf": "tf", "tensorflow": "tf", "keras": "keras", "np": "np", "numpy": "np", "math": "math",
    "ops": "ops", "kops": "ops", "keras_ops": "ops", "activations": "activations",
    "applications": "keras.applications", "layers": "keras.layers",
    # Not `efficientnet`, which is a package of another author too.
    **{
        name: f"keras.applications.{name}"
        for name in (
            "imagenet_utils", "vgg16", "vgg19", "resnet50", "inception_v3", "inception_resnet_v2", "xception",
            "mobilenet", "mobilenet_v2", "densenet", "nasnet",
        )
    },
}  # fmt: skip
_FULL: Final[Mapping[str, str]] = {
    "K": "keras.backend", "tf": "tensorflow", "keras": "keras", "np": "numpy", "math": "math", "ops": "keras.ops",
    "activations": "keras.activations",
}  # fmt: skip
# The same library under two paths, the longer first.
_SAME: Final[Mapping[str, str]] = {
    "tf.keras": "keras", "tf.python.keras": "keras",
    "tf.compat.v2": "tf", "tf.compat.v1": "tf1", "tf1.keras": "keras", "keras.backend": "K",
    "keras.ops": "ops", "keras.activations": "activations", "K.tf": "tf", "tf.v1": "tf1", "ops.numpy": "ops",
    "ops.nn": "ops", "ops.linalg": "ops", "ops.core": "ops", "ops.math": "ops",
}  # fmt: skip

DTYPES: Final = frozenset(
    ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
     "uint64", "bool")
)  # fmt: skip
_CONSTANTS: Final[Mapping[str, Value]] = {
    **{f"{module}.pi": math.pi for module in ("np", "math")},
    **{f"{module}.e": math.e for module in ("np", "math")},
    **{f"{module}.inf": math.inf for module in ("np", "math")},
    **{f"{module}.nan": math.nan for module in ("np", "math")},
    **{f"{module}.newaxis": None for module in ("np", "tf")},
    **{f"tf.{dtype}": dtype for dtype in DTYPES},
    **{f"tf.dtypes.{dtype}": dtype for dtype in DTYPES},
    "tf.double": "float64", "tf.half": "float16",
}  # fmt: skip
_RESIZE_METHODS: Final[Mapping[str, str]] = {
    f"tf.image.ResizeMethod.{name}": name.lower()
    for name in ("BILINEAR", "NEAREST_NEIGHBOR", "BICUBIC", "AREA", "LANCZOS3", "LANCZOS5", "GAUSSIAN", "MITCHELLCUBIC")
}  # fmt: skip


def look_up(builder: Builder, name: str) -> Value:
    """What a global or built-in name stands for.

    Raises:
        RefusedError: it is a variable or a function of the author's, whose value is not in the file.
    """
    if name in ("True", "False", "None"):  # names to Python 2
        return {"True": True, "False": False, "None": None}[name]
    if name == "Ellipsis":
        return Ellipsis
    if name in _ALIASES:
        path = _ALIASES[name]
        if path != name or path in ("K", "ops", "activations"):
            builder.assume(f"{name} is {_FULL.get(path, path)}")
        return Library(path)
    if name in rules() or name == "map" or reason_against(name) is not None:
        return Library(name)
    if is_known(f"keras.layers.{name}") and name[:1].isupper():
        builder.assume(f"{name} is keras.layers.{name}")
        return Library(f"keras.layers.{name}")
    raise RefusedError(f"it uses the name {name!r}, which the file does not define")


def canonical(path: str) -> str:
    """The path of a library function in the spelling of the tables: `tf.keras.backend.mean` is `K.mean`."""
    changed = True
    while changed:
        changed = False
        for old, new in _SAME.items():
            if path == old or path.startswith(f"{old}."):
                path, changed = new + path.removeprefix(old), True
    return path


def library(builder: Builder, of: Library, name: str) -> Value:
    """The attribute `name` of a library.

    Raises:
        RefusedError: it is not on the list.
    """
    if of.path == "tf.compat" and name == "v2" and builder.era.tensorflow != 2:
        raise RefusedError("it uses tf.compat.v2 in a file that may be of TensorFlow 1, whose functions differ")
    path = canonical(f"{of.path}.{name}")
    plain = "tf" + path.removeprefix("tf1") if path.startswith("tf1.") else path
    for table in (_CONSTANTS, _RESIZE_METHODS):
        if plain in table:
            return table[plain]
    if (
        is_known(path)
        or path in _FULL
        or path == "tf1"
        or any(f"{plain}." in each for each in (*_SAME, *_RESIZE_METHODS))
    ):
        return Library(path)
    if plain.split(".")[0] == "np" and name in DTYPES:
        return name
    raise RefusedError(f"it uses {path}, which is not known{misspelt(path)}")


def dtype_of(value: Value) -> str:
    """A dtype by its name, or by Python's or NumPy's type.

    Raises:
        RefusedError: it is none.
    """
    if isinstance(value, Library):
        value = {"float": "float32", "int": "int32", "bool": "bool"}.get(value.path, value.path.removeprefix("np."))
    if isinstance(value, str) and value in DTYPES:
        return value
    raise RefusedError(f"it asks for the dtype {value!r}, which is not known")
