"""Puts the weights of a model file into the model that was rebuilt from its config.

Keras reads them in the order of a model's layers. A rebuilt model can have another order, since operations stand where
one Lambda stood; the file's own order is that of its config, which `rebuild.Part` keeps.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.errors import ModelError
from converters.lambdas.archive import ModelArchive
from converters.lambdas.cudnn import from_cudnn
from converters.lambdas.graph import Part
from converters.lambdas.limits import line, show

__all__ = ["LambdaWeights", "copy_weights", "legacy_order", "restore", "stored_for"]

# The last part of a weight's name in the file: `dense_1/kernel:0`, `batch_normalization/gamma_1:0`.
_LEAF: Final = re.compile(r"(?:.*/)?([a-z_]+?)(?:_\d+)?(?::\d+)?$", re.DOTALL)
_MADE: Final = 64  # variables of one Lambda
_ELEMENTS: Final = 1 << 22


@dataclasses.dataclass(frozen=True)
class LambdaWeights:
    """What an HDF5 file holds for one Lambda. group: of the outermost model's layer; names: in the group."""

    group: str
    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]


def stored_for(archive: ModelArchive, lambdas: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], LambdaWeights]:
    """The weights that an HDF5 file holds for Lambdas, given and found by their paths of names.

    Raises:
        ModelError: as `restore`.
    """
    if archive.kind != "hdf5" or not lambdas:
        return {}
    try:
        return _stored_for(archive.path, lambdas)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _damaged(archive.path, error) from error


def _stored_for(path: Path, lambdas: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], LambdaWeights]:
    import h5py

    found: dict[tuple[str, ...], LambdaWeights] = {}
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        known = {name: _weight_names(group[name]) for name in {each[0] for each in lambdas} if name in group}
        for each in lambdas:
            names = [name for name in known.get(each[0], []) if len(each) == 1 or _is_made_by(each[-1], name)]
            # What is larger is no constant of a function; it is refused as weights that no layer has.
            if not 0 < len(names) <= _MADE or sum(group[each[0]][name].size for name in names) > _ELEMENTS:
                continue
            found[each] = LambdaWeights(
                each[0], tuple(names), tuple(np.asarray(group[each[0]][name]) for name in names)
            )
    claims = [(each.group, name) for each in found.values() for name in each.names]
    # Two Lambdas of one name within one model: whose they are is not certain.
    return {path: each for path, each in found.items() if all(claims.count((each.group, n)) == 1 for n in each.names)}


def _is_made_by(layer: str, name: str) -> bool:
    return re.fullmatch(rf"(?:.*/)?{re.escape(layer)}(?:_\d+)?/Variable(?:_\d+)?(?::\d+)?", name, re.DOTALL) is not None


def restore(
    archive: ModelArchive, model: Part, lambdas: Collection[str] = (), taken: Collection[LambdaWeights] = ()
) -> None:
    """Set every weight of the model from the file.

    Args:
        lambdas: names of layers that were replaced, which can have none.
        taken: weights of theirs that are constants of operations now.

    Raises:
        ModelError: the file's weights are not those that the model's config asks for.
    """
    if archive.kind == "hdf5":
        _from_hdf5(archive.path, model, lambdas, taken)
    else:
        _from_keras(archive, model)


def copy_weights(model: Any, part: Part) -> None:
    """Set every weight from the model in memory that was rebuilt, layer by layer, by name."""
    for child in part.children:
        if not hasattr(child.layer, "set_weights"):  # an operation of keras.ops
            continue
        layer = model.get_layer(child.name)
        if child.kind in ("Functional", "Sequential"):
            copy_weights(layer, child)
        elif (
            child.kind == "Wrapper"
            and child.children[0].kind in ("Functional", "Sequential")
            and hasattr(layer.layer, "get_layer")
        ):
            copy_weights(layer.layer, child.children[0])
        else:
            child.layer.set_weights(layer.get_weights())


def legacy_order(part: Part) -> list[Any]:
    """A layer's variables in the order of Keras's HDF5 files: all that are trained, then all that are not."""
    trained, fixed = _split(part)
    seen: set[int] = set()
    return [each for each in (*trained, *fixed) if not (id(each) in seen or seen.add(id(each)))]  # type: ignore[func-returns-value]


def _split(part: Part) -> tuple[list[Any], list[Any]]:
    if not hasattr(part.layer, "trainable_weights"):  # an operation of keras.ops
        return [], []
    if not part.kind:
        return list(part.layer.trainable_weights), list(part.layer.non_trainable_weights)
    pairs = [_split(child) for child in part.children]
    return [each for trained, _ in pairs for each in trained], [each for _, fixed in pairs for each in fixed]


def _from_hdf5(path: Path, model: Part, lambdas: Collection[str], taken: Collection[LambdaWeights]) -> None:
    try:
        _assign_all(path, model, lambdas, taken)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    # What stands where names and tensors belong may be anything that HDF5 can hold.
    return ModelError(
        f"{path} does not hold weights as Keras stores them ({line(error, 300)}): copy or download it again"
    )


