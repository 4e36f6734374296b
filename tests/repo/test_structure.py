"""The rules that a reader cannot see at a glance: who may import whom, and what is imported when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package may import from itself and from these; `exporter` stands for the modules directly in it.
MAY_IMPORT = {
    "converters": {"converters"},
    "exporter.models": {"exporter.models", "converters"},
    "exporter.runtimes": {"exporter.runtimes", "exporter.formats", "converters"},
    # NumPy, plain data, and files of the standard library
    "exporter.parity": {"exporter.parity", "converters.artifact", "converters.errors", "converters.whole_file"},
    "exporter.bench": {"exporter.bench", "exporter.runtimes", "exporter.parity", "converters"},
    "exporter.report": {
        "exporter.report",
        "exporter.bench.profile",
        "exporter.bench.result",
        "exporter.bench.statistics",
        "exporter.parity",
        "exporter.models.inspection",
        "exporter.runtimes.status",
        "converters",
    },
    "exporter": {"exporter", "converters"},
}
HEAVY = {"tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "h5py", "rich", "numpy"}


def sources() -> Iterator[tuple[str, Path]]:
    for top in ("converters", "exporter"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    """Every module of ours that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("module", "path"), list(sources()), ids=lambda value: value if isinstance(value, str) else "")
def test_dependencies_run_one_way(module: str, path: Path) -> None:
    owner = max((name for name in MAY_IMPORT if f"{module}.".startswith(f"{name}.")), key=len)
    for imported in imports(path):
        if imported.split(".")[0] in ("converters", "exporter"):
            allowed = any(f"{imported}.".startswith(f"{name}.") for name in MAY_IMPORT[owner])
            assert allowed, f"{module} imports {imported}, which {owner} must not know"


@pytest.mark.parametrize(("module", "path"), list(sources()), ids=lambda value: value if isinstance(value, str) else "")
def test_nothing_that_runs_code_from_a_file(module: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("FunctionType(", "safe_mode=False", "allow_pickle=True", "shell=True"):
        assert word not in text, f"{module}: {word}"
    # `marshal.dumps` only writes: it gives the bytes of a live function's code, which are then read as a file's are.
    names = {name for name in imports(path) if name != "marshal.dumps"}
    assert not {"pickle", "marshal", "dill", "shelve"} & {name.split(".")[0] for name in names}, module
    calls = (n.func.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name))
    # Compiling runs nothing either; it is done to text that the user gives, whose bytecode is then read as a file's is.
    compiles = {"compile"} if module == "converters.lambdas.source_text" else set()
    assert not {"eval", "exec", "compile", "__import__"} & set(calls) - compiles, module


@pytest.mark.parametrize("module", ["exporter", "exporter.cli", "exporter.formats", "exporter.runtimes.status"])
def test_what_only_lists_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted(set({sorted(HEAVY)!r}) & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() in ("[]", "['numpy']"), ran.stdout  # a table of types may need NumPy, never a framework


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["export", "--help"],
        ["verify", "--help"],
        ["inspect", "--help"],
        ["models", "--help"],
        ["runtimes", "install", "--help"],
        ["bench", "--help"],
    ],
)
def test_help_imports_no_tensorflow(arguments: list[str]) -> None:
    code = (
        f"import sys, atexit; heavy = set({sorted(HEAVY)!r}); "
        "atexit.register(lambda: print('HEAVY', sorted(heavy & sys.modules.keys()))); "
        f"from exporter.cli import main; sys.argv[1:] = {arguments!r}; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage:" in ran.stdout
    assert ran.stdout.strip().endswith("HEAVY []"), ran.stdout


def test_the_public_names_are_there() -> None:
    import exporter

    for name in exporter.__all__:
        assert getattr(exporter, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        exporter.exprot  # noqa: B018


def test_ruff_and_mypy_are_content() -> None:
    for command in (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]):
        ran = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_file_names_this_machine_or_a_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    forbidden = ("/wo" + "rk/", "/ro" + "ot/", "pypi." + "org", "files.python" + "hosted", "registry.npm" + "js")
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.stat().st_size < 1_000_000:
            content = path.read_bytes()
            assert not [word for word in forbidden if word.encode() in content], name


def test_the_wheel_stays_small() -> None:
    data = ROOT / "exporter" / "models" / "data"
    assert sum(path.stat().st_size for path in data.iterdir()) < 2_000_000
