"""`cbam rescue`: a model file with Lambda layers -> one that plain Keras opens, running none of the code in it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from converters.errors import ConversionError, ModelError, OptionError, OutputError
from converters.lambdas.era import RescueOptions
from converters.lambdas.rewrite import Refused, Replaced, rewrite, rewrite_model
from exporter.publish import disk_errors

__all__ = ["RescueOptions", "RescueResult", "rescue"]

Step = Callable[[str], None]
SUFFIX: Final = ".keras"


@dataclasses.dataclass(frozen=True)
class RescueResult:
    """A rescued model.

    model: the Keras model, compiled if its optimizer was kept. output: the file that was written, or None. replaced:
    every Lambda layer and raw TensorFlow operation with what it became. notes: what else was brought to today's form.
    """

    model: Any
    output: Path | None
    replaced: tuple[Replaced, ...]
    notes: tuple[str, ...]
    refused: tuple[Refused, ...] = ()


def rescue(
    model: Any,
    output: str | os.PathLike[str] | None = None,
    functions: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    options: RescueOptions | None = None,
    on_step: Step = lambda step: None,
) -> RescueResult:
    """Replace every Lambda layer of a model by operations of keras.ops, without running its code.

    Args:
        model: a `.keras` or HDF5 file of any Keras from 2.0 on, or a Keras model in memory; it is not changed.
        output: the `.keras` file to write, or None to write nothing.
        functions: for functions that a file holds by name only, by that name or the layer's: the text of a lambda or
            of a file that defines the function, or the function itself, which are read and not run; or a Keras layer.
        overwrite: replace `output` if it exists.
        options: whether the optimizer is kept, which it is by default where Keras can, and what you know of a file
            that it does not tell.
        on_step: told what is being done, before it is done.

    Raises:
        LambdaRefusedError: some layers are not understood; nothing is written. Its `refused` names all of them.
        ModelError: the file cannot be read, or names what no model needs.
        OptionError: a function that was given is not understood, or no layer needs it; or an option contradicts the
            file.
        OutputError: the output cannot be written, or exists.
    """
    target = None if output is None else Path(output)
    if target is not None:
        _check_target(target, model, overwrite)
    if isinstance(model, str | os.PathLike):
        import exporter.source

        with exporter.source.layers_registered():
            registered = exporter.source.REGISTERED
            made = rewrite(model, functions, registered, on_step=on_step, options=options or RescueOptions())
    else:
        import keras

        if not isinstance(model, keras.Model):
            raise ModelError(f"a model is a keras.Model or a path; got {type(model).__module__}.{type(model).__name__}")
        if options is not None and (options.tensorflow is not None or options.float32):
            raise OptionError("tensorflow and float32 tell of a file; a model in memory is of the Keras that runs")
        made = rewrite_model(model, functions)
    if target is not None:
        _write(made.model, target, on_step)
    return RescueResult(made.model, target, made.replaced, made.notes)


def _check_target(target: Path, model: Any, overwrite: bool) -> None:
    if target.suffix != SUFFIX:
        raise OutputError(f"{target}: a rescued model is a .keras file; give a name that ends in .keras")
    if isinstance(model, str | os.PathLike) and target.exists() and target.resolve() == Path(model).resolve():
        raise OutputError(f"{target}: is the model itself, which is never overwritten; give another --output")
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; --output takes a file")
    if target.is_symlink():
        raise OutputError(f"{target}: a symbolic link, which is not written through; give another --output")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; give another --output, or --overwrite")


def _write(model: Any, target: Path, on_step: Step) -> None:
    """Write beside the target, open it as anyone will, compare, rename."""
    on_step(f"writing {target.name}")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".cbam-partial-", dir=target.parent) as folder:
            partial = Path(folder, target.name)
            model.save(partial)
            on_step("opening it with plain Keras, in safe mode")
            _check_same(model, partial)
            os.replace(partial, target)


def _check_same(model: Any, path: Path) -> None:
    import keras
    import numpy as np

    again = keras.saving.load_model(path, compile=False, safe_mode=True)
    if _parts(again) != _parts(model):
        raise ConversionError(f"{path.name}: Keras opens it as other layers than were saved; please report this model")
    ours, theirs = model.get_weights(), again.get_weights()
    if len(ours) != len(theirs) or not all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, theirs, strict=True)
    ):
        raise ConversionError(
            f"{path.name}: Keras opens it with other weights than were saved; please report this model"
        )


def _parts(model: Any) -> list[tuple[str, Any]]:
    """Name and kind of everything in a model's graph, and of what is in the models within."""
    import keras

    parts: list[tuple[str, Any]] = []
    for part in getattr(model, "operations", None) or model.layers:
        inside = _parts(part) if isinstance(part, keras.Model) else type(part).__name__
        parts.append((part.name, inside))
    return parts
