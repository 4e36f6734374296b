"""Whatever a user calls a model -> a model in memory: a name, a file, a SavedModel folder, an object."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import ModelError, closest
from exporter.models.backbones import BACKBONES, PREFIX
from exporter.models.zoo import DEFAULT_MODEL, ZOO, ZooModel

if TYPE_CHECKING:
    from converters.lambdas.rewrite import RewriteResult

Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model and what is known of it.

    Attributes:
        name: for file names: letters, digits, `-`, `_` and `.` only.
        kind: zoo, backbone, keras, saved_model or object.
        origin: what the user named, without folders.
        keras: the Keras model, or None.
        saved: the loaded SavedModel, or None.
        zoo: its row, for a zoo model.
        path: the file or folder it was read from, or None.
        rescued: what was replaced in it, if Keras could not open it as it was.
    """

    name: str
    kind: str
    origin: str
    keras: Any = None
    saved: Any = None
    zoo: ZooModel | None = None
    path: Path | None = None
    rescued: RewriteResult | None = None


def load_source(
    model: Any = None, shapes: Shapes | None = None, on_step: Callable[[str], None] = lambda step: None
) -> LoadedModel:
    """Find and load a model.

    Args:
        model: a Keras model, a path, a zoo name, a backbone name (untrained, seed 0), or None: the zoo's default.
        shapes: the input shapes asked for: a backbone is built on them.
        on_step: told what is being done, before it is done.

    Raises:
        ModelError: no such name or file, or one that cannot be opened; nothing of a file is run to find that out.
    """
    if model is None:
        return _from_zoo(ZOO[DEFAULT_MODEL], on_step)
    if not isinstance(model, str | os.PathLike):
        return _from_object(model)
    path = Path(model)
    text = os.fspath(model)
    named = text in ZOO or text.removeprefix(PREFIX) in BACKBONES
    if path.exists() and named:
        raise ModelError(f"{text!r} is a model's name and also a file or folder here; give ./{text} if that is meant")
    if path.exists():
        return _from_path(path, on_step)
    if text in ZOO:
        return _from_zoo(ZOO[text], on_step)
    if text.removeprefix(PREFIX) in BACKBONES:
        return _from_backbone(text, shapes or {}, on_step)
    if path.suffix or len(path.parts) > 1:
        raise ModelError(f"{text}: no such file or folder")
    known = [*ZOO, *BACKBONES, *(PREFIX + name for name in BACKBONES)]
    raise ModelError(f"no model named {text!r} and no such file{closest(text, known)}; `cbam models` lists the names")


def load_model(model: Any = None) -> Any:
    """The Keras model for a zoo name, a backbone name or a `.keras`/`.h5` file; `cbam-mnist` by default.

    Opened with Keras's safe mode on, after the file was searched for code; Lambda layers are replaced by operations,
    without running them; never compiled.

    Raises:
        ModelError: as `load_source`; also for a SavedModel folder, which holds no Keras model.
    """
    loaded = load_source(model)
    if loaded.keras is None:
        raise ModelError(f"{loaded.origin}: a SavedModel folder holds no Keras model; it can be exported, not loaded")
    return loaded.keras


def _from_object(model: Any) -> LoadedModel:
    import keras

    if not isinstance(model, keras.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise ModelError(f"a model is a keras.Model, a path or a name; got {kind}")
    return LoadedModel(_file_name(model.name), "object", model.name, keras=model)


def _from_zoo(row: ZooModel, on_step: Callable[[str], None]) -> LoadedModel:
    with resources.as_file(row.path()) as path:
        if not path.is_file():
            raise ModelError(f"zoo model {row.name!r}: {row.file} is missing from the installation; install again")
        return LoadedModel(row.name, "zoo", row.name, keras=_open_keras(path, on_step)[0], zoo=row)


def _from_backbone(name: str, shapes: Shapes, on_step: Callable[[str], None]) -> LoadedModel:
    on_step("starting Keras")
    import keras

    from exporter.models.backbones import build_model

    if len(shapes) > 1 or any(key not in ("", "image") for key in shapes):
        raise ModelError(f"{name} has one input, 'image'; got shapes for {', '.join(map(repr, shapes))}")
    on_step(f"building {name} with random weights (seed 0)")
    keras.utils.set_random_seed(0)
    return LoadedModel(name, "backbone", name, keras=build_model(name, input_shape=next(iter(shapes.values()), None)))


def _from_path(path: Path, on_step: Callable[[str], None]) -> LoadedModel:
    from converters.lambdas import archive

    if archive.is_saved_model(path):
        on_step("starting TensorFlow")
        from converters import savedmodel

        on_step(f"loading {path.name}")
        return LoadedModel(
            _file_name(path.resolve().name), "saved_model", path.name, saved=savedmodel.load(path), path=path
        )
    keras_model, rescued = _open_keras(path, on_step)
    return LoadedModel(_file_name(path.stem), "keras", path.name, keras=keras_model, path=path, rescued=rescued)


def _open_keras(path: Path, on_step: Callable[[str], None]) -> tuple[Any, RewriteResult | None]:
    """Read the file as data, refuse what is not Keras's own or ours, then let Keras open it in safe mode.

    A file with Lambda layers, or of Keras 2, is rebuilt instead, without running any of its code.
    """
    from converters.lambdas.archive import read_archive
    from converters.lambdas.rewrite import needs_rewrite, rewrite_archive
    from converters.lambdas.trust import check_links, check_trusted

    archive = read_archive(path)
    if needs_rewrite(archive, REGISTERED):
        with layers_registered():
            made = rewrite_archive(archive, None, REGISTERED, on_step=on_step)
        if made.replaced:
            names = ", ".join(row.layer for row in made.replaced)
            on_step(f"replaced by operations, without running them: {names}")
        for note in made.notes:
            on_step(note)
        return made.model, made
    check_trusted(archive, REGISTERED)
    check_links(archive)
    on_step("starting Keras")
    import keras

    on_step(f"loading {path.name}")
    with tempfile.TemporaryDirectory(prefix="cbam-model-") as folder, layers_registered():
        named = path
        if path.suffix != archive.suffix:  # Keras goes by the ending, not by the content
            named = Path(folder, path.stem + archive.suffix)
            named.symlink_to(path.resolve())
        try:
            return keras.saving.load_model(named, compile=False, safe_mode=True), None
        except Exception as error:  # Keras raises many kinds for a file it cannot rebuild
            wrote = f"Keras {archive.keras_version}" if archive.keras_version else "an unknown Keras"
            reason = f"written by {wrote}, and Keras {keras.__version__} cannot rebuild it: {_reason(error)}"
            raise ModelError(f"{path}: {reason}") from error


@contextlib.contextmanager
def layers_registered() -> Iterator[None]:
    """Our own layers are known to Keras under REGISTERED."""
    from exporter.models import cbam

    assert cbam.CBAM.__name__  # the import registered them
    yield


REGISTERED = ("cbam_export>CBAM", "cbam_export>ChannelAttention", "cbam_export>SpatialAttention")
"""Layers of ours that a file may hold. Dialects are plain data in their config."""


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Keras ends a long message with the exception that caused it.
    for line in lines:
        if line.startswith("Exception encountered:"):
            return line.removeprefix("Exception encountered:").strip()[:300]
    return (lines[0] if lines else type(error).__name__)[:300]


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "model"
