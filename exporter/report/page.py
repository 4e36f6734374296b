"""A verification as one HTML page that needs nothing else, from its JSON alone."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from converters.errors import OutputError
from converters.whole_file import whole_file
from exporter.report.background import background, causes
from exporter.report.checks import checks, matrix, overall, short_names, summary
from exporter.report.images import attention, flips
from exporter.report.layers import along_layers, gates
from exporter.report.markup import Html, and_list, join, tag

PAGE: Final = "index.html"
RESULT: Final = "result.json"
_MARK: Final = '<meta name="generator" content="cbam '


def page(result: Mapping[str, Any], source: str | None = RESULT) -> str:
    """The page of a result as `cbam verify --json` prints it. `source`: the file with that JSON beside it, or None."""
    sections = {
        "verdict": summary(result),
        "matrix": matrix(result),
        "checks": checks(result),
        "layers": along_layers(result),
        "causes": causes(result),
        "attention": attention(result),
        "flips": flips(result),
        "gates": gates(result),
        "background": background(result),
    }
    names = list(short_names(result).values())
    subject = and_list(names) if len(names) <= 3 else f"{len(names)} artifacts"
    reference = result["reference"]
    title = f"{overall(result['verification'])}: {subject} against {reference['name']}"
    line = f"against {reference['against']} of {reference['name']}, {reference['source']}"
    return document("verify", (title, f"Parity of {subject}", line), sections, _TITLES, source)


def document(
    command: str,
    words: tuple[str, str, str],
    sections: Mapping[str, Html | None],
    titles: Mapping[str, str],
    source: str | None,
) -> str:
    """A whole page.

    Args:
        command: of `cbam`, that it is by.
        words: its title, its heading, and the line below that.
        sections: by anchor, in their order; None is left out.
        titles: of the links to them.
        source: the file beside it with what it shows, or None.
    """
    template = resources.files("exporter.report").joinpath("templates", "verification.html").read_text(encoding="utf-8")
    shown = {name: part for name, part in sections.items() if part is not None}
    links = (tag("li", tag("a", titles[name], href=f"#{name}")) for name in shown)
    whence = (" from ", tag("a", source, href=source)) if source else ()
    title, heading, line = words
    return string.Template(template).substitute(
        generator=f'{_MARK}{command}">',
        title=tag("title", title),
        heading=tag("h1", heading),
        line=tag("p", line, class_="quiet"),
        links=tag("ul", *links),
        source=tag("p", f"Made by cbam {command}", *whence, ". Nothing on this page is loaded from anywhere else."),
        sections=join(shown.values(), "\n"),
    )


_TITLES: Final = {
    "verdict": "Verdict",
    "matrix": "Runtimes",
    "checks": "Checks",
    "layers": "Layers",
    "causes": "Causes",
    "attention": "Attention",
    "flips": "Flips",
    "gates": "Gates",
    "background": "Reference",
}


def check_folder(folder: Path) -> None:
    """Refuse to write over what is not a report of ours, before anything slow.

    Raises:
        OutputError: naming what stands in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; --report takes a folder")
    for name in (PAGE, RESULT):
        target = folder / name
        if target.is_symlink() or target.is_dir():
            raise OutputError(f"{target}: is a folder or a symbolic link; give another --report")
    target = folder / PAGE
    if target.exists() and _MARK.encode() not in target.read_bytes()[:2000]:
        raise OutputError(f"{target}: a page that this tool did not write; move it, or give another --report")
    if (folder / RESULT).exists() and not target.exists():
        raise OutputError(f"{folder / RESULT}: a file that this tool did not write; move it, or give another --report")


def write_report(result: Mapping[str, Any], folder: Path, render: Callable[[Mapping[str, Any]], str] = page) -> Path:
    """Write `index.html`, as `render` makes it of the result, and `result.json`, each under a temporary name first, and
    give the page's path.

    Raises:
        OutputError: something else stands there, or it cannot be written.
    """
    check_folder(folder)
    text = render(result)
    for name, content in ((PAGE, text), (RESULT, json.dumps(result, indent=2, allow_nan=False) + "\n")):
        with whole_file(folder / name) as stream:
            stream.write(content.encode())
    return folder / PAGE
