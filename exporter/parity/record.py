"""The reference file: inputs, what a model gives for them, the truth, and where all that was computed. NumPy only.

A `.npz` of plain arrays, and JSON as bytes under `header`; nothing in it is ever executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from converters.artifact import TensorSpec
from converters.errors import ModelError
from converters.whole_file import whole_file
from exporter.parity.cases import Case
from exporter.parity.soundness import check_record
from exporter.parity.verdict import Workload

RECORD_SCHEMA: Final = "cbam-export/reference/1"

Arrays = Mapping[str, np.ndarray]

LEVELS: Final = ("reference", "float32", "tf32", "fp16_weights", "fp16")
"""Whose distance from the truth is kept: the recorded outputs; a float32 run on a CPU; predictions for TF32 operands,
for weights in half precision, and for half precision throughout."""


@dataclasses.dataclass(frozen=True, slots=True)
class BlockGates:
    """The gate values of one CBAM block in float64, for the first samples of the real case.

    kind: cbam, channel or spatial. channel: (N, C), spatial: (N, H, W); None where the block has no such gate.
    """

    block: str
    kind: str
    channel: np.ndarray | None
    spatial: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Record:
    """What a model gives, and how near that is to the truth.

    Attributes:
        name: the model's.
        input_specs, output_specs: names, shapes (None where open), types, layouts.
        cases: the named parts of the samples, the real one first.
        inputs, outputs: by name, samples first.
        truth: the outputs of the same weights in float64, by name; None where they cannot be had.
        noise: by level (LEVELS) and output, the largest distance from the truth in each row (axis 0) of the output.
        gates: of each CBAM block.
        workload: the arithmetic behind the outputs.
        fingerprint: of the model's weights.
        batch: how many samples a call took, where that changes the outputs; else None.
        environment: what computed the outputs: device, versions, settings (`exporter.environment`).
        remarks: what a reader should know, in words.
        whole: `sha256` of the reference that this is the first samples of; empty where it is whole.
    """

    name: str
    input_specs: tuple[TensorSpec, ...]
    output_specs: tuple[TensorSpec, ...]
    cases: tuple[Case, ...]
    inputs: Arrays = dataclasses.field(repr=False)
    outputs: Arrays = dataclasses.field(repr=False)
    truth: Arrays | None = dataclasses.field(repr=False)
    noise: Mapping[str, Arrays] = dataclasses.field(repr=False)
    gates: tuple[BlockGates, ...] = dataclasses.field(repr=False)
    workload: Workload
    fingerprint: str
    batch: int | None
    environment: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    whole: str = ""

    @property
    def samples(self) -> int:
        """How many samples there are, over all cases."""
        return len(next(iter(self.inputs.values())))

    @property
    def expected(self) -> Arrays:
        """What a candidate is measured against: the truth, or where that cannot be had, what the model gave."""
        return self.outputs if self.truth is None else self.truth

    @property
    def source(self) -> str:
        """What computed the outputs, in words."""
        return str(self.environment.get("summary", "an unknown machine"))

    def first(self, samples: int) -> Record:
        """The same with at most so many samples of the real case."""
        real = self.cases[0]
        if samples >= real.count:
            return self
        dropped = real.count - samples
        keep = np.r_[0:samples, real.count : self.samples]
        cases = [dataclasses.replace(real, count=samples, described=f"{samples} of {real.described}")]
        cases += [dataclasses.replace(case, start=case.start - dropped) for case in self.cases[1:]]

        def cut(arrays: Arrays) -> dict[str, np.ndarray]:
            return {name: array[keep] if len(array) == self.samples else array for name, array in arrays.items()}

        if any(len(array) != self.samples for array in self.outputs.values()):
            raise ModelError("an output of the model has no batch, so that samples cannot be left out")
        return dataclasses.replace(
            self,
            cases=tuple(cases),
            inputs=cut(self.inputs),
            outputs=cut(self.outputs),
            truth=None if self.truth is None else cut(self.truth),
            noise={level: cut(errors) for level, errors in self.noise.items()},
            gates=(),
        )

    def sha256(self) -> str:
        """Over the header and the arrays, those of the whole where this is a part: which reference a result is of."""
        if self.whole:
            return self.whole
        digest = hashlib.sha256()
        header, arrays = _packed(self)
        digest.update(json.dumps(header, sort_keys=True).encode())
        for key, array in arrays.items():
            digest.update(f"\0{key}\0{array.dtype}\0{array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def write(record: Record, path: Path) -> None:
    """Write the file whole or not at all: under a temporary name beside it, then renamed.

    Raises:
        OutputError: it cannot be written.
    """
    header, arrays = _packed(record)
    named: dict[str, Any] = {"header": np.frombuffer(json.dumps(header, allow_nan=False).encode(), np.uint8), **arrays}
    with whole_file(path) as stream:
        np.savez_compressed(stream, **named)


def read(path: Path) -> Record:
    """Read a reference file.

    Raises:
        ModelError: it is not there, damaged, or not a reference of this version.
    """
    try:
        # Opened here, because NumPy leaves the files open that it refuses.
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise ModelError(f"{path}: is no .npz file, or a damaged one; `cbam reference` writes a reference")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as file:
                if "header" not in file.files:
                    raise ModelError(_other_file(path, file.files))
                arrays = {key: file[key] for key in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        if header["schema"] != RECORD_SCHEMA:
            raise ModelError(
                f"{path}: schema {header['schema']!r} is not {RECORD_SCHEMA!r}; "
                "read it with the version of cbam-export that wrote it, or record it again with this one"
            )
        return _unpacked(header, arrays)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError) as error:
        raise ModelError(f"{path}: is not a reference file of cbam-export ({error})") from error
    except MemoryError as error:
        raise ModelError(f"{path}: holds more than fits into memory, or is damaged ({error})") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ModelError(f"{path}: is a damaged reference file ({error})") from error


def _other_file(path: Path, names: Sequence[str]) -> str:
    held = ", ".join(map(repr, sorted(names)[:4])) + (", ..." if len(names) > 4 else "")
    return f"{path}: is not a reference file of cbam-export: it holds {held or 'nothing'}; `cbam reference` writes one"


def is_record(path: Path) -> bool:
    """Whether a path is meant as a reference file: a `.npz`, there or not."""
    return path.suffix.lower() == ".npz"


def _packed(record: Record) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays, which are numbered in the order of the names in the header: a name need not be a file's."""
    arrays: dict[str, np.ndarray] = {}
    for kind, given in (("input", record.inputs), ("output", record.outputs), ("truth", record.truth or {})):
        arrays |= {f"{kind}_{index}": array for index, array in enumerate(given.values())}
    for level, errors in record.noise.items():
        arrays |= {f"noise_{level}_{index}": array for index, array in enumerate(errors.values())}
    for index, block in enumerate(record.gates):
        for kind in ("channel", "spatial"):
            gate = getattr(block, kind)
            if gate is not None:
                arrays[f"gate_{index}_{kind}"] = gate
    header = {
        "schema": RECORD_SCHEMA,
        "name": record.name,
        "inputs": [spec.to_json() for spec in record.input_specs],
        "outputs": [spec.to_json() for spec in record.output_specs],
        "cases": [case.to_json() for case in record.cases],
        "truth": record.truth is not None,
        "noise": list(record.noise),
        "gates": [{"block": block.block, "kind": block.kind} for block in record.gates],
        "workload": dataclasses.asdict(record.workload),
        "weights_sha256": record.fingerprint,
        "batch": record.batch,
        "environment": record.environment,
        "remarks": list(record.remarks),
    }
    if record.whole:
        header["whole_sha256"] = record.whole
    return header, arrays


