"""Hostile files at the door of rescue: published attacks, and a short run of scripts/fuzz_rescue.py."""

from __future__ import annotations

import base64
import json
import marshal
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest

from converters.errors import CbamError
from exporter import rescue

ROOT = Path(__file__).resolve().parents[2]


def _code(source: str) -> str:
    return base64.b64encode(marshal.dumps(eval(source).__code__)).decode()  # noqa: S307 - of this test's own text


def _lambda(source: str, **more: Any) -> dict[str, Any]:
    function = {"class_name": "__lambda__", "config": {"code": _code(source), "defaults": None, "closure": None}}
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "odd", "function": function, **more}}


def _evil(canary: Path) -> dict[str, dict[str, Any]]:
    """What stands in the place of a layer, by the name of the attack."""
    command = f"touch {canary}"
    raw = {"name": "odd", "trainable": True, "dtype": "float32"}
    return {
        "CVE-2024-3660": _lambda(f"lambda x: __import__('os').system({command!r})"),
        "CVE-2025-1550": {"module": "os", "class_name": "system", "config": command, "registered_name": None},
        "CVE-2025-1550 as a function": _lambda("lambda x: x", mask={"class_name": "function", "config": "system",
                                                                    "module": "os"}),
        "CVE-2025-8747": {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "file:///"}},
        "CVE-2025-9906": {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
        "CVE-2025-12058": {"module": "keras.layers", "class_name": "StringLookup",
                           "config": {"name": "odd", "vocabulary": "/etc/passwd"}},
        "CVE-2025-49655": {"module": "keras.layers", "class_name": "TorchModuleWrapper",
                           "config": {"name": "odd", "module": "gASVAAAA"}},
        "TFSMLayer": {"module": "keras.layers", "class_name": "TFSMLayer",
                      "config": {"name": "odd", "filepath": str(canary.parent)}},
        "in a default": _lambda("lambda x, f=None: f(x)", arguments={"f": {"module": "os", "class_name": "system",
                                                                           "config": command}}),
        "in output_shape": _lambda("lambda x: x", output_shape={"module": "os", "class_name": "system",
                                                                "config": command}),
        "in a wrapper": {"module": "keras.layers", "class_name": "TimeDistributed", "config": {
            "name": "odd", "layer": _lambda(f"lambda x: open({str(canary)!r}, 'w')")}},
        "a TensorFlow function": {"class_name": "TFOpLambda", "config": {**raw, "function": "io.write_file"}},
        "a Python function": {"class_name": "TFOpLambda", "config": {**raw, "function": "py_function"}},
        "an attribute": {"class_name": "TFOpLambda", "config": {**raw, "function": "__operators__.__class__"}},
        "a graph node": {"class_name": "TensorFlowOpLayer", "config": {
            **raw, "constants": {}, "node_def": json.dumps({"op": "WriteFile", "attr": {}})}},
    }  # fmt: skip


@pytest.mark.parametrize("attack", sorted(_evil(Path("canary"))))
def test_published_attacks_run_nothing(attack: str, tmp_path: Path) -> None:
    inputs = keras.Input((4, 4))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "plain.keras")
    canary = tmp_path / "canary"
    with zipfile.ZipFile(tmp_path / "plain.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = config["config"]["layers"][1]
    nodes, name = layer["inbound_nodes"], layer["name"]
    config["config"]["layers"][1] = {**_evil(canary)[attack], "name": name, "inbound_nodes": nodes}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "evil.keras", "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    before = sorted(os.listdir(tmp_path))
    if attack in ("in output_shape",):  # which is not looked at by anyone, and not carried over
        try:
            made = rescue(tmp_path / "evil.keras", tmp_path / "new.keras")
        except CbamError:
            made = None
        if made is not None:
            with zipfile.ZipFile(tmp_path / "new.keras") as archive:
                assert b"system" not in archive.read("config.json")
            (tmp_path / "new.keras").unlink()
    else:
        with pytest.raises(CbamError) as caught:
            rescue(tmp_path / "evil.keras", tmp_path / "new.keras")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 2000
    assert not canary.exists()
    assert sorted(os.listdir(tmp_path)) == before


def test_some_hundred_generated_files(tmp_path: Path) -> None:
    """The short form of the fuzzer, which fails on code run, a crash, a hang, 2 s, 256 MB or an unclear error."""
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_rescue.py"), "--count", "200", "--seed", "11"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "rescued" in ran.stdout
