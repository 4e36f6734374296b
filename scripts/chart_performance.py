"""Draw the table of goals: `chart_performance.py RESULTS.jsonl OUT.svg`, of what benchmark_performance.py --json kept.

For each cell a bar, the time on one thread of our export where the stock converter's file is 1, with its interval; a
mark for the goal and one for the same net without attention. Needs matplotlib, which the extra `chart` brings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLOURS: Final = {"LiteRT f32": "#4878a8", "LiteRT int8": "#7aa6c2", "ONNX Runtime f32": "#d08a4a"}
_OTHER: Final = "#888888"


def draw(cells: list[Mapping[str, Any]], path: Path) -> None:
    """cells: lines of the JSON, of one spelling; the later of two of the same model and kind counts."""
    latest = {(cell["title"], cell["kind"]): cell for cell in cells}
    figure = Figure(figsize=(8.6, 0.32 * len(latest) + 1.1), layout="constrained")
    panel = figure.subplots()
    for place, ((_, kind), cell) in enumerate(latest.items()):
        of = {each["role"]: each["name"] for each in reversed(cell["artifacts"])}  # of stock converters the first
        ours = _ratio(cell, of["ours"], of["naive"])
        panel.barh(place, ours["ratio"], color=COLOURS.get(kind, _OTHER), height=0.7)
        panel.plot([ours["low"], ours["high"]], [place, place], color="black", linewidth=1.2, marker="|", markersize=5)
        panel.text(0.01, place, f"{ours['ratio']:.2f}", color="white", va="center", fontsize=8)
        if cell["goal"] is not None:
            panel.plot([cell["goal"]] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
        if "none" in of:
            without = 1 / _ratio(cell, of["naive"], of["none"])["ratio"]
            panel.plot([without] * 2, [place - 0.42, place + 0.42], color="#bbbbbb", linewidth=2)
    panel.set_yticks(range(len(latest)), [f"{title}   {kind}" for title, kind in latest], fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.02)
    panel.axvline(1, color="black", linewidth=0.6)
    panel.set_title("One thread: time of our export, the stock converter's file being 1", fontsize=10, loc="left")
    panel.legend(
        handles=[
            Line2D([], [], color="black", marker="|", linewidth=1.2, label="interval (97%)"),
            Line2D([], [], color="black", marker="|", linewidth=0, markersize=11, markeredgewidth=2, label="goal"),
            Line2D(
                [], [], color="#bbbbbb", marker="|", linewidth=0, markersize=11, markeredgewidth=2, label="no attention"
            ),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.06),
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    panel.spines[["top", "right"]].set_visible(False)
    # No date, and names of its own for what SVG must name: equal figures give equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "cbam-export", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _ratio(cell: Mapping[str, Any], artifact: str, against: str) -> Mapping[str, Any]:
    """On one thread."""
    asked = (artifact, against, 1)
    pairs = {(each["artifact"], each["against"], each["threads"]): each for each in cell["comparisons"]}
    found: Mapping[str, Any] = pairs[asked]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    draw([json.loads(line) for line in given.results.read_text(encoding="utf-8").splitlines()], given.picture)


if __name__ == "__main__":
    main()
