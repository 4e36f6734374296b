"""Real files of real old stacks: what is rescued computes what its own Keras computed, the rest is refused.

tests/fixtures/legacy is the part of the corpus that the repository keeps (scripts/make_fixtures.py): small models with
their inputs and outputs. The default suite takes some of each stack, the slow one all.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted((ROOT / "tests" / "fixtures" / "legacy").glob("*.zip"))
# Bodies of library functions alone that are refused on some stack, and why.
REFUSED = {
    "the file does not tell which TensorFlow": ("resize_tf1_resize",),
}


def _judge() -> Any:
    spec = importlib.util.spec_from_file_location("judge_corpus", ROOT / "scripts" / "judge_corpus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["judge_corpus"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.judge


def _check(stack: Path, folder: Path, every: int) -> None:
    with zipfile.ZipFile(stack) as archive:
        archive.extractall(folder)
    rows = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["rows"]
    judge, rescued = _judge(), 0
    known = tuple(name for names in REFUSED.values() for name in names)
    for row in rows[::every]:
        made = judge(folder, row)
        assert made.verdict != "wrong", made
        if row["kind"] == "library":
            assert made.verdict == "rescued" or row["name"].startswith(known), made
        rescued += made.verdict == "rescued"
    assert rescued > len(rows[::every]) // 2, "nearly all was refused"


def test_all_stacks_are_there() -> None:
    assert len(STACKS) == 12


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.stem)
def test_some_files_of_each_stack(stack: Path, tmp_path: Path) -> None:
    _check(stack, tmp_path, every=7)


@pytest.mark.slow
@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.stem)
def test_all_kept_files_of_each_stack(stack: Path, tmp_path: Path) -> None:
    _check(stack, tmp_path, every=1)
