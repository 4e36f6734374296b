"""A short run of scripts/fuzz_rescue.py, and what its longer runs found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzzing.case import Case
from fuzzing.measure import is_memory_measured
from fuzzing.templates import input2, lambda2, model2

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz_rescue.py"


def test_some_hundred_generated_files(tmp_path: Path) -> None:
    """The short form of the fuzzer, which fails on code run, a crash, a hang, 2 s, 256 MB or an unclear error."""
    command = [sys.executable, str(SCRIPT), "--count", "150", "--seed", "11"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "rescued" in ran.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what a process held at most")
def test_memory_is_measured() -> None:
    assert is_memory_measured()


# Lambdas that were rescued as something else than TensorFlow computes, or as what fails when it computes.
WRONG = {
    "x * tf.cast(tf.cast(300, 'uint8'), 'float32')": "300 to uint8, which does not hold it",
    "tf.cast(tf.cast(x, 'int32') > 2**40, 'float32')": "1099511627776, which int32 does not hold",
    "tf.cast(x != -1e308, 'float32')": "-1e+308, which float32 does not hold",
    "x * tf.cast(tf.cast(1e-45, 'bool'), 'float32')": "1e-45 to bool",
    "tf.cast(x, 'float16') > 1e308": "1e+308, which float16 does not hold",
    "x % 1e308": "1e+308, which float32 does not hold",
    "tf.reduce_max(x[:, :0], axis=-1)": "max of nothing",
    "tf.reduce_min(x[:, 2:1])": "min of nothing",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_computed_is_refused(runner: Any, text: str) -> None:
    outcome = runner.run(Case(model2(input2(), lambda2(f"lambda x: {text}")), computes=f"lambda x: {text}"))
    assert not outcome.fault
    assert WRONG[text] in outcome.message


RIGHT = (
    "x * tf.cast(tf.cast(0.1, 'float16'), 'float32')",
    "x * tf.cast(tf.cast(0.5, 'bool'), 'float32')",
    "x * tf.cast(tf.cast(3.7, 'int32'), 'float32')",
    "tf.minimum(x, float('inf'))",
    "x + 3.4028235e38",
)


@pytest.mark.parametrize("text", RIGHT)
def test_odd_constants_compute_what_tensorflow_does(runner: Any, text: str) -> None:
    outcome = runner.run(Case(model2(input2(), lambda2(f"lambda x: {text}")), computes=f"lambda x: {text}"))
    assert (outcome.kind, outcome.message, outcome.fault) == ("rescued", "", "")
