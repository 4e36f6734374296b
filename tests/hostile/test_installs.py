"""Installations that are missing, broken, interrupted or tampered with. Nothing here uses the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from converters.errors import OptionError, OutputError, RuntimeUnavailableError
from exporter.runtimes import folders
from exporter.runtimes.arm64 import install as arm64_install
from exporter.runtimes.arm64.apt import Offer, compare
from exporter.runtimes.arm64.pins import PACKAGES, Pin
from exporter.runtimes.arm64.sources import debian_sources
from exporter.runtimes.arm64.userland import MANIFEST, NAME, RECIPE
from exporter.runtimes.installs.table import INSTALLS, find
from exporter.runtimes.status import status
from exporter.runtimes.table import RUNTIMES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cbam-export"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH but for the shell's own programs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{script}\n")
    path.chmod(0o755)


def reason(name: str) -> str:
    found = status(name)
    assert not found.available
    assert found.reason is not None
    assert "\n" not in found.reason
    return found.reason


@pytest.mark.parametrize("name", [row.name for row in RUNTIMES.values() if INSTALLS[row.install].folder])
def test_what_is_not_installed_says_how_it_would_be(name: str) -> None:
    command = INSTALLS[RUNTIMES[name].install].command
    assert command in reason(name)
    assert status(name).install == command


def test_a_relative_cache_is_ignored_as_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert folders.cache_folder() == Path.home() / ".cache" / "cbam-export"


def test_a_broken_userland_is_not_taken_for_one(cache: Path) -> None:
    folder = cache / NAME
    folder.mkdir(parents=True)
    assert "is not complete" in reason("litert-arm64-a53")
    manifest = {"recipe": RECIPE, "python": "3.13", "versions": {"ai-edge-litert": "1", "qemu-user": "10"}}
    for text in ("{", "[]", json.dumps({**manifest, "python": None} | {"versions": 3})[:-1]):
        (folder / MANIFEST).write_text(text)
        assert "is not complete" in reason("litert-arm64-a53")
    (folder / MANIFEST).write_text(json.dumps({**manifest, "recipe": RECIPE - 1}))
    assert "another version of cbam-export; cbam runtimes install arm64" in reason("litert-arm64-a53")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "qemu-aarch64 is missing" in reason("litert-arm64-a53")


def test_web_without_node_or_with_an_old_one(cache: Path, programs: Path) -> None:
    folder = cache / "onnxruntime-web"
    entry = folder / "node_modules" / "onnxruntime-web" / "dist" / "ort.node.min.mjs"
    entry.parent.mkdir(parents=True)
    (folder / "version.txt").write_text("1.30.0\n")
    assert "is incomplete" in reason("onnxruntime-web")
    entry.touch()
    assert "as `node` on the PATH; there is none" in reason("onnxruntime-web")
    program(programs, "node", "print('v12.22.9')")
    assert "is '12.22.9'" in reason("onnxruntime-web")
    program(programs, "node", "import sys; sys.exit('node: cannot load libicu')")
    assert "is 'node: cannot load libicu'" in reason("onnxruntime-web")
    program(programs, "node", "print('v20.1.0')")
    assert status("onnxruntime-web").version == "onnxruntime-web 1.30.0 (wasm), node 20.1.0"


def test_an_interrupted_installation_leaves_nothing_that_looks_installed(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt), folders.installation("thing") as work:  # noqa: PT012
        (work / "half").write_text("a")
        raise KeyboardInterrupt
    assert not (cache / "thing").exists()
    with folders.installation("thing") as work:
        assert (work / "half").read_text() == "a"  # the next try goes on with it
    assert (cache / "thing" / "half").exists()
    with pytest.raises(RuntimeError), folders.installation("thing") as work:  # noqa: PT012
        (work / "half").write_text("b")
        raise RuntimeError
    assert (cache / "thing" / "half").read_text() == "a"  # a failed renewal leaves the old one
    with folders.installation("thing"):
        pass
    assert (cache / "thing" / "half").read_text() == "b"
    assert folders.remove("thing")
    assert not folders.remove("thing")
    assert sorted(path.name for path in cache.iterdir()) == [".lock-thing"]


def test_two_installations_at_once_are_refused() -> None:
    with (
        folders.installation("thing"),
        pytest.raises(OutputError, match="another process is installing it now"),
        folders.installation("thing"),
    ):
        pass


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file")
    with pytest.raises(OutputError, match=r"cannot be written .*; XDG_CACHE_HOME names another place"):
        folders.installation("thing").__enter__()


def test_npm_that_is_missing_fails_or_gives_another_file(cache: Path, programs: Path) -> None:
    row = INSTALLS["onnxruntime-web"]
    with pytest.raises(RuntimeUnavailableError, match="npm, which is not on the PATH"):
        row.install(lambda step: None)
    program(programs, "npm", "import sys; sys.exit('npm error code E404')")
    with pytest.raises(RuntimeUnavailableError, match=r"npm pack .*: failed: npm error code E404"):
        row.install(lambda step: None)
    script = "import sys; open(sys.argv[-1].replace('@', '-') + '.tgz', 'wb').write(b'something else')"
    program(programs, "npm", script)
    with pytest.raises(RuntimeUnavailableError, match=r"its SHA-512 differs\); nothing was installed"):
        row.install(lambda step: None)
    assert not (cache / row.name).exists()
    assert not list((cache / f".new-{row.name}").glob("*.tgz"))


def test_arm64_needs_debian_and_another_processor(programs: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="apt-get is not on the PATH"):
        INSTALLS["arm64"].install(lambda step: None)
    for name in ("apt-get", "dpkg-deb"):
        program(programs, name, "")
    program(programs, "dpkg", "print('arm64')")
    with pytest.raises(RuntimeUnavailableError, match="this machine is ARM64 itself"):
        INSTALLS["arm64"].install(lambda step: None)


def test_apt_that_fails_is_quoted(cache: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "sources.list").write_text("deb http://archive.example/debian bookworm main\n")
    monkeypatch.setattr("exporter.runtimes.arm64.apt.debian_sources", lambda: debian_sources(etc))
    program(programs, "apt-get", "import sys; sys.exit('E: The repository is not signed.')")
    program(programs, "dpkg", "print('amd64')")
    program(programs, "dpkg-deb", "")
    with pytest.raises(RuntimeUnavailableError, match=r"apt-get update .*: failed: E: The repository is not signed\."):
        INSTALLS["arm64"].install(lambda step: None)
    assert not (cache / NAME).exists()


def offer(package: str, version: str, sha256: str) -> Offer:
    return Offer(package, version, "arm64", f"{package}_{version}_arm64.deb", 1, sha256)


def test_a_file_of_the_pinned_version_with_another_hash_is_refused() -> None:
    pins = {"libc6": Pin("2.41-12", "a" * 64)}
    assert compare([offer("libc6", "2.41-12", "a" * 64)], pins) == []
    assert compare([offer("libc6", "2.41-13", "b" * 64)], pins) == ["libc6 2.41-13"]
    with pytest.raises(RuntimeUnavailableError, match="differs from the pinned one"):
        compare([offer("libc6", "2.41-12", "b" * 64)], pins)


def test_a_package_that_is_not_offered_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Empty:
        def __init__(self, *settings: object) -> None: ...

        def offers(self, packages: object) -> list[Offer]:
            return [offer(name, pin.version, pin.sha256) for name, pin in PACKAGES.items() if name != "libffi8"]

    monkeypatch.setattr(arm64_install, "Apt", Empty)
    with pytest.raises(RuntimeUnavailableError, match="does not offer libffi8 for arm64"):
        arm64_install._packages(tmp_path, "riscv64", tmp_path, lambda step: None)


SOURCES = {
    "debian.sources": """# a comment
