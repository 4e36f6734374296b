"""Lets atheris choose, by what of converters/ a case reaches."""

from __future__ import annotations

import base64
import random
import shutil
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from fuzzing.case import Case
from fuzzing.runner import Runner


class Entropy(random.Random):
    """Draws that a fuzzer chooses: its bytes, then zeros."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self.data, self.place = data, 0

    @property
    def left(self) -> bool:
        return self.place < len(self.data)

    def getrandbits(self, k: int) -> int:
        count = (k + 7) // 8
        part = self.data[self.place : self.place + count]
        self.place += count
        return int.from_bytes(part, "little") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(24) / (1 << 24)


def guide(folder: Path, target: str, options: Sequence[str]) -> None:
    """Run until libFuzzer's options say stop, or a case breaks a rule.

    target: `bytecode`, where the fuzzer's bytes are marshalled data, which is read, evaluated, and interpreted where it
    makes sense; or `draws`, where they choose what the generators make, and each case is judged as in a counted run.
    With KERAS_BACKEND=numpy the first needs no TensorFlow.
    """
    try:
        import atheris
    except ImportError:
        sys.exit("--guided needs atheris: pip install atheris")
    with atheris.instrument_imports(include=["converters.lambdas"]):
        from converters.lambdas import rewrite, symbolic
        from converters.lambdas.rules.table import rules

        rules()
        assert rewrite
        assert symbolic
    from fuzzing.runner import make_runner

    corpus = folder.resolve() / target
    if not corpus.exists():
        _seed(corpus, target)
    work = folder.resolve() / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    runner = make_runner(work)
    one = _bytecode(runner) if target == "bytecode" else _draws(runner)

    def judge(data: bytes) -> None:
        case = one(data)
        outcome = runner.run(case) if case else None
        if case and outcome and outcome.fault:
            found = folder.resolve() / f"fault-{zlib.crc32(data)}.json"
            found.write_text(case.to_json())
            raise AssertionError(f"{outcome.fault}; its case is {found}")

    atheris.Setup([sys.argv[0], str(corpus), *options], judge)
    atheris.Fuzz()


def _seed(corpus: Path, target: str) -> None:
    """Begin with real bytecode, or with nothing."""
    from fuzzing.blobs import blobs

    corpus.mkdir(parents=True)
    if target == "bytecode":
        for index, data in enumerate(blobs()):
            (corpus / f"seed{index}").write_bytes(data)


def _bytecode(runner: Runner) -> Callable[[bytes], Case | None]:
    """Reads marshalled data and interprets what makes sense: no file, no weights, nothing measured but by libFuzzer."""
    from converters.errors import CbamError
    from converters.lambdas.marshal import BytecodeError
    from converters.lambdas.replace import Replacer
    from converters.lambdas.rewrite import _rebuild
    from converters.lambdas.symbolic import decode, to_source
    from converters.lambdas.values import Era
    from fuzzing.templates import input2, layer2, model2

    def one(data: bytes) -> Case | None:
        with runner.canary.watching():
            try:
                to_source(decode(data).function)
            except BytecodeError:
                return None
            function = [base64.b64encode(data).decode(), None, None]
            odd = layer2("Lambda", "odd", ["image"], function=function, function_type="lambda")
            config = model2(input2(), odd)
            try:
                _rebuild("case", config, Replacer(Era(2, 2, None, True), {}, set()))
            except CbamError:
                return Case(config) if runner.canary.seen else None
        return Case(config) if runner.canary.seen else None

    return one


def _draws(runner: Runner) -> Callable[[bytes], Case | None]:
    from fuzzing.kinds import KINDS, SWEEPS, Cases

    kinds = [name for name in (*KINDS, *SWEEPS) if name not in ("valid", "zip", "other", "hdf5", "fixture", "attack")]

    def one(data: bytes) -> Case | None:
        return Cases(Entropy(data), runner.templates, kinds, ordered=False).next()[1]

    return one
