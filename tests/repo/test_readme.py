"""The README says what is so: its commands are the ones that CI runs, its tables come from ours."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return README.split(f"\n## {name}\n")[1].split("\n## ")[0]


def fenced(text: str) -> list[str]:
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("name", ["Run", "Test"])
def test_run_and_test_are_one_command_each(name: str) -> None:
    (command,) = fenced(section(name))
    assert "\n" not in command
    assert command.startswith("python3 -m venv ")


def test_ci_reads_these_very_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = script[script.index("command_of()") : script.index("git clone")]
    for name in ("Run", "Test"):
        call = f"{function}\ncd {ROOT}; command_of {name}"
        ran = subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == fenced(section(name))[0]


def test_the_table_of_formats_is_the_table() -> None:
    from exporter.formats import FORMATS

    table = README.split("<!-- formats -->\n")[1].split("<!-- /formats -->")[0]
    rows = [
        f"| `{row.name}` | `NAME{row.suffix or '/'}` | {', '.join(row.precisions)} | {row.summary} |"
        for row in FORMATS.values()
    ]
    assert table.splitlines() == rows


def test_the_table_of_runtimes_is_the_table() -> None:
    from exporter.runtimes.installs.table import INSTALLS
    from exporter.runtimes.table import RUNTIMES

    required = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    table = README.split("<!-- runtimes -->\n")[1].split("<!-- /runtimes -->")[0]
    rows = []
    for row in RUNTIMES.values():
        install = INSTALLS[row.install]
        default = install.requirements and install.requirements[-1] in required
        runs = "; ".join(f"{name} {', '.join(precisions)}" for name, precisions in row.runs.items())
        runs += "" if row.open_batch else "; fixed batch"
        rows.append(f"| `{row.name}` | {row.summary} | {runs} | {'default' if default else f'`{install.name}`'} |")
    assert table.splitlines() == rows


def test_pip_installs_what_the_extras_name() -> None:
    from exporter.runtimes.installs.table import INSTALLS

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in ("micro", "openvino"):
        assert extras[name] == [INSTALLS[name].requirements[-1]]


def test_every_cbam_command_line_in_the_documents_parses() -> None:
    from exporter.cli import cbam, export

    texts = [README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")]
    lines = [line.split("#")[0].split() for text in texts for block in fenced(text) for line in block.splitlines()]
    commands = [line for line in lines if line and line[0] in ("cbam", "cbam-export")]
    assert len(commands) >= 7
    for name, *arguments in commands:
        command = export if name == "cbam-export" else cbam.commands[arguments.pop(0)]
        command.make_context(name, arguments)  # parses, does not run; a usage error would be raised


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"cbam-resnet18{suffix}" for suffix in (".onnx", ".onnx.json", ".tflite", ".tflite.json")
    }


def test_stated_accuracies_are_those_of_the_logs() -> None:
    import json

    for name in ("cbam-mnist", "cbam-mobilenet-mnist"):
        log = json.loads((ROOT / "docs" / "training" / f"{name}.json").read_text())
        row = (
            f"| `{name}` | 28x28x1, 0..1 | {log['parameters']:,} | {100 * log['test_accuracy']:.1f}% of 1,000 digits |"
        )
        assert row in README
        assert log["test_accuracy"] >= 0.985
        assert log["seconds"] < 600


def test_links_in_the_documents_lead_somewhere() -> None:
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/decisions.md",
        "docs/parity.md",
        "docs/performance.md",
        "docs/quantisation.md",
        "docs/runtimes.md",
    ):
        path = ROOT / name
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{name} links {target}"
