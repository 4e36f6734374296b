"""The command of a bundle and of `scripts/check_parity.py`: verify on a device that has NumPy and a runtime."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from converters.artifact import Artifact
from converters.errors import CbamError, ModelError, OptionError, OutputError, RuntimeUnavailableError
from converters.whole_file import whole_file
from exporter.formats import FORMATS, importable
from exporter.runtimes.table import RUNTIMES, runtime

BUNDLE_SCHEMA: Final = "cbam-export/bundle/1"
MANIFEST: Final = "bundle.json"

CHECK_FAILED: Final = 1
_NOT_HERE: Final = 4


def main(arguments: Sequence[str] | None = None, bundle: Path | None = None) -> int:
    """Verify, print the table on standard output, and give the exit code.

    Args:
        arguments: of the command line.
        bundle: the bundle that this runs out of, or None.
    """
    parser = _parser(bundle)
    given = parser.parse_args(arguments)
    try:
        return _run(given, bundle)
    except CbamError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 128 + signal.SIGINT
    except OSError as error:  # no room or no folder for temporary files, above all
        sys.stderr.write(f"error: {error}\n")
        return OutputError.exit_code
    except ImportError as error:
        sys.stderr.write(f"error: {error}; NumPy and ai-edge-litert or onnxruntime are needed\n")
        return _NOT_HERE


def _parser(bundle: Path | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run artifacts here and compare them with a recorded reference.",
        epilog="Exit codes: 0 nothing failed, 1 a check failed, 2 bad input, 3 a fault, 4 a runtime is not available.",
    )
    if bundle is None:
        parser.add_argument("files", nargs="+", type=Path, help="one bundle, or artifacts with --against")
        parser.add_argument("--against", type=Path, metavar="REF.npz", help="what `cbam reference` wrote")
    here = ", ".join(_here())
    parser.add_argument("--runtime", action="append", default=[], metavar="NAME", help=f"one of: all, {here}")
    parser.add_argument("--samples", type=int, help="real samples at most (default: all)")
    parser.add_argument("--no-causes", action="store_true", help="leave out the runs that tell causes apart")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="for opening a file and for each call")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result, for `cbam verify --merge`")
    return parser


def _here() -> list[str]:
    """The runtimes whose modules are here: a bundle carries those of two libraries."""
    return [name for name, row in RUNTIMES.items() if importable(row.runtime.partition(":")[0])]


def _run(given: argparse.Namespace, bundle: Path | None) -> int:
    for name in given.runtime:
        if name not in ("all", *_here()):
            raise OptionError(f"--runtime {name}: here are all, {', '.join(_here())}")
    if given.json is not None:
        check_json_target(given.json)
    if bundle is None and len(given.files) == 1 and zipfile.is_zipfile(given.files[0]) and given.against is None:
        bundle = given.files[0]
    with tempfile.TemporaryDirectory(prefix="cbam-bundle-") as folder:
        if bundle is not None:
            artifacts, reference, settings = unpack(bundle, Path(folder))
        elif given.against is None:
            raise OptionError("--against REF.npz is needed where no bundle is given")
        else:
            artifacts, reference, settings = given.files, given.against, {}
        try:
            result, left_out, missing = _verify(artifacts, reference, settings, given)
        except CbamError as error:
            # What was laid out is gone when this is read; it is told by the names that it had when it was packed.
            words = str(error)
            for path, name in zip(map(str, (*artifacts, reference)), settings.get("names", ()), strict=False):
                words = words.replace(path, name)
            raise type(error)(words.replace(str(reference), f"{bundle}: its reference") if bundle else words) from error
    from exporter.parity.text import lines

    for name, reason in left_out.items():
        result["left_out"] = [*result["left_out"], {"artifact": name, "reason": reason}]
    for line in lines(result):
        sys.stdout.write(line + "\n")
    if given.json is not None:
        write_json(result, given.json)
    if not result["passed"]:
        return CHECK_FAILED
    return _NOT_HERE if missing else 0


def _verify(
    artifacts: Sequence[Path], reference: Path, settings: dict[str, Any], given: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, str], bool]:
    """The result, with artifacts named as on the machine that packed them; those that were not run, and why; and
    whether that is so because their runtime is not here."""
    from exporter.candidates import Refused, try_candidate
    from exporter.parity.tolerances import Overrides
    from exporter.verification import VerifyOptions, verify

    apart = _starts_processes()
    if not apart:
        _say("no process can be started here: a runtime that crashes or hangs ends this run")
    options = VerifyOptions(
        runtimes=tuple(given.runtime),
        overrides={name: Overrides(**each) for name, each in settings.get("overrides", {}).items()},
        samples=given.samples if given.samples is not None else settings.get("samples"),
        causes=not given.no_causes,
        apart=apart,
        time_limit=given.time_limit,
    )
    loaded: list[Path | Artifact] = []
    left_out, missing = {}, False
    for path in artifacts:
        try:
            candidate = try_candidate(path, apart)
            if _left_alone(candidate, given.runtime):
                left_out[path.name] = f"--runtime {' '.join(given.runtime)} does not run {candidate.format}"
                continue
            if not given.runtime:
                runtime(FORMATS[candidate.format].runtime).version()
            loaded.append(path if isinstance(candidate, Refused) else candidate)
        except (RuntimeUnavailableError, ModuleNotFoundError) as error:
            left_out[path.name], missing = str(error), True
    if not loaded:
        kind = RuntimeUnavailableError if missing else OptionError
        raise kind("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    found = verify(loaded, reference, options, on_step=_say)
    result = json.loads(json.dumps(found.result))  # a copy that may be changed
    names = dict(zip(map(str, artifacts), settings.get("names", map(str, artifacts)), strict=True))
    for each in (each for part in result.values() if isinstance(part, list) for each in part):
        if isinstance(each, dict) and "artifact" in each:
            each["artifact"] = names.get(each["artifact"], each["artifact"])
    return result, left_out, missing


def _left_alone(candidate: Any, asked: Sequence[str]) -> bool:
    """Whether none of the runtimes that were asked for runs a file."""
    return bool(asked) and "all" not in asked and not any(candidate.format in RUNTIMES[name].runs for name in asked)


def _starts_processes() -> bool:
    """Whether this Python can be started again: not so where it is emulated for one program alone."""
    from exporter.runtimes.process import SERVE

    if not SERVE.is_file():  # in a zip
        return False
    try:
        ran = subprocess.run([sys.executable, "-c", "print('here')"], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return False
    return ran.stdout.strip() == "here"


def _say(step: str) -> None:
    sys.stderr.write(f"  {step}\n")


def unpack(bundle: Path, folder: Path) -> tuple[list[Path], Path, dict[str, Any]]:
    """Lay a bundle's artifacts and reference out in a folder: their paths, and its settings.

    Raises:
        ModelError: it is not a bundle of this version.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            manifest = json.loads(archive.read(MANIFEST))
            if manifest["schema"] != BUNDLE_SCHEMA:
                raise ModelError(f"{bundle}: schema {manifest['schema']!r} is not {BUNDLE_SCHEMA!r}; bundle it again")
            artifacts = []
            for index, each in enumerate(manifest["artifacts"]):
                place = folder / str(index)
                place.mkdir()
                path = place / Path(each["name"]).name  # nothing of a bundle is written anywhere else
                path.write_bytes(archive.read(each["file"]))
                path.with_name(path.name + ".json").write_text(each["sidecar"], encoding="utf-8")
                artifacts.append(path)
            reference = folder / "reference.npz"
            reference.write_bytes(archive.read(manifest["reference"]))
            settings = dict(manifest["settings"])
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{bundle}: is not a bundle of cbam-export ({error})") from error
    return artifacts, reference, {**settings, "names": [each["path"] for each in manifest["artifacts"]]}


def write_json(result: Any, path: Path) -> None:
    """Write a result whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with whole_file(path) as stream:
        stream.write((json.dumps(result, indent=2, allow_nan=False) + "\n").encode())


def _is_result(path: Path) -> bool:
    from exporter.parity.result import SCHEMA

    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("schema") == SCHEMA


def check_json_target(path: Path) -> None:
    """Refuse a file that could not be written, before anything is run for its sake.

    Raises:
        OutputError: saying why; also where it is there and no earlier result, which alone is replaced.
    """
    if path.is_file() and path.stat().st_size and not _is_result(path):
        raise OutputError(f"{path}: exists and is no result of a verification; give another name")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} cannot be written to")
