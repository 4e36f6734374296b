"""What the commands' options take. Imports only click."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

NamedShape = tuple[str, tuple[int, ...]]
_LONGEST: Final = 1 << 20  # characters of a file that is read as text


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
    """`NAME=TEXT`, or `NAME=@FILE` with the text of a file."""

    name = "NAME='lambda t: ...'|NAME=@FILE.py"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip() or not text.strip():
            self.fail(f"{value!r} is not of the form NAME='lambda t: ...' or NAME=@FILE.py", param, ctx)
        if not text.strip().startswith("@"):
            return name.strip(), text.strip()
        path = Path(text.strip()[1:])
        try:
            with path.open(encoding="utf-8") as file:
                return name.strip(), file.read(_LONGEST)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            self.fail(f"{str(path)!r} cannot be read ({reason})", param, ctx)


class Threads(click.ParamType[tuple[int | str, ...]]):
    """Numbers of at least 1 and `all`, with commas between."""

    name = "N,...|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | str, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part == "all" or (part.isdecimal() and int(part) >= 1) for part in parts):
            self.fail(f"{value!r} is not numbers of at least 1 or 'all', such as 1,all", param, ctx)
        return tuple("all" if part == "all" else int(part) for part in parts)


class NamedNumber(click.ParamType[tuple[str, float]]):
    """`VALUE` or `OUTPUT=VALUE`."""

    name = "[OUTPUT=]VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).rpartition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not a number such as 0.01 or predictions=0.01", param, ctx)


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
