"""Broken and hostile model files: each gives one clear `ModelError`, and nothing of it is ever run."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import marshal
import os
import random
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

from converters.errors import ModelError
from converters.lambdas.archive import read_archive
from converters.lambdas.limits import Limits
from converters.lambdas.trust import check_links, find_untrusted, read_trusted

# Keras's TensorFlow backend hands its variables to NumPy 2 without a `copy` argument.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, bytes]:
    """One honest model as the bytes of a `.keras` and of an `.h5` file."""
    folder = tmp_path_factory.mktemp("good")
    model = keras.Sequential([keras.Input((4, 4, 3)), kl.Conv2D(2, 3, name="conv"), kl.Flatten(), kl.Dense(2)])
    for suffix in ("keras", "h5"):
        model.save(folder / f"model.{suffix}")
    return {suffix: (folder / f"model.{suffix}").read_bytes() for suffix in ("keras", "h5")}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.keras"


def repack(path: Path, good: dict[str, bytes], compression: int = zipfile.ZIP_STORED, **members: Any) -> Path:
    """The honest `.keras` file with members replaced (`config_json=...`), or left out where None."""
    with zipfile.ZipFile(io.BytesIO(good["keras"])) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            content = members.get(name.replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, json.dumps(content) if isinstance(content, dict) else content)
    return path


def config_of(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "sequential", "layers": list(layers)},
        "registered_name": None,
        **more,
    }


def dense(**config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": "Dense",
        "config": {"name": "dense", "units": 2, **config},
        "registered_name": None,
    }


def refusal(path: Path, limits: Limits | None = None) -> str:
    """The message that refuses a file: one line that names it."""
    with pytest.raises(ModelError) as caught:
        read_trusted(path, (), limits)
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    assert len(message) < 4000
    return message


# ---------------------------------------------------------------------------- files that are no whole model


OTHER_FILES = {
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "TFLite model"),
    "onnx": (b"\x08\x0a\x12\x07tf2onnx" + bytes(40), "ONNX model, not a Keras model"),
    "pb": (b"\x08\x01\x12\xff" + bytes(40), "TensorFlow graph"),
    "pt": (b"\x80\x02}q\x00." + bytes(40), "Python pickle.*never opened"),
    "gz": (b"\x1f\x8b\x08" + bytes(40), "unpack it"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
    "html": (b"<!DOCTYPE html><html>404</html>", "the download failed"),
    "json": (b'{"class_name": "Sequential", "config": {}}', "JSON.*no weights.*model.save"),
    "txt": ("Größe\n".encode() * 900, "text file"),
    "bin": (bytes(range(256)), "neither a .keras zip archive nor an HDF5 file"),
    "empty": (b"", "is empty"),
}


@pytest.mark.parametrize(("content", "expected"), OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_files_are_told_by_content(path, content, expected):
    path.write_bytes(content)
    assert re.search(expected, refusal(path))


def test_missing_files_folders_and_devices(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing.keras")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "zip its content" in refusal(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert "is a SavedModel folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.keras")
    assert "not a regular file" in refusal(tmp_path / "pipe.keras")


def test_weights_alone(tmp_path, good):
    model = keras.Sequential([keras.Input((3,)), kl.Dense(2)])
    model.save_weights(tmp_path / "model.weights.h5")
    assert re.search(r"weights alone.*model\.save\(", refusal(tmp_path / "model.weights.h5"))
    with h5py.File(tmp_path / "old.h5", "w") as file:  # as Keras 2's save_weights
        file.attrs["layer_names"] = [b"dense"]
    assert "weights alone" in refusal(tmp_path / "old.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = [1, 2]
    assert "no Keras model" in refusal(tmp_path / "other.h5")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_missing_members(path, good, member):
    message = refusal(repack(path, good, **{member.replace(".", "_"): None}))
    assert member in message


CONFIGS = {
    "cut": (b'{"class_name": "Sequential", "config": {"layers": [', "cut short"),
    "no json": (b"import os", "not JSON"),
    "no utf-8": (b'{"class_name": "\xff"}', "not JSON"),
    "list": (b"[1, 2]", "a JSON list"),
    "no class": (b'{"config": {}}', "class_name"),
    "no config": (b'{"class_name": "Sequential", "config": 3}', "needs a class_name and a config"),
    "digits": (b'{"class_name": "Sequential", "config": {"x": ' + b"9" * 5000 + b"}}", "not JSON"),
    "deep": (b'{"class_name":' * 250 + b"1" + b"}" * 250, "nested deeper"),
    "very deep": (b"[" * 500_000, "nested deeper"),
}


@pytest.mark.parametrize(("content", "expected"), CONFIGS.values(), ids=CONFIGS)
def test_broken_configs(path, good, content, expected):
    assert expected in refusal(repack(path, good, config_json=content))


@pytest.mark.parametrize(("content", "expected"), [CONFIGS["cut"], CONFIGS["no utf-8"], CONFIGS["deep"]])
def test_broken_configs_in_hdf5(path, content, expected):
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_group("model_weights")
        file.attrs["model_config"] = content.replace(b"\xff", b"\xc3")
    assert expected in refusal(path.with_suffix(".h5"))


def test_config_attribute_of_another_type(tmp_path):
    for index, value in enumerate([3, [b"{}", b"{}"], h5py.Empty("S10"), np.void(b"{}")]):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file.create_group("model_weights")
            file.attrs["model_config"] = value
        assert "damaged" in refusal(tmp_path / f"{index}.h5")


def test_limits(path, good):
    config = config_of(dense(padding_of_the_text="x" * 3000))
    repack(path, good, config_json=config)
    assert "at most 2000 are read" in refusal(path, Limits(config_bytes=2000))
    assert "3 files" in refusal(path, Limits(members=2))
    assert "nested deeper" in refusal(path, Limits(depth=3))
    assert "groups and tensors" in refusal(path, Limits(objects=2))


# ---------------------------------------------------------------------------- archives made to harm


def test_decompression_bombs(path, good):
    limits = Limits(bomb_bytes=1 << 20)
    huge = json.dumps(config_of(dense())).encode() + b" " * (4 << 20)
    assert "decompression bomb" in refusal(repack(path, good, zipfile.ZIP_DEFLATED, config_json=huge), limits)
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.attrs["model_config"] = json.dumps(config_of(dense()))
        file.create_dataset("model_weights/kernel", (1 << 40,), "f4", chunks=(1 << 10,), compression="gzip")
    assert "decompression bomb" in refusal(path.with_suffix(".h5"))


def test_a_declared_size_that_lies(path, good):
    """The directory says 10 bytes, the member unpacks to 4 MiB: no more than the limit is read."""
    huge = json.dumps(config_of(dense())).encode() + b" " * (4 << 20)
    repack(path, good, zipfile.ZIP_DEFLATED, config_json=huge)
    content = path.read_bytes().replace(len(huge).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    refusal(path)


def test_members_outside_twice_or_encrypted(path, good):
    for name in ("../../evil", "/etc/evil", "C:\\evil", "assets\\..\\..\\evil"):
        repack(path, good)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(name, b"x")
        assert "outside of its folder" in refusal(path)
    repack(path, good)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as file:
        file.writestr("config.json", b"{}")
    assert "twice" in refusal(path)
    content = bytearray(repack(path, good).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path)


def test_a_file_of_two_formats_is_refused(path, good):
    """Keras picks the reader by name, this tool by content: the checked model must be the loaded one."""
    path.write_bytes(good["h5"] + good["keras"])
    assert "at once" in refusal(path)


def test_links_and_datasets_that_leave_the_file(tmp_path, good):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.arange(4.0)

    def external(group: Any) -> None:
        group["kernel"] = h5py.ExternalLink(str(other), "/secret")

    def soft(group: Any) -> None:
        group["kernel"] = h5py.SoftLink("/model_weights")

    def stored_outside(group: Any) -> None:
        group.create_dataset("kernel", (4,), "f8", external=[("/etc/passwd", 0, 32)])

    def virtual(group: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource(str(other), "secret", (4,))
        group.create_virtual_dataset("kernel", layout)

    cases = {external: "link to another file", soft: "symbolic", stored_outside: "/etc/passwd", virtual: "other files"}
    for plant, expected in cases.items():
        content = io.BytesIO(good["h5"])
        with h5py.File(content, "r+") as file:
            plant(file.create_group("model_weights/evil"))
        target = tmp_path / "model.h5"
        target.write_bytes(content.getvalue())
        assert expected in refusal(target)
        archive = repack(tmp_path / "model.keras", good, model_weights_h5=content.getvalue())
        assert expected in refusal(archive)


def test_hard_links_in_a_circle_end(tmp_path, good):
    target = tmp_path / "model.h5"
    target.write_bytes(good["h5"])
    with h5py.File(target, "r+") as file:
        file["model_weights/again"] = file["/"]
    read_trusted(target)


def test_weights_that_are_no_weights(path, good):
    assert "not an HDF5 file" in refusal(repack(path, good, model_weights_h5=b"\x80\x04pickle"))
    assert "cut short" in refusal(repack(path, good, model_weights_h5=good["h5"][:3000]))


# ---------------------------------------------------------------------------- configs that name or hold code


def function(module: str | None, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def canary(tmp_path: Path) -> tuple[str, Path]:
    """A lambda's code as Keras stores it, which would make the returned file."""
    touched = tmp_path / "ran"
    code = compile(f"lambda x: open({str(touched)!r}, 'w')", "<x>", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(code)).decode(), touched


