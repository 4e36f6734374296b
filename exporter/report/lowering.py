"""What a person sees of lowering, on stderr."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.text import Text

from converters.deploy.lower import Lowered
from converters.deploy.winograd import RULE as WINOGRAD

_WINOGRAD: Final = (
    "  {}: --no-winograd leaves these convolutions as they are, with a quarter less of their weights in the file, and "
    "for a GPU delegate, which has its own way"
)


def print_lowered(out: Console, lowered: Mapping[str, Lowered]) -> None:
    """A line for each format: how many parts were rewritten by which rules, and what was refused."""
    for name, each in lowered.items():
        if each.reason:
            out.print(Text(f"  {name} is not lowered: {each.reason}", style="dim"), soft_wrap=True)
        if each.rewrites:
            rules = Counter(rule for rewrite in each.rewrites for rule in rewrite.rules)
            shown = ", ".join(f"{rule} {count}" for rule, count in rules.items())
            proof = f"equal within {each.error:.0e} in float64"
            out.print(Text(f"  {name} lowered for {each.target}: {shown}; {proof}", style="dim"), soft_wrap=True)
            if WINOGRAD in rules:
                out.print(Text(_WINOGRAD.format(name), style="dim"), soft_wrap=True)
        refused: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        for refusal in each.refused:
            parts, rules_of = refused.setdefault(refusal.reason, ({}, {}))
            parts[refusal.name], rules_of[refusal.rule] = None, None
        for reason, (parts, rules_of) in refused.items():
            text = f"  {name}: no {', '.join(rules_of)} for {', '.join(parts)}: {reason}"
            out.print(Text(text, style="dim"), soft_wrap=True)
