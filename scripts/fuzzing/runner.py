"""Rescues one case and judges what it did."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fuzzing.canary import Canary
from fuzzing.case import Case, Outcome
from fuzzing.expressions import functions
from fuzzing.kinds import KINDS
from fuzzing.measure import Hang, Meter, alarm, watch_children
from fuzzing.templates import Templates, input2, lambda2, make_templates, model2
from fuzzing.valid import difference

SECONDS, MEGABYTES, CHARACTERS = 2.0, 256.0, 2000
_HANGS: Final = 60  # seconds until a case is stopped


class Runner:
    """Rescues cases beside the weights of the templates, and measures."""

    def __init__(self, templates: Templates, canary: Canary) -> None:
        self.templates, self.canary = templates, canary
        self.children = watch_children(templates.folder / "children")
        for place in templates.places:
            place.mkdir()
        self.weights: dict[str, bytes] = {}
        for path in templates.folder.glob("*.keras"):
            with zipfile.ZipFile(path) as archive:
                self.weights[path.name] = archive.read("model.weights.h5")

    def run(self, case: Case) -> Outcome:
        """Rescue the file of a case. A template's weights are not checked each time, in a process of their own."""
        from converters.errors import CbamError

        path, meter = self.write(case), Meter(self.children)
        kind, message, fault, made = "", "", "", None
        try:
            with self.watching(), alarm(_HANGS), warnings.catch_warnings(), meter.running():
                warnings.simplefilter("ignore")
                made = self._rescue(case, path)
            kind = "rescued"
        except CbamError as error:
            kind, message = type(error).__name__, str(error)
        except Hang:
            kind = fault = f"hangs for more than {_HANGS} s"
        except (Exception, SystemExit) as error:
            kind, message = type(error).__name__, str(error)
            fault = f"raises {kind}: {message[:200]} ({_where(error)})"
        path.unlink()
        fault = self.did() or fault or _said(kind, message) or _took(meter)
        if case.computes and made is not None and not fault:
            message = difference(case.computes, made)
            fault = f"computes something else: {message}: {case.computes}" if message.startswith("is ") else ""
        return Outcome(kind, message, meter.seconds, meter.wall, meter.megabytes, fault)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """What is done now is seen: temporary files and relative paths, too, go where there is nothing else."""
        temporary, here, _ = self.templates.places
        old, place = tempfile.tempdir, os.getcwd()
        tempfile.tempdir = str(temporary)
        os.chdir(here)
        try:
            with self.canary.watching():
                yield
        finally:
            tempfile.tempdir = old
            os.chdir(place)

    def did(self) -> str:
        """What was done since that no model may do, by what Python told of it, and by what there is now."""
        if self.canary.seen:
            return f"does what no model may: {'; '.join(self.canary.seen[:3])}"
        found = [each for place in self.templates.places for each in place.iterdir()]
        for each in found:
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        if (self.templates.folder / "rescued.keras").exists():
            return "leaves a file that is half written"
        return f"leaves {', '.join(each.name for each in found[:3])}" if found else ""

    def write(self, case: Case) -> Path:
        if case.content is not None:
            path = self.templates.folder / f"case{case.suffix}"
            path.write_bytes(case.content)
            return path
        path = self.templates.folder / "case.keras"
        with zipfile.ZipFile(path, "w") as archive:
            text = json.dumps(case.config) if case.text is None else case.text
            archive.writestr("config.json", text.encode("utf-8", "surrogatepass"))
            archive.writestr("metadata.json", json.dumps({"keras_version": case.version}))
            archive.writestr("model.weights.h5", self.weights.get(case.weights, b""))
        return path

    def _rescue(self, case: Case, path: Path) -> Any:
        if case.content is not None:
            from exporter import rescue

            output = self.templates.folder / "rescued.keras"
            model = rescue(path, output).model
            output.unlink()
            return model
        from converters.lambdas.archive import read_archive
        from converters.lambdas.era import RescueOptions
        from converters.lambdas.rewrite import rewrite_archive

        archive = read_archive(path)
        if case.weights.endswith(".h5"):
            archive = dataclasses.replace(archive, kind="hdf5", path=self.templates.folder / case.weights)
        return rewrite_archive(dataclasses.replace(archive, elements=100_000), options=RescueOptions()).model


def _said(kind: str, message: str) -> str:
    if len(message) >= CHARACTERS or not message.isprintable():
        return f"says too much, or on several lines: {len(message)} characters: {message[:100]!a}"
    return "says nothing" if kind != "rescued" and not message else ""


def _took(meter: Meter) -> str:
    if meter.seconds > SECONDS:
        return f"takes {meter.seconds:.1f} s"
    return f"takes {meter.megabytes:.0f} MB" if meter.megabytes > MEGABYTES else ""


def _where(error: BaseException) -> str:
    """The last place in our own code."""
    found, trace = "?", error.__traceback__
    while trace:
        name = trace.tb_frame.f_code.co_filename
        if "converters" in name or "exporter" in name:
            found = f"{Path(name).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def make_runner(folder: Path) -> Runner:
    """A runner on fresh templates in an empty folder, with everything imported that is imported late."""
    templates = make_templates(folder)
    runner = Runner(templates, Canary(folder))
    functions()
    for config, weights, version in templates.configs:
        runner.run(Case(config, weights, version))
    for suffix in (".keras", ".h5"):
        for stem in ("bare", "full"):
            runner.run(Case(content=(folder / f"{stem}{suffix}").read_bytes(), suffix=suffix))
    for text in ("np.einsum('i,j->ij', np.ones(3), np.ones(3))", "tf.image.resize(x, [3, 3])"):
        runner.run(Case(model2(input2(), lambda2(f"lambda x: {text}"))))
    draw = random.Random(0)
    for name, (make, _) in KINDS.items():
        for _ in range(0 if name in ("zip", "other", "hdf5", "fixture", "attack") else 10):
            runner.run(make(draw, templates))
    return runner