def _assign_all(path: Path, model: Part, lambdas: Collection[str], taken: Collection[LambdaWeights]) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        stored = {name: _weight_names(group[name]) for name in _names(group, "layer_names") if name in group}
        gone = {(each.group, name) for each in taken for name in each.names}
        stored = {name: [leaf for leaf in names if (name, leaf) not in gone] for name, names in stored.items()}
        stored = {name: names for name, names in stored.items() if names}
        wanted = {part.name: legacy_order(part) for part in model.children}
        wanted = {name: variables for name, variables in wanted.items() if variables}
        if missing := [name for name in wanted if name not in stored]:
            raise ModelError(
                f"{path} holds no weights for layer {show(missing[0])}, which has {len(wanted[missing[0]])}"
            )
        if extra := [name for name in stored if name not in wanted]:
            what = "whose function would have to use them" if extra[0] in lambdas else "which has none in its config"
            raise ModelError(f"{path} holds weights for layer {show(extra[0])}, {what}")
        merged = {id(part.layer.weights[0]) for part in _merged(model)}
        for name, variables in wanted.items():
            arrays = from_cudnn(variables, [group[name][leaf] for leaf in stored[name]])
            arrays = [_parted(each, array, merged) for each, array in itertools.zip_longest(variables, arrays)]
            _assign(path, name, variables, list(zip(stored[name], arrays, strict=True)))


def _merged(part: Part) -> Iterator[Part]:
    """The layers of which the file holds all places along the kernel's first axis."""
    if part.was:
        yield part
    for child in part.children:
        yield from _merged(child)


def _parted(variable: Any, array: Any, merged: Collection[int]) -> Any:
    if variable is None or id(variable) not in merged or array is None:
        return array
    *places, window, filters = variable.shape
    fits = tuple(array.shape) == (math.prod(places), window, filters)
    return np.asarray(array).reshape(variable.shape) if fits else array


def _weight_names(group: Any) -> list[str]:
    return _names(group, "weight_names")


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names in an attribute; a long one is cut into `attribute0`, `attribute1`, ..."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode("utf-8") if isinstance(name, bytes) else str(name) for part in parts for name in part]


def _assign(path: Path, layer: str, variables: list[Any], stored: list[tuple[str, Any]]) -> None:
    if len(variables) != len(stored):
        raise ModelError(f"{path} holds {len(stored)} weights for layer {show(layer)}, which has {len(variables)}")
    for variable, (name, dataset) in zip(variables, stored, strict=True):
        leaf = _LEAF.match(name)
        known = {_leaf_of(each) for each in variables}
        swapped = leaf is not None and leaf[1] in known and leaf[1] != _leaf_of(variable)
        if swapped or tuple(dataset.shape) != tuple(variable.shape):
            raise ModelError(
                f"{path}: weight {show(name)} of shape {tuple(dataset.shape)} stands where layer {show(layer)} has "
                f"{show(variable.name)} of shape {tuple(variable.shape)}"
            )
        variable.assign(np.asarray(dataset))


def _leaf_of(variable: Any) -> str:
    return str(variable.name)


def _from_keras(archive: ModelArchive, model: Part) -> None:
    """Keras's own reader, on a stand-in that has the layers in the file's order."""
    path = archive.path
    # Keras 2.12 counted each layer that has weights twice when it named the places of weights.
    shell = _shell(model, {}, 2 if (archive.keras_version or "").startswith("2.12.") else 1)
    with tempfile.TemporaryDirectory(prefix="cbam-weights-") as folder:
        named = Path(folder, "model.keras")
        named.symlink_to(path.resolve())
        try:
            shell.load_weights(named)
        except (ValueError, KeyError, OSError, TypeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise ModelError(
                f"{path} does not hold the weights that its model's config asks for: {lines[0][:300]}"
            ) from error


def _stand_in(part: Part) -> Any:
    """For Keras's reader, a layer of the class that the file names its arrays' place after."""
    import keras

    class StandIn(keras.layers.Layer):  # type: ignore[misc]
        @property
        def weights(self) -> list[Any]:
            return list(part.layer.weights)

        def load_own_variables(self, store: Any) -> None:
            for index, variable in enumerate(part.layer.weights):
                variable.assign(_parted(variable, store[str(index)], {id(part.layer.weights[0])}))

    StandIn.__name__ = part.was
    return StandIn(name=part.name)


def _shell(part: Part, made: dict[int, Any], times: int) -> Any:
    """A model without a graph, for which Keras finds the same paths in the file as for the one that was saved."""
    import keras

    if id(part) in made:  # one model in two places, whose weights the file holds once
        return made[id(part)]
    kind = part.kind

    class Shell(keras.Model):  # type: ignore[misc]
        def __init__(self, layers: list[Any]) -> None:
            super().__init__(name=part.name)
            self.parts = layers
            self.built = True

        @property
        def layers(self) -> list[Any]:
            return [layer for layer in self.parts for _ in range(times if layer.weights else 1)]

        def _obj_type(self) -> str:
            return kind  # Keras keeps the weights of these two under `layers`, and asks here whether a model is one

    Shell.__name__ = kind
    made[id(part)] = Shell(list(_inner(part, made, times)))
    return made[id(part)]


def _inner(part: Part, made: dict[int, Any], times: int) -> Iterator[Any]:
    for child in part.children:
        if not hasattr(child.layer, "trainable_weights"):
            continue
        if child.was:
            made.setdefault(id(child), _stand_in(child))
            yield made[id(child)]
            continue
        # A wrapper gives its model's weights to the HDF5 order, but is a layer of its own kind to Keras's reader.
        yield _shell(child, made, times) if child.kind in ("Functional", "Sequential") else child.layer
