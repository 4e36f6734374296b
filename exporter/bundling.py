"""`exporter.bundle`: artifacts, a reference and the code that compares them, in one file for a device.

The file is a zipapp: `python3 NAME.pyz` verifies there, with NumPy and a runtime and nothing of this package installed.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from converters.artifact import Artifact
from converters.errors import ConversionError, ModelError, OptionError, OutputError
from converters.whole_file import whole_file
from exporter.against import open_reference
from exporter.candidates import load_candidate
from exporter.checking import BUNDLE_SCHEMA, MANIFEST
from exporter.parity.fitting import fit
from exporter.parity.record import write
from exporter.parity.tolerances import Overrides
from exporter.verification import VerifyOptions

Step = Callable[[str], None]

CARRIED: Final = (
    "converters/__init__.py",
    "converters/artifact.py",
    "converters/deploy/__init__.py",
    "converters/deploy/targets.py",
    "converters/errors.py",
    "converters/whole_file.py",
    "exporter/__init__.py",
    "exporter/against.py",
    "exporter/breakdown.py",
    "exporter/candidates.py",
    "exporter/checking.py",
    "exporter/formats.py",
    "exporter/verification.py",
    "exporter/parity",
    "exporter/runtimes/__init__.py",
    "exporter/runtimes/apart.py",
    "exporter/runtimes/base.py",
    "exporter/runtimes/litert.py",
    "exporter/runtimes/onnx_precision.py",
    "exporter/runtimes/onnx_runtime.py",
    "exporter/runtimes/process.py",
    "exporter/runtimes/table.py",
    "exporter/runtimes/workers/__init__.py",
    "exporter/runtimes/workers/describe_here.py",
    "exporter/runtimes/workers/run_here.py",
    "exporter/runtimes/workers/serve.py",
)
"""Modules that a bundle holds: those that verify, which need NumPy, and the two runtimes that devices have."""

FORMATS_CARRIED: Final = ("tflite", "onnx")

_START: Final = """\
import pathlib
import sys
import tempfile
import zipfile
import zlib

if sys.version_info < (3, 11):
    sys.stderr.write("error: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + "\\n")
    sys.exit(4)
try:
    import numpy
except ImportError as error:
    sys.stderr.write("error: %s; NumPy and ai-edge-litert or onnxruntime are needed\\n" % error)
    sys.exit(4)
bundle = pathlib.Path(__file__).parent
try:
    # In a folder, because each runtime runs in a process of its own, which starts from a file.
    with tempfile.TemporaryDirectory(prefix="cbam-bundle-") as folder:
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".py")])
        sys.path.insert(0, folder)
        from exporter.checking import main

        status = main(bundle=bundle)
except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    sys.stderr.write("error: %s: cannot be unpacked (%s)\\n" % (bundle, error))
    status = 2
except KeyboardInterrupt:
    sys.stderr.write("interrupted\\n")
    status = 130
