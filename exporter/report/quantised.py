"""What a person and a program see of a quantisation. Renders results only."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.parity.verdict import OutputVerdict, Verdict
from exporter.report.schema import export_json

_STYLES = {Verdict.PASSED: "bold green", Verdict.FAILED: "bold red", Verdict.NOT_INFORMATIVE: "bold yellow"}


def quantised_json(result: Any) -> dict[str, Any]:
    """The keys of export, and by format `candidates`, `contents` and `facts`; `calibration` and `warnings`."""
    artifacts = result.artifacts
    return {
        **export_json(artifacts, result.reports),
        "candidates": {name: [each.to_json() for each in made] for name, made in result.candidates.items()},
        "contents": {
            name: {
                "operations": each.operations,
                "in_float": list(each.in_float),
                "in_int16": list(each.in_int16),
                "smallest_scale": each.smallest_scale,
            }
            for name, each in result.contents.items()
        },
        "search": {name: each.to_json() for name, each in result.searches.items()},
        "speed": {name: each.to_json() for name, each in result.speeds.items()},
        "facts": {name: dict(each) for name, each in result.facts.items()},
        "calibration": artifacts[0].metadata.get("calibration"),
        "verified_on": result.verified_on,
        "gates_asked": {"agreement": result.gates.agreement, "sqnr_db": result.gates.sqnr_db},
        **({"profiles": {name: each.to_json() for name, each in result.profiles.items()}} if result.profiles else {}),
        "warnings": list(result.warnings),
    }


def print_quantised(out: Console, result: Any) -> None:
    """Warnings, the candidates where there were several, and the verdicts of each runtime."""
    for warning in result.warnings:
        out.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)
    for name, made in result.candidates.items():
        if len(made) > 1:
            out.print()
            out.print(Text(f"{name}: tried, best first; the first is kept", style="bold"))
            out.print(_candidates(made))
    for artifact in result.artifacts:
        out.print()
        out.print(Text(str(artifact.path), style="bold"), soft_wrap=True)
        out.print(_verdicts(result, str(artifact.path)))
        for report in result.reports:
            for name, verdict in report.outputs.items():
                if report.artifact == str(artifact.path) and verdict.reason:
                    out.print(Text(f"  {name}: {verdict.reason} in {report.runtime}"), soft_wrap=True)
        contents = result.contents[artifact.format]
        text = f"  {artifact.size:,} bytes; {contents.operations} operations, {len(contents.in_float)} of them in float"
        text += f", {len(contents.in_int16)} in int16" if contents.in_int16 else ""
        facts = result.facts[artifact.format]
        text += f"; {facts['undelegated']} not taken by XNNPACK" if "undelegated" in facts else ""
        text += f"; arena of TFLite Micro {facts['arena_bytes']:,} bytes" if "arena_bytes" in facts else ""
        out.print(Text(text), soft_wrap=True)
        out.print(Text(f"  {_speed(result.speeds[artifact.format])}"), soft_wrap=True)
        if artifact.format in result.searches:
            _print_search(out, result.searches[artifact.format])
        for spec in (*artifact.inputs, *artifact.outputs):
            scaled = f", real = {spec.scale:.8g} * (stored - {spec.zero_point})" if spec.scale is not None else ""
            out.print(Text(f"  {spec}{scaled}", style="dim"), soft_wrap=True)
    out.print(Text(f"  against the float model, on {result.verified_on}", style="dim"), soft_wrap=True)


def _speed(speed: Any) -> str:
    faster = f"{1 / speed.ratio:.2f} times as fast as the float file"
    text = f"{speed.quantised_ms:.3g} ms here, {faster}" if speed.ratio < 1 else ""
    return text or f"SLOWER than the float file here: {speed.quantised_ms:.3g} ms, {speed.ratio:.2f} times its time"


def _print_search(out: Console, found: Any) -> None:
    """What was kept out of int8, and what it costs."""
    kind, text = found.wish.kept_as, f"--max-drop asks for {found.wish.told}"
    if not found.reached:
        text += f", which is NOT reached with all operations in {kind}; --io float32 spares inputs and outputs too"
        out.print(Text(f"  {text}", style="bold red"), soft_wrap=True)
    elif not found.kept:
        out.print(Text(f"  {text}: reached without any operation in {kind}"), soft_wrap=True)
    else:
        known = f", {found.known} more known from before" if found.known else ""
        text += f": reached with {len(found.kept)} operations in {kind} ({found.conversions} conversions{known})"
        out.print(Text(f"  {text}"), soft_wrap=True)
    for each in found.kept:
        cost = f"{each.extra_bytes:+,} bytes, {each.slower:.2f} times the time without it"
        lost = f"lost {each.layer.loss_db:.1f} dB"
        out.print(Text(f"  in {kind}: {each.layer.label} ({lost}): {cost}"), soft_wrap=True)


def _candidates(made: Any) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("graph")
    table.add_column("ranges")
    table.add_column("SQNR, dB", justify="right")
    table.add_column("top-1 agrees", justify="right")
    for each in made:
        figures = ("-", "-") if each.artifact is None else (f"{each.sqnr_db:.2f}", f"{each.agreement:.2%}")
        table.add_row(
            Text(each.form.name), Text(each.method or "-"), *figures, *([Text(each.fault)] if each.fault else [])
        )
    return table


def _verdicts(result: Any, path: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("runtime", "output"):
        table.add_column(heading)
    for heading in ("SQNR, dB", "top-1 agrees", "max abs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report in result.reports:
        for name, verdict in report.outputs.items() if report.artifact == path else ():
            style = _STYLES[verdict.verdict]
            table.add_row(Text(report.runtime), Text(name), *_figures(verdict), Text(str(verdict.verdict), style=style))
    return table


def _figures(verdict: OutputVerdict) -> list[str]:
    metrics = verdict.metrics
    if metrics is None:
        return ["-"] * 3
    return [
        "exact" if metrics.sqnr_db is None else f"{metrics.sqnr_db:.2f}",
        "-" if metrics.agreement is None else f"{metrics.agreement:.2%}",
        f"{metrics.max_abs:.2e}",
    ]
