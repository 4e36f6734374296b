"""A benchmark as a picture: bars of medians with their intervals. Drawn by matplotlib, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from converters.errors import OptionError, RuntimeUnavailableError
from exporter.bench.result import BenchReport, Measured, Role
from exporter.bench.statistics import Difference

SUFFIXES: Final = (".svg", ".png")
_COLOURS: Final = {Role.OURS: "#1b6ca8", Role.NAIVE: "#9aa5b1", Role.NONE: "#d9dee4", Role.GIVEN: "#4c956c"}
_WIDTH: Final = 5.2  # inches of one panel
_BAR: Final = 0.42
_FRAME: Final = 0.95
_DOTS: Final = 150  # a PNG's dots per inch


def check_chart(path: Path) -> None:
    """Before anything slow: can a chart be drawn, and stored there?

    Raises:
        OptionError: a suffix that is none of SUFFIXES, or no such folder.
        RuntimeUnavailableError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"--chart {path}: a chart is written as {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise OptionError(f"--chart {path}: there is no folder {path.parent}")
    _figure_class()


def write_chart(report: BenchReport, path: Path) -> None:
    """Draw a report: one row of panels for each model and format, one column for each number of threads.

    Raises:
        RuntimeUnavailableError: matplotlib is not installed.
    """
    groups: dict[str, list[Measured]] = {}
    for each in report.measured:
        of = "given artifacts" if each.candidate.role is Role.GIVEN else each.candidate.model
        groups.setdefault(f"{of}, {each.candidate.artifact.format} in {each.runtime}", []).append(each)
    threads = [timing.threads for timing in report.measured[0].timings]
    heights = [_BAR * len(members) + _FRAME for members in groups.values()]
    figure = _figure_class()(figsize=(_WIDTH * len(threads) + 1.6, sum(heights) + 0.4), layout="constrained")
    panels = figure.subplots(len(groups), len(threads), squeeze=False, height_ratios=heights)
    for row, (title, members) in enumerate(groups.items()):
        for column, count in enumerate(threads):
            panel = panels[row][column]
            _draw(panel, report, members, column)
            panel.set_title(f"{title}, {count} thread{'s' * (count > 1)}", fontsize=9, loc="left")
            if column:
                panel.set_yticklabels([])
    versions = ", ".join(f"{name} {found}" for name, found in report.versions.items() if found)
    figure.supxlabel(
        f"ms an inference, median over {report.launches} launches with its interval; x: ratio to the stock converter, "
        f"else to the first\n"
        f"{report.machine.processor}, {report.machine.cores} cores; {versions}",
        fontsize=7,
    )
    # No date, and names of its own for what SVG must name: equal figures give equal bytes.
    settings = {"svg.hashsalt": "cbam-export"}
    import matplotlib

    with matplotlib.rc_context(settings):
        metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
        figure.savefig(path, dpi=_DOTS, metadata=metadata)


def _draw(panel: Any, report: BenchReport, members: Sequence[Measured], column: int) -> None:
    timings = [each.timings[column] for each in members]
    places = range(len(members))
    medians = [timing.wall.median for timing in timings]
    base = next((place for place in places if members[place].candidate.role is Role.NAIVE), 0)
    panel.barh(places, medians, color=[_COLOURS[each.candidate.role] for each in members], height=0.66)
    for place, timing in enumerate(timings):
        low, high = timing.wall.low, timing.wall.high
        if low is not None and high is not None:
            panel.plot([low, high], [place, place], color="black", linewidth=1.2, marker="|", markersize=5)
        text = f"{timing.wall.median:.4g}"
        if place != base:
            text += f"  x{_ratio(report, members, (place, base), timing.threads)}"
        end = max(timing.wall.median, high or 0.0)
        panel.annotate(text, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
    names = [_name(each) for each in members]
    panel.set_yticks(list(places), names, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.45 * max(max(medians), *(timing.wall.high or 0.0 for timing in timings)))
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def _ratio(report: BenchReport, members: Sequence[Measured], pair: tuple[int, int], threads: int) -> str:
    """How many times as long the first takes as the second; the report has each pair once, the later first."""
    later, earlier = sorted(pair, reverse=True)
    found = report.comparison(members[later].candidate.label, members[earlier].candidate.label, threads)
    ratio = found.wall.median if pair[0] == later else 1 / found.wall.median
    noise = " (not resolved)" if found.difference is Difference.NOT_RESOLVED else ""
    return f"{ratio:.2f}{noise}"


def _name(measured: Measured) -> str:
    candidate = measured.candidate
    return candidate.label if candidate.role is Role.GIVEN else candidate.made_by


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"a chart needs matplotlib, which cannot be imported ({error}); pip install 'cbam-export[chart]'"
        ) from error
    return Figure
