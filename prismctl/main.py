"""The groups of commands of `prismctl`. Each loads when it is asked for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prism_runtime.standard_streams import open_standard_streams, run_command


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"prismctl {version('prism-proxy')}")
        raise typer.Exit


def _common(version: Annotated[bool, typer.Option(
        "--version", is_eager=True, callback=_version, help="show the version and exit")] = False) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Ends the process: 0 when done, 1 for any error or refusal, 2 for a command line that cannot be, 130 after
    Ctrl-C."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    run_command("prismctl", lambda: run(given))


def run(given: list[str]) -> int:
    """The exit code of a command."""
    from prismctl.schema.commands import schema

    app = typer.Typer(
        name="prismctl", help="Operate Prism: schemas of topics.", no_args_is_help=True,
        pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_common)
    app.add_typer(schema, name="schema")
    try:
        app(given, standalone_mode=True, prog_name="prismctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
