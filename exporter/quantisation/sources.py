"""Calibration data from wherever a user has them: images, arrays, records, Python objects. Nothing is unpickled."""

from __future__ import annotations

import dataclasses
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import CalibrationError
from exporter.quantisation.preprocess import LUMA, Preprocessing
from exporter.quantisation.samples import SampleSet

Progress = Callable[[int, int], None]

IMAGES: Final = frozenset(
    {*(".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp", ".avif")}
)
ARRAYS: Final = (".npy", ".npz")
RECORDS: Final = (".tfrecord", ".tfrecords")
_LARGEST: Final = 100_000_000  # pixels of one image; Pillow itself refuses at about twice that
_MANY: Final = 5000  # samples drawn from a larger set before any is decoded


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the samples are for: the model's inputs, its formula from pixels or None, and the draw of a large set; and
    what the model should say to each of them, in their order, where that is known."""

    inputs: tuple[TensorSpec, ...]
    preprocess: Preprocessing | None
    most: int = _MANY
    seed: int = 0
    targets: np.ndarray | None = None

    def targets_of(self, places: Any, count: int) -> np.ndarray | None:
        """The targets of the samples at these places of `count`.

        Raises:
            CalibrationError: there are not as many as samples.
        """
        if self.targets is None:
            return None
        if len(self.targets) != count:
            raise CalibrationError(f"{len(self.targets)} targets for {count} samples; expected one for each")
        return np.asarray(self.targets[places])

    @property
    def image(self) -> TensorSpec:
        """The model's one image input.

        Raises:
            CalibrationError: it has several inputs, or one that takes no images.
        """
        if len(self.inputs) != 1:
            names = ", ".join(spec.name for spec in self.inputs)
            raise CalibrationError(f"the model has {len(self.inputs)} inputs ({names}); images feed one: give an .npz")
        (spec,) = self.inputs
        channels = spec.shape[-1 if spec.layout == "NHWC" else 1] if spec.layout else None
        if channels not in (1, 3):
            raise CalibrationError(f"input {spec} takes no images of 1 or 3 channels; give its samples as .npy or .npz")
        return spec


def read(source: Any, wanted: Wanted, progress: Progress = lambda done, of: None) -> SampleSet:
    """Read calibration data.

    Args:
        source: a folder of images (searched recursively) or one image, a .npy, .npz or TFRecord file, an array, arrays
            by input name, a `tf.data.Dataset` or any iterable of samples without or with a batch of their own.
        progress: told how many of how many samples were read.

    Raises:
        CalibrationError: nothing there, or not readable as samples of the model's inputs.
    """
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), wanted, progress)
    if isinstance(source, np.ndarray):
        return _from_arrays({wanted.inputs[0].name: source}, wanted, "an array")
    if isinstance(source, Mapping):
        return _from_arrays(source, wanted, "arrays")
    if isinstance(source, Iterable):
        return _from_iterable(source, wanted)
    kind = type(source).__name__
    raise CalibrationError(f"calibration data are a path, an array, arrays by input name or an iterable; got {kind}")


def _from_path(path: Path, wanted: Wanted, progress: Progress) -> SampleSet:
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        if not files:
            raise CalibrationError(f"{path}: holds no images; looked for {', '.join(sorted(IMAGES))} in it and below")
        return _from_images(path, files, wanted, progress)
    if not path.exists():
        raise CalibrationError(f"{path}: no such file or folder of calibration data")
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return _from_numpy(path, wanted)
    if suffix in RECORDS:
        return _from_records(path, wanted)
    if suffix in IMAGES:
        return _from_images(path.parent, [path], wanted, progress)
    known = ", ".join((*ARRAYS, *RECORDS))
    raise CalibrationError(f"{path}: not known as calibration data; give a folder of images, or a file of {known}")


def _from_numpy(path: Path, wanted: Wanted) -> SampleSet:
    try:
        with path.open("rb") as stream:  # NumPy would leave a broken file open
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return _from_arrays({wanted.inputs[0].name: loaded}, wanted, path.name, single=True)
            with loaded:
                return _from_arrays({name: loaded[name] for name in loaded.files}, wanted, path.name)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        if "pickle" in reason.lower():
            reason = "it holds pickled Python objects, which are never loaded; save plain arrays of numbers"
        raise CalibrationError(f"{path}: cannot be read as arrays: {reason}") from error


def _from_arrays(arrays: Mapping[str, Any], wanted: Wanted, named: str, single: bool = False) -> SampleSet:
    expected = [spec.name for spec in wanted.inputs]
    if single and len(expected) > 1:
        raise CalibrationError(f"{named}: one array, and the model has the inputs {', '.join(expected)}; give an .npz")
    if len(arrays) == 1 and len(expected) == 1:
        arrays = {expected[0]: next(iter(arrays.values()))}
    if set(arrays) != set(expected):
        raise CalibrationError(f"{named}: holds {', '.join(arrays) or 'nothing'}; expected: {', '.join(expected)}")
    found = {name: np.asarray(arrays[name]) for name in expected}
    counts = {name: len(array) if array.ndim else 0 for name, array in found.items()}
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise CalibrationError(f"{named}: the inputs have different numbers of samples: {told}")
    places = _draw(next(iter(counts.values())), wanted)
    pixels = False
    for name, array in found.items():
        found[name] = array[places]
        if wanted.preprocess is not None and wanted.preprocess.source == "asked for" and len(expected) == 1:
            found[name] = _formula(found[name], wanted.inputs[0], wanted.preprocess)
            pixels = True
    names = tuple(f"sample {place}" for place in places)
    targets = wanted.targets_of(places, next(iter(counts.values())))
    return SampleSet(found, f"{len(names)} samples of {named}", names, pixels, targets)


def _formula(array: np.ndarray, spec: TensorSpec, preprocess: Preprocessing) -> np.ndarray:
    """The formula that was asked for, over arrays of pixels in the model's own layout."""
    if spec.layout == "NCHW" and array.ndim == 4:
        return np.ascontiguousarray(preprocess.apply(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    return preprocess.apply(array)


def _from_iterable(source: Iterable[Any], wanted: Wanted) -> SampleSet:
    expected = [spec.name for spec in wanted.inputs]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in expected}
    for index, element in enumerate(source):
        if index >= wanted.most:
            break
        # A labelled data set gives (inputs, targets).
        labelled = isinstance(element, tuple) and len(expected) == 1
        given = element[0] if labelled else element
        if not isinstance(given, Mapping):
            given = dict(zip(expected, given if isinstance(given, tuple | list) else [given], strict=False))
        if set(given) != set(expected):
            raise CalibrationError(
                f"sample {index} has {', '.join(given) or 'nothing'}; expected: {', '.join(expected)}"
            )
        for spec in wanted.inputs:
            array = np.asarray(given[spec.name])
            parts[spec.name].append(array if array.ndim == len(spec.shape) else array[None])
    if not parts[expected[0]]:
        raise CalibrationError("the calibration data are empty: not one sample came; expected 100 or more")
    try:
        arrays = {name: np.concatenate(each) for name, each in parts.items()}
    except ValueError as error:
        raise CalibrationError(f"the samples are not all of one shape: {error}") from error
    return _from_arrays(arrays, wanted, "a data set")


def _from_records(path: Path, wanted: Wanted) -> SampleSet:
    import tensorflow as tf

    arrays: dict[str, list[np.ndarray]] = {spec.name: [] for spec in wanted.inputs}
    try:
        for index, record in enumerate(tf.data.TFRecordDataset(str(path))):
            if index >= wanted.most:
                break
            features = tf.train.Example.FromString(record.numpy()).features.feature
            for spec in wanted.inputs:
                arrays[spec.name].append(_feature(path, index, features, spec, wanted))
    except tf.errors.OpError as error:
        raise CalibrationError(f"{path}: cannot be read as a TFRecord: {error.message}") from error
    count = len(arrays[wanted.inputs[0].name])
    if not count:
        raise CalibrationError(f"{path}: is empty; expected 100 samples or more")
    names = tuple(f"record {index}" for index in range(count))
    stacked = {name: np.stack(each) for name, each in arrays.items()}
    targets = wanted.targets_of(slice(None), count)
    return SampleSet(stacked, f"{count} records of {path.name}", names, wanted.preprocess is not None, targets)


def _feature(path: Path, index: int, features: Any, spec: TensorSpec, wanted: Wanted) -> np.ndarray:
    """One input of one tf.train.Example: an encoded image, or as many numbers as the input takes."""
    keys = [
        key for key in (spec.name, f"{spec.name}/encoded", "image/encoded", "image_raw", "image") if key in features
    ]
    if not keys:
        have = ", ".join(sorted(features)) or "nothing"
        raise CalibrationError(f"{path}: record {index} has the features {have}; expected one named {spec.name!r}")
    feature = features[keys[0]]
    if feature.bytes_list.value:
        import io

        return _image(io.BytesIO(feature.bytes_list.value[0]), f"{path}: record {index}", wanted)
    values = np.asarray(feature.float_list.value or feature.int64_list.value, np.float32)
    shape = tuple(size or 1 for size in spec.shape[1:])
    if values.size != np.prod(shape):
        raise CalibrationError(f"{path}: record {index} holds {values.size} numbers for input {spec}")
    return values.reshape(shape).astype(spec.dtype)


def _from_images(folder: Path, files: Sequence[Path], wanted: Wanted, progress: Progress) -> SampleSet:
    spec = wanted.image
    places = _draw(len(files), wanted)
    chosen, targets = [files[place] for place in places], wanted.targets_of(places, len(files))
    arrays = []
    for index, file in enumerate(chosen, 1):
        arrays.append(_image(file, str(file), wanted))
        progress(index, len(chosen))
    names = tuple(file.relative_to(folder).as_posix() for file in chosen)
    return SampleSet({spec.name: np.stack(arrays)}, f"{len(chosen)} images of {folder.name}", names, True, targets)


def _image(file: Any, named: str, wanted: Wanted) -> np.ndarray:
    """One image as the model takes it, without batch."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    spec, formula = wanted.image, wanted.preprocess
    if formula is None:
        raise CalibrationError(
            f"how pixels become the numbers of input {spec.name!r} is not known: the model does not begin with a "
            f"Rescaling layer; say it with --preprocess unit (0..1), bytes, tf (-1..1), torch or caffe, or --scale"
        )
    height, width, channels = spec.shape[1:] if spec.layout == "NHWC" else (*spec.shape[2:], spec.shape[1])
    assert height is not None
    assert width is not None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.width * image.height > _LARGEST:
                    raise CalibrationError(f"{named}: {image.width}x{image.height} pixels are more than {_LARGEST:,}")
                upright = _eight_bits(ImageOps.exif_transpose(image))
                sized = _sized(upright, (width, height), formula.resize, Image.Resampling.BILINEAR)
                pixels = np.asarray(sized, np.float64)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombWarning) as error:
        raise CalibrationError(f"{named}: cannot be read as an image ({error})") from error
    if channels == 1:
        pixels = np.rint(pixels @ np.asarray(LUMA))[..., None]
    elif formula.order == "bgr":
        pixels = pixels[..., ::-1]
    made = formula.apply(pixels).astype(spec.dtype)
    return made if spec.layout == "NHWC" else np.ascontiguousarray(made.transpose(2, 0, 1))


def _eight_bits(image: Any) -> Any:
    """RGB of 8 bits, over white where it is transparent."""
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, np.float64)
        top = 65535.0 if image.mode != "F" else max(1.0, float(values.max()))
        image = Image.fromarray(np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _sized(image: Any, size: tuple[int, int], how: str, filtered: Any) -> Any:
    if image.size == size:
        return image
    if how == "stretch":
        return image.resize(size, filtered)
    from PIL import ImageOps

    return ImageOps.fit(image, size, filtered)


def _draw(count: int, wanted: Wanted) -> np.ndarray:
    """Which samples of a set are read: all, or `most` of them drawn with the seed, in order."""
    if count <= wanted.most:
        return np.arange(count)
    return np.sort(np.random.default_rng(wanted.seed).choice(count, wanted.most, replace=False))


def batches(samples: SampleSet, size: int) -> Iterator[dict[str, np.ndarray]]:
    """The samples in calls of `size`, the last one filled up by repetition."""
    for start in range(0, len(samples), size):
        chunk = {name: array[start : start + size] for name, array in samples.arrays.items()}
        yield {name: np.resize(array, (size, *array.shape[1:])) for name, array in chunk.items()}
