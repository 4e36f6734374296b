"""Write a corpus of real legacy Keras files: each of STACKS saves the bodies and models of scripts/legacy.

    python scripts/make_fixtures.py [--stacks NAME...] [--cache DIR] [--output DIR]   # install, write, gather
    python scripts/make_fixtures.py --small tests/fixtures/legacy [--output DIR]      # pack the part that is kept here

An item is a model file and an .npz of inputs (x0, x1, ...) and of the outputs that the very Keras computed (y0, ...).
OUTPUT/manifest.json holds {"rows": [...], "skipped": [...]}: what was written, and what a stack could not, and why.
The interpreters are `pythonX.Y` on the PATH, or pyenv's. A stack takes 1.5 GB in the cache and 1 to 5 minutes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEGACY = Path(__file__).resolve().parent / "legacy"
CORPUS = Path(tempfile.gettempdir()) / "cbam-legacy"
OLD_NUMPY = ("h5py==2.10.0", "protobuf<3.20", "numpy<1.19", "scipy")


@dataclass(frozen=True)
class Stack:
    """A Python with an old Keras. A flavour is the name by which its programs import Keras."""

    name: str
    python: str
    requirements: tuple[str, ...]
    flavours: tuple[str, ...] = ("tf.keras",)


STACKS = [
    Stack("tf2.15-py3.11", "3.11", ("tensorflow-cpu==2.15.1",)),
    Stack("tf1.15-py3.7", "3.7", ("tensorflow==1.15.0", "keras==2.3.1", *OLD_NUMPY), ("tf.keras", "keras")),
    Stack("keras3.4-py3.12", "3.12", ("tensorflow-cpu==2.17.1", "keras==3.4.1"), ("tf.keras", "keras")),
    Stack(
        "tf1.15-py2.7",
        "2.7",
        ("tensorflow==1.15.0", "keras==2.2.4", "h5py==2.10.0", "protobuf<3.18", "numpy<1.17", "scipy"),
        ("tf.keras", "keras"),
    ),
    Stack("tf1.15-py3.6", "3.6", ("tensorflow==1.15.5", *OLD_NUMPY)),
    Stack("tf2.0-py3.7", "3.7", ("tensorflow==2.0.0", *OLD_NUMPY)),
    Stack("tf2.3-py3.8", "3.8", ("tensorflow-cpu==2.3.4", *OLD_NUMPY)),
    Stack("tf2.4-py3.8", "3.8", ("tensorflow-cpu==2.4.4", "h5py==2.10.0", "protobuf<3.20", "numpy<1.20")),
    Stack("tf2.8-py3.9", "3.9", ("tensorflow-cpu==2.8.4", "protobuf<3.20", "numpy<1.24")),
    Stack("tf2.12-py3.10", "3.10", ("tensorflow-cpu==2.12.1",)),
    Stack("keras3.11-py3.13", "3.13", ("tensorflow-cpu==2.20.0", "keras==3.11.3")),
    Stack("tf_keras2.17-py3.12", "3.12", ("tensorflow-cpu==2.17.1", "tf_keras==2.17.0"), ("tf_keras",)),
]

# Kept in the repository from every stack that has them, before others fill the space: what public code has most.
COMMON = {
    "closure_number",
    "def_euclidean_shape",
    "inputs_euclidean",
    "model_nested_multi_output",
    "model_raw_arithmetic",
    "reduce_k_max_axis3_keepdims",
    "slice_reverse_channels",
    "unknowable_global_number",
}
SMALL_BYTES, ITEM_BYTES = 2_950_000, 20_000


def interpreter(version: str) -> str:
    """The Python of that version on this machine."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    path = str(found[-1]) if found else shutil.which(f"python{version}")
    if path is None:
        raise SystemExit(f"no Python {version} here: neither python{version} on the PATH nor one of pyenv's")
    return path


def install(stack: Stack, cache: Path) -> Path:
    """The interpreter of the stack's environment in the cache, made where it is not there."""
    target = cache / stack.name
    python, mark = target / "bin" / "python", target / "requirements.txt"
    wanted = "\n".join(stack.requirements) + "\n"
    if mark.is_file() and mark.read_text() == wanted:
        return python
    shutil.rmtree(target, ignore_errors=True)
    if stack.python == "2.7":  # has no venv
        helper = cache / "virtualenv"
        subprocess.run([sys.executable, "-m", "venv", helper], check=True)
        subprocess.run([helper / "bin" / "python", "-m", "pip", "install", "-q", "virtualenv<20.22"], check=True)
        subprocess.run([helper / "bin" / "virtualenv", "-q", "-p", interpreter("2.7"), target], check=True)
    else:
        subprocess.run([interpreter(stack.python), "-m", "venv", target], check=True)
        pip = "pip<21.4" if stack.python == "3.6" else "pip"  # the last for 3.6, whose own knows no manylinux2010
        subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade", pip], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *stack.requirements], check=True)
    mark.write_text(wanted)
    return python


