"""What the commands' options take. Imports only click."""

from __future__ import annotations

from typing import Any

import click

NamedShape = tuple[str, tuple[int, ...]]


class BatchSize(click.ParamType[int | str]):
    """A number of at least 1, or `dynamic`."""

    name = "N|dynamic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if isinstance(value, int):
            return value
        if value == "dynamic":
            return "dynamic"
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number of at least 1 nor 'dynamic'", param, ctx)
        return int(value)


class Shape(click.ParamType[NamedShape]):
    """Sizes per sample, `HxWxC` or `NAME=HxWxC`."""

    name = "[NAME=]HxWxC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NamedShape:
        if isinstance(value, tuple):
            return value
        name, _, sizes = str(value).rpartition("=")
        parts = sizes.lower().split("x")
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a shape such as 224x224x3 or image=224x224x3", param, ctx)
        return name, tuple(map(int, parts))


class ValueRange(click.ParamType[tuple[float, float]]):
    """`MIN,MAX`."""

    name = "MIN,MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            low, high = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not two numbers such as 0,255", param, ctx)
        return low, high


class NamedText(click.ParamType[tuple[str, str]]):
    """`NAME=TEXT`."""

    name = "NAME='lambda t: ...'"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip() or not text.strip():
            self.fail(f"{value!r} is not of the form NAME='lambda t: ...'", param, ctx)
        return name.strip(), text.strip()


class Share(click.ParamType[float]):
    """A share of one: `0.98` or `98%`."""

    name = "SHARE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value).strip()
        try:
            return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is not a share such as 0.98 or 98%", param, ctx)


class Numbers(click.ParamType[tuple[float, ...]]):
    """`A` or `A,B,C`."""

    name = "A[,B,C]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(map(float, str(value).split(",")))
        except ValueError:
            self.fail(f"{value!r} is not one number or several such as 0.485,0.456,0.406", param, ctx)
