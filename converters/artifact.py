"""What an export leaves behind, described: tensors, precision, the artifact itself and its JSON sidecar."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from converters.errors import ModelError

SIDECAR_SCHEMA: Final = "cbam-export/artifact/1"


class Precision(enum.StrEnum):
    """The arithmetic of an artifact. The value is what a user types and what stands in the sidecar."""

    FP32 = "fp32"
    FP16 = "fp16"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    INT16X8 = "int16x8"


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the name the user's model gave it.
        shape: sizes in order; None is a size that is open until run time.
        dtype: NumPy's name of the element type.
        layout: `NHWC` or `NCHW` for an image map of rank 4, else None.
        scale, zero_point: real = scale * (stored - zero_point), for a quantised tensor, else None.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    layout: str | None = None
    scale: float | None = None
    zero_point: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        return cls(**{**data, "shape": tuple(data["shape"])})

    def __str__(self) -> str:
        size = "x".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} {size or 'scalar'} {self.dtype}" + (f" {self.layout}" if self.layout else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Artifact:
    """A converted model on disk. Everything after export takes this, never a bare path.

    Attributes:
        path: the file, or the folder of a SavedModel.
        format: the name of its row in `exporter.formats.FORMATS`.
        inputs, outputs: as the file itself declares them.
        sha256: of the file, or of the folder's files (`fingerprint_path`).
        size: bytes on disk.
        metadata: what also stands inside the artifact: labels, preprocessing, provenance.
    """

    path: Path
    format: str
    precision: Precision
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    size: int
    metadata: Mapping[str, Any]

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the artifact came from: source, its weights' fingerprint, versions."""
        provenance: Mapping[str, Any] = self.metadata["provenance"]
        return provenance

    def to_json(self) -> dict[str, Any]:
        """The keys that `--json` promises: path, format, precision, sha256, bytes, inputs, outputs."""
        return {
            "path": str(self.path),
            "format": self.format,
            "precision": str(self.precision),
            "sha256": self.sha256,
            "bytes": self.size,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
        }

    def sidecar_text(self) -> str:
        # The sidecar names the file beside it, so that the pair can be moved together.
        body = {**self.to_json(), "path": self.path.name}
        return (
            json.dumps({"schema": SIDECAR_SCHEMA, **body, "metadata": self.metadata}, indent=2, allow_nan=False) + "\n"
        )

    @classmethod
    def load(cls, path: Path) -> Artifact:
        """Read an artifact back by its sidecar.

        Raises:
            ModelError: no sidecar, one of another kind, or one that does not describe this file.
        """
        sidecar = sidecar_path(path)
        if not sidecar.is_file():
            raise ModelError(f"{path}: has no sidecar {sidecar.name}, so it is not known what it holds")
        try:
            data = json.loads(sidecar.read_text(encoding="utf-8"))
            if data["schema"] != SIDECAR_SCHEMA:
                raise ModelError(f"{sidecar}: schema {data['schema']!r} is not {SIDECAR_SCHEMA!r}")
            artifact = cls(
                path=path,
                format=data["format"],
                precision=Precision(data["precision"]),
                inputs=tuple(map(TensorSpec.from_json, data["inputs"])),
                outputs=tuple(map(TensorSpec.from_json, data["outputs"])),
                sha256=data["sha256"],
                size=data["bytes"],
                metadata=data["metadata"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{sidecar}: is not a sidecar of cbam-export ({error})") from error
        if not path.exists():
            raise ModelError(f"{path}: does not exist, though its sidecar does")
        if fingerprint_path(path)[0] != artifact.sha256:
            raise ModelError(f"{path}: is not the file its sidecar describes (the SHA-256 differs); export it again")
        return artifact


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of `path` stands: beside it, the whole name plus `.json`."""
    return path.with_name(path.name + ".json")


def fingerprint_path(path: Path) -> tuple[str, int]:
    """SHA-256 and size in bytes of a file; of a folder, over the sorted names, sizes and bytes of its files."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    digest, total = hashlib.sha256(), 0
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        total += size
    return digest.hexdigest(), total
