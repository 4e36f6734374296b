"""`cbam runtimes`: what can run here, and its installation. Imports only click until a command runs."""

from __future__ import annotations

import json
import sys

import click

from exporter.runtimes.installs.table import INSTALLS, Install, find
from exporter.runtimes.table import RUNTIMES
from exporter.terminal import Group, json_option, session


@click.group(cls=Group, invoke_without_command=True)
@json_option
@click.pass_context
def runtimes(context: click.Context, as_json: bool, verbose: bool, silent: bool) -> None:
    """List what can run artifacts here, and why not; install what is missing.

    Only `install` downloads anything.
    """
    if context.invoked_subcommand is not None:
        return
    with session(verbose, silent, as_json) as report:
        from exporter.runtimes.status import survey

        report.step("asking each runtime for its version")
        found = survey()
        report.done()
        if as_json:
            from exporter.report.schema import runtimes_json

            click.echo(json.dumps(runtimes_json(found), allow_nan=False))
            return
        from exporter.report.runtimes import print_runtimes
        from exporter.report.table import console

        print_runtimes(console(sys.stdout), found)


@runtimes.command()
@click.argument("name")
@json_option
def install(name: str, as_json: bool, verbose: bool, silent: bool) -> None:
    """Install NAME: a runtime, or arm64 for all that are emulated.

    pip packages go into this Python's environment, everything else into one folder under the user's cache.
    """
    with session(verbose, silent, as_json) as report:
        row = _find(name)
        row.install(report.step)
        report.done()
        _print_state(row, as_json)


@runtimes.command()
@click.argument("name")
@json_option
def test(name: str, as_json: bool, verbose: bool, silent: bool) -> None:
    """Test whether NAME (arm64) still is what it should be."""
    with session(verbose, silent, as_json) as report:
        row = _find(name)
        row.test(report.step)
        report.done()
        _print_state(row, as_json)


@runtimes.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool, verbose: bool, silent: bool) -> None:
    """Delete the folder of NAME under the user's cache."""
    with session(verbose, silent, as_json) as report:
        from converters.errors import OptionError
        from exporter.runtimes import folders

        row = _find(name)
        if not row.folder:
            raise OptionError(f"{row.name} has no folder of its own; it is a {row.summary}: pip uninstall removes it")
        report.step(f"deleting {folders.installed_folder(row.name)}")
        if not folders.remove(row.name):
            raise OptionError(f"{row.name} is not installed: there is no {folders.installed_folder(row.name)}")
        report.done()
        _print_state(row, as_json)


def _find(name: str) -> Install:
    return find(name, {row.name: row.install for row in RUNTIMES.values()})


def _print_state(row: Install, as_json: bool) -> None:
    """The runtimes that the row brings, as they are now."""
    from exporter.report.schema import runtimes_json
    from exporter.runtimes.status import status

    found = [status(name) for name, each in RUNTIMES.items() if INSTALLS[each.install] is row]
    if as_json:
        click.echo(json.dumps(runtimes_json(found), allow_nan=False))
        return
    for each in found:
        click.echo(f"{each.row.name}: {each.version or each.reason}")