HOSTILE = {
    "os.system as a function": (dense(activation=function("os", "system")), "function 'os.system'.*layer 'dense'"),
    "os.system as a class": (
        {"module": "os", "class_name": "system", "config": {"name": "x", "command": "id"}, "registered_name": None},
        "'os.system'.*layer 'x'",
    ),
    "CVE-2025-1550": (
        {
            "module": "keras.layers",
            "class_name": "Activation",
            "config": {"name": "act", "activation": function("builtins", "exec")},
            "inbound_nodes": [{"args": ["print(1)"], "kwargs": {}}],
        },
        "Python's own function 'exec'.*'activation' of layer 'act'",
    ),
    "CVE-2025-8747": (dense(activation=function("keras.utils", "get_file")), "'keras.utils.get_file'"),
    "CVE-2025-9906": (
        dense(kernel_initializer=function("keras.config", "enable_unsafe_deserialization")),
        "'keras.config.enable_unsafe_deserialization'",
    ),
    "CVE-2025-49655": (
        {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"name": "t", "module": "gASV"}},
        "TorchModuleWrapper.*unpickles",
    ),
    "CVE-2025-12058": (
        {"class_name": "StringLookup", "config": {"name": "words", "vocabulary": "/etc/passwd"}},
        "'/etc/passwd' as vocabulary.*'words'",
    ),
    "SavedModel by path": (
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"name": "s", "filepath": "/some/folder"}},
        "TFSMLayer.*SavedModel from a path",
    ),
    "an internal of Keras": (
        {
            "module": "keras.src.utils.file_utils",
            "class_name": "File",
            "config": {"name": "f"},
            "registered_name": None,
        },
        "keras.src.utils.file_utils.File",
    ),
    "a function among operations": (
        {"module": "keras.src.ops.core", "class_name": "map", "config": {"name": "m"}, "registered_name": "map"},
        "keras.src.ops.core.map",
    ),
    "a module in disguise": (
        {"module": "keras.layersx", "class_name": "Dense", "config": {"name": "d"}, "registered_name": None},
        "keras.layersx.Dense",
    ),
    "a TensorFlow type": (
        {"class_name": "__typespec__", "spec_name": "X", "module": "os", "config": [], "registered_name": None},
        "__typespec__",
    ),
    "deep in an argument": (
        {**dense(), "inbound_nodes": [{"args": [], "kwargs": {"mask": [{"a": function("subprocess", "run")}]}}]},
        "subprocess.run",
    ),
    "behind a slice": (
        dense(x={"class_name": "__slice__", "config": {"start": function("os", "kill"), "stop": 1, "step": 1}}),
        "os.kill",
    ),
    "as a build config": ({**dense(), "build_config": {"x": function("os", "abort")}}, "os.abort"),
    "as a nested model's loss": (
        config_of(dense(), compile_config={"loss": function("os", "abort")}),
        "os.abort.*'loss' of layer 'sequential'",
    ),
    "a name that is no text": ({"class_name": ["Dense"], "config": {"name": "d"}}, "no text"),
    "a registered name on a builtin": ({**dense(), "registered_name": "evil>Dense"}, "custom layer 'evil>Dense'"),
    "a custom function": (dense(activation=function("builtins", "my_swish")), "custom function 'my_swish'"),
    "a custom layer": (
        {"module": "my.code", "class_name": "MyLayer", "config": {"name": "mine_3"}, "registered_name": "my>MyLayer"},
        "custom layer 'MyLayer' of module 'my.code' .layer 'mine_3'",
    ),
    "a custom layer, old form": (
        {"class_name": "MyLayer", "config": {"name": "mine_3"}},
        "custom layer 'MyLayer' .layer 'mine_3'",
    ),
    "a custom activation, old form": (
        {"class_name": "Dense", "config": {"name": "d", "activation": "my_swish"}},
        "custom activation 'my_swish' .layer 'd'",
    ),
    "an operation in HDF5": (
        {"class_name": "Max", "config": {"name": "max"}, "inbound_nodes": [{"args": [], "kwargs": {"axis": 1}}]},
        r"keras.ops operations.*'Max'.*save the model as \.keras",
    ),
    "a raw operation": (
        {"class_name": "TFOpLambda", "config": {"name": "tf.math.add", "function": "math.add"}},
        "raw TensorFlow operations.*TFOpLambda of 'math.add'",
    ),
    "a layer of Keras 2": ({"class_name": "CuDNNLSTM", "config": {"name": "rnn"}}, "no Keras 3.*'CuDNNLSTM'"),
    "tf_keras": ({**dense(), "module": "tf_keras.layers"}, "tf_keras package"),
    "names made to break a line": (
        {"class_name": "A\nB\x1b[31m\ud800" + "x" * 9000, "config": {"name": "\u202e"}},
        "custom layer",
    ),
}


