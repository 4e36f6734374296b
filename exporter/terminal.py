"""What the commands share: how they talk to a person, and how they end. Imports only click."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

import click

from converters.errors import CbamError, closest


class Choice(click.ParamType[str]):
    """One of a table's names. A near miss is answered with a suggestion, never taken for what it resembles."""

    name = "name"

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.known:
            self.fail(f"unknown name {value!r}{closest(value, self.known)}", param, ctx)
        return value

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[" + "|".join(self.known) + "]"


def _once(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str:
    """The value of an option that may be given once: click itself would take the last of several, and say nothing."""
    if len(values) > 1:
        given = " and ".join(values)
        raise click.BadParameter(f"{given} were given; it takes one, and the command is run once for each")
    return values[0]


def precision_option(known: tuple[str, ...], default: str) -> Callable[[Any], Any]:
    """`--precision`, one of `known`."""
    return click.option(
        "-p",
        "--precision",
        multiple=True,
        default=(default,),
        show_default=True,
        type=Choice(known),
        callback=_once,
        help="Arithmetic.",
    )


class Reporter:
    """Talks to the user on stderr: what is being done, and how long each step took."""

    def __init__(self, stream: IO[str], verbose: bool, silent: bool) -> None:
        self.stream, self.verbose, self.silent = stream, verbose, silent
        self._step, self._since = "", 0.0
        self._live = stream.isatty() and not verbose

    def step(self, text: str) -> None:
        """A new step begins, the last one is done."""
        self.done()
        self._step, self._since = text, time.monotonic()
        if not self.silent and self._live:
            self.stream.write(f"  {text} ...")
            self.stream.flush()

    def done(self) -> None:
        """The running step is done."""
        if self._step and not self.silent:
            start = "\r\x1b[K" if self._live else ""
            self.stream.write(f"{start}  {self._step:<60} {time.monotonic() - self._since:6.1f} s\n")
            self.stream.flush()
        self._step = ""

    def progress(self, done: int, of: int) -> None:
        """How far the running step is, as a bar behind it on a terminal; nothing elsewhere."""
        if self._step and self._live and not self.silent:
            filled = 20 * done // max(1, of)
            self.stream.write(f"\r\x1b[K  {self._step} [{'#' * filled:<20}] {done}/{of}")
            self.stream.flush()

    def broken(self) -> None:
        """The running step was cut short."""
        if self._step and not self.silent and self._live:
            self.stream.write("\r\x1b[K")
        self._step = ""

    def line(self, text: str) -> None:
        """One line, unless silent."""
        if not self.silent:
            self.stream.write(text + "\n")
            self.stream.flush()


@contextlib.contextmanager
def session(verbose: bool, silent: bool, as_json: bool) -> Iterator[Reporter]:
    """The surroundings of a command that works: libraries kept quiet, errors turned into one line and an exit code."""
    from exporter.quiet import quiet

    # A polite kill runs the clean-up of temporary files; only SIGKILL does not, and the next run clears up after that.
    signal.signal(signal.SIGTERM, _terminated)
    with quiet(verbose) as stream:
        reporter = Reporter(stream, verbose, silent)
        try:
            yield reporter
        except CbamError as error:
            reporter.broken()
            if verbose:
                traceback.print_exc(file=stream)
            fail(error, stream, as_json)
        except (KeyboardInterrupt, click.exceptions.Exit):
            reporter.broken()
            raise
        except BrokenPipeError:  # whoever reads the result has seen enough of it, `head` for one
            reporter.broken()
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes what is left when it ends
            sys.exit(128 + signal.SIGPIPE)
        except Exception as error:
            reporter.broken()
            if verbose:
                traceback.print_exc(file=stream)
            text = " ".join(str(error).split())[:300] or "no message"
            hint = "" if verbose else "; run again with -v for the traceback"
            fault = CbamError(f"a fault in this toolkit or a library: {type(error).__name__}: {text}{hint}")
            fail(fault, stream, as_json)


def fail(error: CbamError, stream: IO[str], as_json: bool) -> NoReturn:
    """Print the error as one line, and as JSON where that was asked for, and end with its exit code."""
    if as_json:
        from exporter.report.schema import error_json

        click.echo(json.dumps(error_json(error)))
    stream.write(f"error: {error.brief or error}\n")
    stream.flush()
    sys.exit(error.exit_code)


def _terminated(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, -v and -q, which every working command has."""
    for option in (
        click.option("-q", "--quiet", "silent", is_flag=True, help="Say nothing but errors and the result."),
        click.option("-v", "--verbose", is_flag=True, help="Show the libraries' own output, and tracebacks."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."),
    ):
        command = option(command)
    return command


class Group(click.Group):
    """Answers an unknown command with the nearest known one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"unknown command {name!r}{closest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)
