"""The user's own inputs for a reference: a `.npz`, a `.npy`, or a folder of `.npy` files or pictures."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import ModelError
from exporter.samples import Range, resize

_NPY: Final = b"\x93NUMPY"
_PICTURES: Final = (".png", ".jpg", ".jpeg", ".bmp")


def load_inputs(
    path: Path, specs: Sequence[TensorSpec], value_range: Range | None
) -> tuple[dict[str, np.ndarray], str]:
    """Inputs by name, samples first, and a few words that say what they are, and what was changed of them.

    A `.npz` holds an array by each input's name; a file or folder with one array is for a model with one input.
    Pictures are scaled to the input's size and to `value_range` (0..1 if that is None).

    Raises:
        ModelError: nothing there, one sample alone, of another shape or type, not finite, or outside the range that is
            known.
    """
    changed: list[str] = []
    arrays = {"": _folder(path, specs, value_range, changed)} if path.is_dir() else _file(path)
    if len(arrays) == len(specs) == 1:
        arrays = {specs[0].name: next(iter(arrays.values()))}
    names = [spec.name for spec in specs]
    if set(arrays) != set(names):
        raise ModelError(f"{path}: holds {', '.join(map(repr, arrays))}; the model takes {', '.join(map(repr, names))}")
    found = {spec.name: _fitted(path, arrays[spec.name], spec, value_range) for spec in specs}
    counts = {len(array) for array in found.values()}
    if len(counts) != 1 or 0 in counts:
        raise ModelError(f"{path}: holds {' and '.join(map(str, sorted(counts)))} samples; one number is needed")
    if counts == {1}:
        raise ModelError(f"{path}: holds 1 sample; at least 2 are needed, or nothing can vary")
    changed += [
        f"{name!r} cast from {arrays[name].dtype} to {array.dtype}"
        for name, array in found.items()
        if arrays[name].dtype != array.dtype
    ]
    return found, ", ".join((f"{counts.pop()} samples of {path.name}", *changed))


def _file(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream:  # opened here, because NumPy leaves the files open that it refuses
            head = stream.read(6)
            if not head.startswith((b"PK", _NPY)):  # NumPy takes all else for pickled objects
                raise ModelError(f"{path}: is neither a .npz nor a .npy file")
            stream.seek(0)
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        # NumPy's own words tell how to load what is pickled all the same.
        why = "Python objects are never loaded" if "pickle" in str(error) else error
        raise ModelError(f"{path}: is neither a .npz nor a .npy of plain arrays ({why})") from error


def _folder(path: Path, specs: Sequence[TensorSpec], value_range: Range | None, changed: list[str]) -> np.ndarray:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in (".npy", *_PICTURES))
    if not files:
        raise ModelError(f"{path}: holds no .npy file and no picture ({', '.join(_PICTURES)})")
    if len(specs) != 1:
        raise ModelError(f"{path}: a folder is for a model with one input; give a .npz with {len(specs)} arrays")
    sizes: set[tuple[int, int]] = set()
    arrays = [
        _picture(file, specs[0], value_range, sizes) if file.suffix.lower() != ".npy" else _file(file)[""]
        for file in files
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise ModelError(f"{path}: its files have different shapes: {', '.join(map(str, sorted(shapes)))}")
    if sizes:
        height, width = _side(specs[0])
        others = sorted(sizes - {(height, width)})
        told = f"{others[0][1]}x{others[0][0]}" if len(others) == 1 else f"{len(others)} sizes"
        changed += [f"pictures of {told} resized to {width}x{height}"] if others else []
    return np.stack(arrays)


def _side(spec: TensorSpec) -> tuple[int, int]:
    """Height and width of an image input."""
    height, width = spec.shape[1:3] if spec.layout == "NHWC" else spec.shape[2:]
    assert height is not None
    assert width is not None
    return height, width


def _picture(path: Path, spec: TensorSpec, value_range: Range | None, sizes: set[tuple[int, int]]) -> np.ndarray:
    """One picture in the size, layout and type of an input; its own size joins `sizes`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ModelError(f"{path}: reading pictures needs Pillow (pip install pillow); a .npz needs nothing") from error
    if spec.layout is None:
        raise ModelError(f"{path}: is a picture; input {spec} takes none")
    (height, width), channels = _side(spec), spec.shape[-1 if spec.layout == "NHWC" else 1]
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.float64)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as a picture ({error})") from error
    sizes.add(pixels.shape[:2])
    low, high = value_range or ((0.0, 255.0) if spec.dtype == "uint8" else (0.0, 1.0))
    pixels = resize(resize(pixels.reshape(1, *pixels.shape[:2], -1), height, 1), width, 2)[0] / 255
    pixels = pixels * (high - low) + low
    pixels = pixels if spec.layout == "NHWC" else pixels.transpose(2, 0, 1)
    made: np.ndarray = (
        np.rint(pixels).astype(spec.dtype) if spec.dtype.startswith("uint") else pixels.astype(spec.dtype)
    )
    return made


def _fitted(path: Path, array: np.ndarray, spec: TensorSpec, value_range: Range | None) -> np.ndarray:
    wanted = spec.shape[1:]
    if array.ndim != len(spec.shape) or any(
        size not in (None, have) for size, have in zip(wanted, array.shape[1:], strict=True)
    ):
        raise ModelError(f"{path}: input {spec.name!r} is {array.shape}; the model takes samples of {wanted}")
    if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
        raise ModelError(f"{path}: input {spec.name!r} is of type {array.dtype}; the model takes {spec.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelError(f"{path}: input {spec.name!r} holds NaN or infinity")
    if value_range is not None and array.size and not (value_range[0] <= array.min() <= array.max() <= value_range[1]):
        low, high = value_range
        raise ModelError(
            f"{path}: input {spec.name!r} has values from {array.min():g} to {array.max():g}; "
            f"the model expects {low:g}..{high:g} (--input-range says otherwise where that is wrong)"
        )
    return array.astype(spec.dtype)
