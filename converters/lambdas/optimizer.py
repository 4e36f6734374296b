"""Keeps a rescued model's loss, metrics and optimizer state, where the file is one whose state this Keras understands.

That is a `.keras` file of Keras 3. Keras 2's optimizers had other states, and for HDF5 files Keras 3 starts afresh.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from converters.lambdas.archive import WEIGHTS, ModelArchive
from converters.lambdas.graph import Part
from converters.lambdas.limits import line
from converters.lambdas.trust import find_untrusted

__all__ = ["keep_optimizer"]


def keep_optimizer(archive: ModelArchive, part: Part, keras_major: int) -> str:
    """Compile the rebuilt model as the file says and give its optimizer the file's state; else say why not.

    Gives one sentence for people, or nothing where the file holds no optimizer. The model is left uncompiled unless all
    of it can be kept.
    """
    if not archive.compiled:
        return ""
    config = archive.config.get("compile_config")
    if archive.kind != "keras" or keras_major < 3 or not isinstance(config, dict):
        return (
            "loss and optimizer are dropped: Keras 3 cannot take over their state from such a file; compile the model"
        )
    if find_untrusted({"config": config}):  # which leaves out a key "compile_config", so that must not be at the top
        return "loss and optimizer are dropped: they name what is not Keras's own"
    try:
        return _compile(archive, part, config)
    except Exception as error:  # Keras raises many kinds for what it cannot make
        part.layer.compiled = False
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"loss and optimizer are dropped, since Keras cannot restore them ({line(lines[0], 120)})"


def _compile(archive: ModelArchive, part: Part, config: dict[str, Any]) -> str:
    import keras

    model = part.layer
    model.compile_from_config(config)
    if model.optimizer is None:
        return ""
    stored = _state(archive)
    # The file has the state in the order of the old model's weights, which the rebuilt one need not have.
    twin = keras.optimizers.deserialize(config["optimizer"])
    twin.build(_in_order(part))
    model.optimizer.build(model.trainable_variables)
    if len(stored) != len(twin.variables):
        raise ValueError(f"the file holds {len(stored)} arrays of its state, and it has {len(twin.variables)}")
    state = {variable.path: array for variable, array in zip(twin.variables, stored, strict=True)}
    wanted = {variable.path: variable for variable in model.optimizer.variables}
    if len(state) != len(stored) or state.keys() != wanted.keys():
        raise ValueError("the names of its state are not unique")
    for path, variable in wanted.items():
        if tuple(variable.shape) != tuple(state[path].shape):
            raise ValueError(f"its state {path} has another shape")
        variable.assign(state[path])
    return ""


def _in_order(part: Part) -> list[Any]:
    """The weights that are trained, layer by layer as the file has them, each once."""
    found: dict[int, Any] = {}
    stack = [part]
    while stack:
        each = stack.pop()
        if each.kind:
            stack += reversed(each.children)
        else:
            found.update({id(variable): variable for variable in getattr(each.layer, "trainable_variables", ())})
    return list(found.values())


def _state(archive: ModelArchive) -> list[np.ndarray]:
    import h5py

    with tempfile.TemporaryDirectory(prefix="cbam-optimizer-") as folder:
        with zipfile.ZipFile(archive.path) as packed:
            weights = Path(packed.extract(WEIGHTS, folder))
        with h5py.File(weights, "r") as file:
            group = file.get("optimizer/vars")
            names = sorted(group, key=int) if group is not None else []
            return [np.asarray(group[name]) for name in names]
