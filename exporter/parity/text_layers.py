"""Where artifacts leave their model, and what is found along the layers, as plain text from a result's JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

Row = Mapping[str, Any]

_LISTED: Final = 6  # tensors that were not recognised
_BAR: Final = 14  # cells, two a power of ten: from 1e-7 of the deviation to 1


def divergence(result: Mapping[str, Any]) -> Iterator[str]:
    """One line an artifact that failed: the layer at which it leaves the model, or why none is named."""
    for each in result.get("divergence", ()):
        yield f"{each['artifact']}: {where(each)}"
    for each in result.get("not_located", ()):
        yield f"{each['artifact']}: no layer is named: {each['reason']}"


def where(each: Row) -> str:
    """The layer at which an artifact leaves the model, in words."""
    block = f" (block {each['block']})" if each["block"] else ""
    parts = [f"first leaves the model at layer {each['layer']}{block}"]
    if each.get("tensor"):
        off = "not finite" if each.get("error") is None else f"off by {each['error']:.2g} of its deviation"
        parts.append(f"tensor {each['tensor']}, {off}")
    if len(each.get("layers", ())) > 1 and " + " not in each["layer"]:
        parts.append(f"one operation of {' + '.join(each['layers'])}")
    parts += [each["reason"]] if each.get("reason") else []
    return "; ".join(parts)


def profile(found: Row) -> Iterator[str]:
    """Every tensor that was recognised, in the file's order, with its error and what of it arithmetic explains."""
    yield f"{found['artifact']}  in  {found['runtime']}, along the layers (of each tensor's own deviation)"
    rows = found["rows"]
    width = max([len("layer"), *(len(" + ".join(each["layers"])) for each in rows)])
    yield f"  {'layer'.ljust(width)}  own error  allowed   in all   {'1e-7 to 1'.ljust(_BAR)}  finding"
    for each in rows:
        figures = (_figure(each[key]) for key in ("error", "allowed", "total"))
        name = " + ".join(each["layers"]).ljust(width)
        yield f"  {name}  {'  '.join(map(str, figures))}   {_bar(each['error']).ljust(_BAR)}  {each['finding']}"
    for each in rows:
        if each["clipped"]:
            yield f"  {each['layer']}: {each['clipped']:.2%} of its values at the ends of its range"
    if found["unmatched"]:
        yield f"  not recognised: {_few(found['unmatched'])}"
    yield f"  {where(found['divergence']) if found['divergence'] else found['note']}"


def gates_of(rows: Iterable[Row]) -> Iterator[str]:
    """One line a gate of an artifact: how far from the model's, how much of it saturated and dead, of both."""
    yield "gates of the artifacts (the model's in parentheses):"
    last = None
    for each in rows:
        if each["artifact"] != last:
            last = each["artifact"]
            yield f"  {last}"
        gate = f"    {each['block']} {each['gate']}:"
        if each["tensor"] is None:
            yield f"{gate} not recognised in the file"
            continue
        error = "-" if each["error"] is None else f"{each['error']:.1e}"
        yield (
            f"{gate} error {error}, saturated {each['saturated']:.1%} ({each['model_saturated']:.1%}), "
            f"dead {each['dead']:.1%} ({each['model_dead']:.1%})"
        )


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _figure(value: float | None) -> str:
    return "-".rjust(8) if value is None else f"{value:.1e}".rjust(8)


def _bar(error: float | None) -> str:
    if error is None or error <= 1e-7:
        return ""
    tenths, length = min(1.0, error) / 1e-7, 0
    while tenths >= 10**0.5 and length < _BAR:
        tenths, length = tenths / 10**0.5, length + 1
    return "#" * length