def write(stack: Stack, python: Path, output: Path) -> None:
    """Let the stack save everything. It runs in scripts/legacy, so that bytecode names files without a directory."""
    fresh = output / ".partial"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for flavour in stack.flavours:
        variables = {"FLAVOUR": flavour, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        log = output / f"{stack.name}-{flavour}.log"
        with log.open("w") as file:
            code = subprocess.run(
                [python, "write_corpus.py", stack.name, fresh],
                cwd=LEGACY,
                env={**os.environ, **variables},
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        last = log.read_text().splitlines()[-1]
        print(last if code == 0 else f"{stack.name} {flavour} failed, see {log}", flush=True)
    shutil.rmtree(output / stack.name, ignore_errors=True)
    (fresh / stack.name).replace(output / stack.name)


def sources() -> dict[str, str]:
    """The text of every body and model, by name."""
    found, category = {}, ""
    text = (LEGACY / "bodies.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        call = node.value
        if ast.unparse(call.func) == "category":
            category = ast.literal_eval(call.args[0])
        elif ast.unparse(call.func) == "add":
            name, body = f"{category}_{ast.literal_eval(call.args[0])}", call.args[1]
            found[name] = ast.unparse(body)
            base = ast.unparse(body).split("(")[0]
            if not isinstance(body, ast.Lambda) and base in functions:
                found[name] += "\n" + ast.unparse(functions[base])
    for node in ast.parse((LEGACY / "models.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            found[f"model_{node.name}"] = ast.unparse(node)
    return found


def gather(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Write the manifest of all stacks that are in the corpus."""
    manifest: dict[str, list[dict[str, Any]]] = {"rows": [], "skipped": []}
    texts = sources()
    for path in sorted(output.glob("*/rows-*.json")):
        part = json.loads(path.read_text())
        for row in part["rows"]:
            row["file"], row["data"] = (f"{path.parent.name}/{row[key]}" for key in ("file", "data"))
            manifest["rows"].append({**row, "source": texts.get(row["name"], "")})
        manifest["skipped"] += part["skipped"]
    partial = output / "manifest.json.partial"
    partial.write_text(json.dumps(manifest, indent=1) + "\n")
    partial.replace(output / "manifest.json")
    return manifest


def digest(name: str) -> str:
    """A number that is as good as drawn, and always the same."""
    return hashlib.sha256(name.encode()).hexdigest()


def cost(row: dict[str, Any], output: Path) -> int:
    """The bytes that an item takes in an archive, about."""
    parts = [(output / row[key]).read_bytes() for key in ("file", "data")]
    return sum(len(zlib.compress(part, 9)) + 200 for part in parts) + 100


def choose(rows: list[dict[str, Any]], output: Path) -> list[dict[str, Any]]:
    """What is kept: the common bodies of every stack, then others once, models and flow first, while space lasts."""
    rows = [row for row in rows if row["small"] and row["finite"]]
    order = sorted(rows, key=lambda row: (row["format"] != "hdf5", row["stack"], row["flavour"], row["file"]))
    chosen: dict[str, dict[str, Any]] = {}
    used: dict[str, int] = {}
    space = SMALL_BYTES

    def take(row: dict[str, Any]) -> None:
        nonlocal space
        price = cost(row, output)
        if row["file"] not in chosen and price < min(space, ITEM_BYTES):
            chosen[row["file"]] = row
            used[row["stack"]] = used.get(row["stack"], 0) + price
            space -= price

    for row in order:
        if row["name"] in COMMON and (row["format"] == "hdf5" or row["name"] == "closure_number"):
            take(row)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in order:
        by_name.setdefault(row["name"], []).append(row)
    for name in sorted(by_name, key=lambda name: (not name.startswith(("model", "flow")), digest(name))):
        if not any(row["name"] == name for row in chosen.values()):
            other = "keras-v3" if digest(name) < "4" else "hdf5"  # a quarter as zip files, where a stack writes them
            take(min(by_name[name], key=lambda row: (row["format"] != other, used.get(row["stack"], 0), row["file"])))
    return sorted(chosen.values(), key=lambda row: row["file"])


def pack(manifest: dict[str, list[dict[str, Any]]], output: Path, target: Path) -> None:
    """One archive for each stack, its manifest inside. Equal files give equal bytes."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.zip"):
        old.unlink()
    rows = choose(manifest["rows"], output)
    for stack in sorted({row["stack"] for row in rows}):
        part = [
            {**row, "file": Path(row["file"]).name, "data": Path(row["data"]).name}
            for row in rows
            if row["stack"] == stack
        ]
        contents = {"manifest.json": (json.dumps({"rows": part}, indent=1) + "\n").encode()}
        for row in part:
            for key in ("file", "data"):
                contents[row[key]] = (output / stack / row[key]).read_bytes()
        with zipfile.ZipFile(target / f"{stack}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in sorted(contents.items()):
                for place in (b"/tmp/", b"/ro" + b"ot/", b"/home/", b"site-packages"):
                    if place in data:
                        raise SystemExit(f"{stack}/{name} names a place of this machine: {place!r}")
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        print(f"{stack}: {len(part)} files, {(target / f'{stack}.zip').stat().st_size:,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacks", nargs="*", metavar="NAME", choices=[stack.name for stack in STACKS])
    parser.add_argument("--cache", type=Path, default=CORPUS / "stacks", help="where the environments are")
    parser.add_argument("--output", type=Path, default=CORPUS / "corpus", help="where the corpus is written")
    parser.add_argument(
        "--small", type=Path, metavar="DIR", help="only pack the part that the repository keeps, into DIR"
    )
    options = parser.parse_args()
    output = options.output.resolve()
    if options.small:
        pack(json.loads((output / "manifest.json").read_text()), output, options.small)
        return
    output.mkdir(parents=True, exist_ok=True)
    for stack in STACKS:
        if not options.stacks or stack.name in options.stacks:
            try:
                write(stack, install(stack, options.cache.resolve()), output)
            except subprocess.CalledProcessError as error:
                print(f"{stack.name}: {error}", flush=True)
            manifest = gather(output)
    print(f"{len(manifest['rows'])} files, {len(manifest['skipped'])} skipped")


if __name__ == "__main__":
    main()