sys.exit(status)
"""

_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the least that a zip can hold: equal input, equal bytes


@dataclasses.dataclass(frozen=True, slots=True)
class BundleOptions:
    """overrides: as for `exporter.verify`; samples: real ones that it carries at most, None for all; overwrite: replace
    the file."""

    overrides: Mapping[str, Overrides] = dataclasses.field(default_factory=dict)
    samples: int | None = None
    overwrite: bool = False


def bundle(
    candidates: Sequence[str | Path | Artifact],
    against: Any,
    output: str | Path,
    options: BundleOptions | None = None,
    *,
    on_step: Step = lambda step: None,
) -> Path:
    """Write the bundle, whole or not at all, and give its path.

    Args:
        candidates: as for `exporter.verify`, TFLite and ONNX only.
        against: a reference file, a `Record` or a model.
        output: the `.pyz` file.

    Raises:
        ModelError: a candidate or a reference that cannot be read.
        OptionError: a candidate that no device runs, or none; too few samples.
        OutputError: the file exists, or cannot be written.
    """
    options = options or BundleOptions()
    VerifyOptions(samples=options.samples)  # refuses what the device would have to refuse
    path = Path(output)
    if path.suffix != ".pyz":
        raise OutputError(f"{path}: a bundle is a .pyz file; give a name that ends so")
    if path.is_dir() or path.is_symlink() or (path.exists() and not options.overwrite):
        raise OutputError(f"{path}: exists; --overwrite replaces a file")
    artifacts = [each if isinstance(each, Artifact) else _loaded(each) for each in candidates]
    if not artifacts:
        raise OptionError("nothing to bundle: give an artifact")
    for artifact in artifacts:
        if artifact.format not in FORMATS_CARRIED:
            known = " and ".join(FORMATS_CARRIED)
            raise OptionError(f"{artifact.path}: is {artifact.format}; a bundle is for devices, which run {known}")
        if artifact.format == "onnx" and (others := _other_files(artifact.path)):
            raise OptionError(
                f"{artifact.path}: keeps its weights in {', '.join(others)}, and a bundle takes single files; save it "
                "in one (onnx.save with save_as_external_data=False)"
            )
    record = open_reference(against, artifacts, on_step)
    for name in options.overrides:
        if name and name not in record.outputs:
            raise OptionError(f"the model has no output {name!r} (known: {', '.join(record.outputs)})")
    for artifact in artifacts:
        fit(record, artifact)  # so does this
    if options.samples is not None and options.samples < record.cases[0].count:
        record = dataclasses.replace(record.first(options.samples), gates=record.gates, whole=record.sha256())
    on_step(f"packing {path.name}")
    with tempfile.TemporaryDirectory(prefix="cbam-bundle-") as folder:
        reference = Path(folder, "reference.npz")
        write(record, reference)
        _write(path, artifacts, reference, options)
    return path


def _other_files(path: Path) -> list[str]:
    """The files beside an ONNX file that hold tensors of it."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    tensors = onnx.load(path, load_external_data=False).graph.initializer
    return list(dict.fromkeys(ExternalDataInfo(each).location for each in tensors if uses_external_data(each)))


def _loaded(path: str | Path) -> Artifact:
    try:
        return load_candidate(path, apart=True)
    except ConversionError as error:
        raise ModelError(f"{path}: cannot be opened here, so there is no use in bundling it ({error})") from error


def _write(path: Path, artifacts: Sequence[Artifact], reference: Path, options: BundleOptions) -> None:
    manifest = {
        "schema": BUNDLE_SCHEMA,
        "artifacts": [
            {
                "name": each.path.name,
                "path": str(each.path),
                "file": f"artifacts/{index}",
                "sidecar": each.sidecar_text(),
            }
            for index, each in enumerate(artifacts)
        ],
        "reference": "reference.npz",
        "settings": {
            "samples": options.samples,
            "overrides": {name: dataclasses.asdict(each) for name, each in options.overrides.items()},
        },
    }
    with whole_file(path, mode=0o755) as stream:  # a program
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            _add(archive, "__main__.py", _START.encode())
            for name, content in modules().items():
                _add(archive, name, content)
            _add(archive, MANIFEST, json.dumps(manifest, allow_nan=False).encode())
            for index, each in enumerate(artifacts):
                _add(archive, f"artifacts/{index}", each.path.read_bytes())
            _add(archive, "reference.npz", reference.read_bytes())


def modules() -> dict[str, bytes]:
    """What CARRIED names, by its place in the bundle.

    Raises:
        ModelError: the installation lacks one.
    """
    root = Path(__file__).parents[1]
    found: dict[str, bytes] = {}
    for name in CARRIED:
        files = sorted((root / name).glob("*.py")) if not name.endswith(".py") else [root / name]
        for file in files:
            if not file.is_file():
                raise ModelError(f"{name} is missing from the installation; install again")
            found[file.relative_to(root).as_posix()] = file.read_bytes()
    return found


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