@pytest.mark.parametrize(("layer", "expected"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_configs_are_refused(path, good, layer, expected):
    assert re.search(expected, refusal(repack(path, good, config_json=config_of(dense(), layer))))


def test_a_hostile_outermost_model(path, good):
    for config in (
        {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
        {"module": "mine", "class_name": "Net", "config": {}, "registered_name": "mine>Net"},
        {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None},
        function("keras.config", "enable_unsafe_deserialization") | {"config": {}},
    ):
        refusal(repack(path, good, config_json=config))


def test_a_registered_name_opens_no_other_class(path, good):
    """Keras goes by registered_name where `module` stands, by class_name where it does not."""
    evil = {"class_name": "MyLayer", "registered_name": "cbam_export>CBAM", "config": {"name": "x"}}
    repack(path, good, config_json=config_of(evil))
    with pytest.raises(ModelError, match="custom layer 'MyLayer'"):
        read_trusted(path, ["cbam_export>CBAM"])


def test_lambdas_are_all_listed_and_none_runs(tmp_path, good):
    code, touched = canary(tmp_path)
    fresh = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
    layers = [
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "new", "function": fresh}},
        {"class_name": "Lambda", "config": {"name": "old", "function": [code, None, None], "output_shape": fresh}},
        {"class_name": "Lambda", "config": {"name": "named", "function": "my_fn", "function_type": "function"}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "n2", "function": function(None, "fn")}},
        {"class_name": "TimeDistributed", "config": {"name": "td", "layer": {"class_name": "Lambda", "config": {}}}},
        dense(activation=fresh),
    ]
    path = repack(tmp_path / "model.keras", good, config_json=config_of(*layers))
    message = refusal(path)
    for part in ("Lambda 'new'", "'old'", "'named' that calls 'my_fn'", "'n2' that calls 'fn'", "'td/Lambda'"):
        assert part in message
    assert "a lambda ('activation' of layer 'dense')" in message
    assert "never run here" in message
    assert {finding.kind for finding in find_untrusted(read_archive(path).config)} == {"lambda"}
    assert len(find_untrusted(read_archive(path).config)) == 6
    assert not touched.exists()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras warns that it stores a lambda
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_lambdas_as_keras_writes_them(tmp_path, suffix):
    image = keras.Input((4, 4, 3))
    x = kl.Lambda(lambda x: ops.max(x, axis=3), output_shape=(4, 4), name="channel_max")(image)
    keras.Model(image, x).save(tmp_path / f"model.{suffix}")
    assert "Lambda 'channel_max'" in refusal(tmp_path / f"model.{suffix}")


