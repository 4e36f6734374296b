"""Small pictures for a report, as PNG files in base64: inputs, and attention maps of a model and its artifacts."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from exporter.parity.record import Record
from exporter.samples import resize

if TYPE_CHECKING:
    from exporter.divergence import Found

MAPS: Final = 12
"""Attention maps shown of one artifact, at most, unless it has more blocks: then one sample each."""

SAMPLES: Final = 2  # of each block, at most
FLIPPED: Final = 24  # inputs shown because their class flipped
LONGEST: Final = 96  # pixels along the longer side of an input

Rgb = tuple[int, int, int]

_VALUE: Final[tuple[Rgb, ...]] = (
    (20, 18, 52),
    (58, 52, 128),
    (38, 112, 142),
    (52, 168, 128),
    (160, 216, 84),
    (250, 238, 140),
)
"""From the least value to the largest: each step lighter than the one before, so that it reads in grey as well."""

_DIFFERENCE: Final[tuple[Rgb, ...]] = ((24, 74, 150), (118, 168, 214), (246, 246, 244), (226, 142, 104), (158, 38, 26))
"""Below, equal, above."""


def pictures(record: Record, rows: Sequence[Mapping[str, Any]], found: Sequence[Found]) -> dict[str, Any]:
    """The key `pictures` of a result.

    `inputs`: rows of the record that the maps and the flips show, of the first input that is an image. `attention`: one
    entry a block, sample and artifact, the model alone where no artifact was searched. Empty for what has no images.
    """
    attention = [each for one in found for each in _attention(one)] or _recorded(record)
    shown = [each["sample"] for each in attention]
    flips = [flip["sample"] for each in rows for flip in sorted(each["flips"], key=lambda flip: -flip["margin"])]
    shown += list(dict.fromkeys(flips))[:FLIPPED]
    return {"inputs": _inputs(record, dict.fromkeys(shown)), "attention": attention}


def _attention(found: Found) -> list[dict[str, Any]]:
    maps = found.profile.maps if found.profile else ()
    if not maps:
        return []
    count = min(len(maps[0].model), max(1, min(SAMPLES, MAPS // len(maps))))
    told = []
    for each in maps:
        for index in range(count):
            given = None if each.artifact is None else each.artifact[index]
            shown = _shown(each.block, each.model[index], given)
            told.append({"artifact": str(found.artifact.path), "sample": int(found.rows[index]), **shown})
    return told


def _recorded(record: Record) -> list[dict[str, Any]]:
    """The maps that a reference holds of the model, on its first samples, where no artifact was searched."""
    blocks = [each for each in record.gates if each.spatial is not None and each.spatial.size]
    count = max(1, min(SAMPLES, MAPS // max(1, len(blocks))))
    return [
        {"artifact": None, "sample": index, **_shown(each.block, np.asarray(each.spatial)[index], None)}
        for each in blocks
        for index in range(min(count, len(np.asarray(each.spatial))))
    ]


def _shown(block: str, model: np.ndarray, artifact: np.ndarray | None) -> dict[str, Any]:
    """Both maps in the same colours, and their difference in its own; (H, W), values from 0 to 1."""
    pair = [model] if artifact is None else [model, artifact]
    finite = np.concatenate([each[np.isfinite(each)] for each in pair] or [np.zeros(1)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    told: dict[str, Any] = {
        "block": block,
        "height": int(model.shape[0]),
        "width": int(model.shape[1]),
        "least": low,
        "largest": high,
        "model": coloured(model, low, high, _VALUE),
        "given": None,
        "difference": None,
        "error": None,
    }
    if artifact is None:
        return told
    with np.errstate(invalid="ignore"):  # what is not finite in both is told as not finite
        off = artifact - model
    error = float(np.abs(off).max()) if np.isfinite(off).all() else None
    limit = error if error else 1.0
    told["given"] = coloured(artifact, low, high, _VALUE)
    told["difference"] = coloured(off, -limit, limit, _DIFFERENCE)
    return {**told, "error": error}


def _inputs(record: Record, samples: Mapping[int, None]) -> list[dict[str, Any]]:
    """The pictures of some rows, all in the range of the real inputs."""
    for spec in record.input_specs:
        array = record.inputs[spec.name]
        axis = {"NHWC": -1, "NCHW": 1}.get(spec.layout or "", 0)
        if array.ndim != 4 or not axis or array.shape[axis] not in (1, 3):
            continue
        real = array[record.cases[0].rows]
        low, high = float(real.min()), float(real.max())
        cases = {row: case.name for case in record.cases for row in range(case.start, case.start + case.count)}
        return [
            {
                "input": spec.name,
                "sample": int(row),
                "case": cases[row],
                "png": _picture(np.moveaxis(array[row], 0, -1) if axis == 1 else array[row], low, high),
            }
            for row in samples
        ]
    return []


def _picture(image: np.ndarray, low: float, high: float) -> str:
    """An image (H, W, 1 or 3), black at `low` and white at `high`."""
    values = image.astype(np.float64)[None]
    scale = max(values.shape[1:3]) / LONGEST
    if scale > 1:
        for axis in (1, 2):
            values = resize(values, max(1, round(values.shape[axis] / scale)), axis)
    share = (np.nan_to_num(values[0], nan=low) - low) / (high - low if high > low else 1.0)
    pixels = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return _encoded(png(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))


def coloured(values: np.ndarray, low: float, high: float, colours: Sequence[Rgb]) -> str:
    """A map (H, W) as a PNG in base64, its values from `low` to `high` in evenly spaced colours; NaN is black."""
    stops = np.linspace(0, 1, len(colours))
    palette = np.stack([np.interp(np.linspace(0, 1, 255), stops, channel) for channel in zip(*colours, strict=True)], 1)
    share = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)
    finite = np.isfinite(share)
    index = np.where(finite, np.rint(np.where(finite, share, 0) * 254) + 1, 0).astype(np.uint8)
    return _encoded(png(index, np.concatenate([np.zeros((1, 3)), np.rint(palette)]).astype(np.uint8)))


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """A PNG file (ISO/IEC 15948): grey (H, W) or colour (H, W, 3) of uint8, or with a palette (256, 3) its indices."""
    height, width = pixels.shape[:2]
    kind = 3 if palette is not None else 2 if pixels.ndim == 3 else 0
    lines = np.ascontiguousarray(pixels.reshape(height, -1))
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    parts += [(b"PLTE", palette.tobytes())] if palette is not None else []
    parts += [(b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _encoded(file: bytes) -> str:
    return base64.b64encode(file).decode("ascii")