Types: deb deb-src
URIs: http://one.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/one.gpg

Types: deb
URIs: http://one.example/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main
""",
    "old.list": """
deb [arch=amd64 signed-by=/keys/two.gpg] http://two.example/debian/ stable main # mine
deb cdrom:[Debian]/ bookworm main
# deb http://three.example/debian sid main
deb http://vendor.example/apt vendor-bookworm main
deb http://vendor.example/node nodistro main
""",
    "old.list.save": "deb http://saved.example/debian sid main\n",
}


def test_sources_of_debian_are_found_in_both_forms(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in SOURCES.items():
        (parts / name).write_text(text)
    found = debian_sources(tmp_path)
    assert [(source.uri, source.signed_by) for source in found] == [
        ("http://one.example/debian", "/keys/one.gpg"),
        ("http://two.example/debian/", "/keys/two.gpg"),
    ]
    assert found[0].entry("trixie").splitlines()[1:] == [
        "URIs: http://one.example/debian",
        "Suites: trixie",
        "Components: main",
        "Signed-By: /keys/one.gpg",
    ]
    with pytest.raises(RuntimeUnavailableError, match="names no source of Debian packages"):
        debian_sources(tmp_path / "nowhere")


def test_names_that_are_not_known() -> None:
    brought = {row.name: row.install for row in RUNTIMES.values()}
    assert find("tflite-micro", brought).name == "micro"
    assert find("litert-arm64-a76", brought).name == find("arm64", brought).name == "arm64"
    with pytest.raises(OptionError, match="did you mean 'openvino'"):
        find("openvin", brought)


def test_the_commands_say_what_is_wrong_in_one_line(run_cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    for arguments, code, said in (
        (("install", "arm46"), 2, "did you mean 'arm64'"),
        (("test", "litert"), 2, "litert has no self-test; those that have: arm64"),
        (("test", "arm64"), 4, "cbam runtimes install arm64"),
        (("remove", "openvino"), 2, "pip uninstall removes it"),
        (("remove", "arm64"), 2, "arm64 is not installed"),
        (("instal",), 2, "did you mean 'install'"),
    ):
        ran = run_cli("runtimes", *arguments, env=dict(os.environ))
        assert (ran.returncode, ran.stdout) == (code, "")
        last = ran.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert said in last
