"""The published ways to run code from a Keras file, and their kin: each is refused by name, and runs nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import keras
import pytest
from fuzzing.attacks import attacks, function, in_model, layer, payload
from fuzzing.case import Case
from fuzzing.containers import with_config
from fuzzing.runner import CHARACTERS
from keras.src.backend.common import global_state

from converters.errors import CbamError
from exporter import rescue


def judge(runner: Any, config: dict[str, Any], weights: str = "bare.h5", version: str = "2.4.0") -> str:
    """The error of a rescue, or nothing; all that no case may do fails."""
    outcome = runner.run(Case(config, weights, version))
    assert not outcome.fault, outcome
    message: str = outcome.message
    return message


@pytest.mark.parametrize("attack", sorted(attacks("canary")))
def test_published_attacks_run_nothing(
    runner: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    canary, modules = runner.templates.canary, tmp_path / "modules"
    modules.mkdir()
    (modules / "evil_module_canary.py").write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.syspath_prepend(modules)
    part, said = attacks(str(canary))[attack]
    plain = next(config for config, weights, _ in runner.templates.configs if weights == "bare.keras")
    # CVE-2025-9905 is that Keras reads HDF5 without safe mode.
    for suffix in ("keras", "h5") if "CVE" in attack else ("keras",):
        evil = tmp_path / f"evil.{suffix}"
        evil.write_bytes(with_config(runner.templates.folder / f"bare.{suffix}", in_model(part, plain)))
        with runner.watching(), pytest.raises(CbamError) as caught:
            rescue(evil, tmp_path / "new.keras")
        message = str(caught.value)
        assert re.search(said, message), message
        assert message.isprintable()
        assert len(message) < CHARACTERS
        assert not runner.did()
        assert {path.name for path in tmp_path.iterdir()} <= {"modules", "evil.keras", "evil.h5"}


CODE_INSIDE: dict[str, Any] = {
    "an activation": lambda code, inner: layer("Dense", units=2, activation=code),
    "a pipeline": lambda code, inner: layer("Pipeline", layers=[inner]),
    "a cell": lambda code, inner: layer("RNN", cell=inner),
    "a cell's activation": lambda code, inner: layer("RNN", cell=layer("LSTMCell", units=2, activation=code)),
    "a backward layer": lambda code, inner: layer("Bidirectional", layer=layer("LSTM", units=2), backward_layer=inner),
    "another backward layer": lambda code, inner: layer("Bidirectional", layer=inner, backward_layer=inner),
    "a wrapper of a wrapper": lambda code, inner: layer("TimeDistributed", layer=layer("TimeDistributed", layer=inner)),
    "a shape": lambda code, inner: layer("Reshape", target_shape=code),
    "a policy": lambda code, inner: layer("Dense", units=2, dtype=code),
    "a build config": lambda code, inner: {**layer("Dense", units=2), "build_config": {"input_shape": code}},
    "an operation": lambda code, inner: {**layer("Map", "keras.src.ops.core", f=code), "registered_name": "Map"},
}


@pytest.mark.parametrize("place", CODE_INSIDE)
def test_code_inside_a_layer_is_not_run_where_safe_mode_is_off(runner: Any, place: str) -> None:
    """Keras itself builds such a layer, and goes by a switch that the user, or an earlier file, may have turned."""
    code = payload(f"open({str(runner.templates.canary)!r}, 'w') and x")
    part = CODE_INSIDE[place](code, layer("Lambda", function=code))
    first = layer("InputLayer", batch_shape=[None, 6, 6], dtype="float32")
    first["config"]["name"] = "image"
    config = layer("Sequential", "keras", layers=[first, part])
    before = global_state.get_global_attribute("safe_mode_saving")
    try:
        keras.config.enable_unsafe_deserialization()
        assert judge(runner, config, "bare.keras", "3.15.1")
    finally:
        global_state.set_global_attribute("safe_mode_saving", before)


def test_code_behind_the_optimizer_is_not_run(runner: Any) -> None:
    """What stands under `compile_config` in a compile_config is looked at, and dropped."""
    config = next(each for each, weights, _ in runner.templates.configs if weights == "full.keras")
    for key in ("loss", "compile_config"):
        for evil in (payload(f"open({str(runner.templates.canary)!r}, 'w') and x"), function("os", "system")):
            compiled = {**config["compile_config"], key: evil}
            assert not judge(runner, {**config, "compile_config": compiled}, "full.keras", "3.15.1")


def test_what_watches_does_notice(runner: Any, tmp_path: Path) -> None:
    with runner.watching():
        (tmp_path / "file").write_text("x")
        exec("1")  # noqa: S102
        os.system("true")  # noqa: S605
    assert len(runner.canary.seen) == 3
    assert "may" in runner.did()
    with runner.watching():
        Path("relative").write_text("x")
    assert runner.did() == "leaves relative"
    assert not runner.did()