def _unpacked(header: Mapping[str, Any], arrays: Arrays) -> Record:
    inputs = tuple(map(TensorSpec.from_json, header["inputs"]))
    outputs = tuple(map(TensorSpec.from_json, header["outputs"]))

    def named(kind: str, specs: tuple[TensorSpec, ...]) -> dict[str, np.ndarray]:
        return {spec.name: arrays[f"{kind}_{index}"] for index, spec in enumerate(specs)}

    unknown = set(header["noise"]) - set(LEVELS)
    if unknown:
        raise ValueError(f"unknown noise level {sorted(unknown)[0]!r}")
    record = Record(
        name=str(header["name"]),
        input_specs=inputs,
        output_specs=outputs,
        cases=tuple(Case(**case) for case in header["cases"]),
        inputs=named("input", inputs),
        outputs=named("output", outputs),
        truth=named("truth", outputs) if header["truth"] else None,
        noise={level: named(f"noise_{level}", outputs) for level in header["noise"]},
        gates=tuple(
            BlockGates(
                each["block"], each["kind"], arrays.get(f"gate_{index}_channel"), arrays.get(f"gate_{index}_spatial")
            )
            for index, each in enumerate(header["gates"])
        ),
        workload=Workload(**header["workload"]),
        fingerprint=str(header["weights_sha256"]),
        batch=header["batch"],
        environment=dict(header["environment"]),
        remarks=tuple(map(str, header["remarks"])),
        whole=str(header.get("whole_sha256", "")),
    )
    check_record(record)
    return record