def test_many_findings_are_cut(path, good):
    layers = [{"class_name": "Lambda", "config": {"name": f"l{i}", "function": "f"}} for i in range(500)]
    assert "and 480 more" in refusal(repack(path, good, config_json=config_of(*layers)))


def test_operations_in_hdf5_are_what_keras_cannot_open(tmp_path):
    image = keras.Input((4, 4, 3))
    keras.Model(image, ops.max(image, axis=3)).save(tmp_path / "model.h5")
    assert "keras.ops operations" in refusal(tmp_path / "model.h5")
    with pytest.raises(ValueError, match="Max"):
        keras.models.load_model(tmp_path / "model.h5", compile=False)


# ---------------------------------------------------------------------------- damage at random


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_cut_short_at_every_tenth(tmp_path, good, suffix):
    target = tmp_path / f"model.{suffix}"
    for tenth in range(10):
        target.write_bytes(good[suffix][: len(good[suffix]) * tenth // 10])
        refusal(target)


@pytest.mark.parametrize(("suffix", "mutants", "refused"), [("keras", 300, 250), ("h5", 12, 4)])
def test_flipped_bytes_give_a_model_or_an_error(tmp_path, good, suffix, mutants, refused):
    """Seeded. Fewer HDF5 files, as each is read in a process of its own."""
    content, target, errors, slowest = good[suffix], tmp_path / f"mutant.{suffix}", 0, 0.0
    for seed in range(mutants):
        draw = random.Random(seed)
        mutant = bytearray(content)
        # Half of the flips go where the structure is: HDF5 keeps it at the front, zip at the end.
        part = range(2048) if suffix == "h5" else range(len(mutant) - 512, len(mutant))
        for _ in range(draw.choice([1, 2, 8, 64])):
            mutant[draw.choice(part) if seed % 2 else draw.randrange(len(mutant))] = draw.randrange(256)
        target.write_bytes(mutant)
        start = time.perf_counter()
        try:
            read_trusted(target)
        except ModelError:
            errors += 1
        slowest = max(slowest, time.perf_counter() - start)
    assert errors >= refused
    assert slowest < 10


CHILDREN = {
    "hangs": ("import time; time.sleep(60)", 1, "could not be read within 1 s.*damaged"),
    "crashes": ("import os; os.abort()", 30, r"crashes the HDF5 library \(SIGABRT\)"),
}


@pytest.mark.parametrize(("code", "seconds", "expected"), CHILDREN.values(), ids=CHILDREN)
def test_a_file_that_hangs_or_crashes_the_library(tmp_path, good, monkeypatch, code, seconds, expected):
    """libhdf5 does both on damaged files. The reading process is replaced by one that surely does."""
    fake = tmp_path / "fake" / "h5py"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "fake"))
    target = tmp_path / "model.h5"
    target.write_bytes(good["h5"])
    assert re.search(expected, refusal(target, Limits(seconds=seconds)))


def test_nothing_is_imported_from_the_working_directory(tmp_path, good, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise SystemExit(3)")
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "model.h5").write_bytes(good["h5"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert read_trusted("model.h5").kind == "hdf5"


def test_check_links_stands_alone(path, good):
    archive = read_archive(repack(path, good))
    check_links(archive)
    path.unlink()
    with pytest.raises(ModelError, match="weights are damaged"):
        check_links(dataclasses.replace(archive))
