"""The groups of commands of `prismctl`. Each loads when it is asked for.

`prismctl admin` has the commands of `prism-admin`, which keep their own name too.
"""

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
    app = typer.Typer(
        name="prismctl", help="Operate Prism: schemas of topics, and the control plane.", no_args_is_help=True,
        pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_common)
    _add_groups(app, given)
    try:
        app(given, standalone_mode=True, prog_name="prismctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _add_groups(app: typer.Typer, given: list[str]) -> None:
    """Both for help and completion, else the one that is asked for: it must not wait for the other to load."""
    asked = next((word for word in given if not word.startswith("-")), "")
    if asked != "admin":
        from prismctl.schema.commands import schema

        app.add_typer(schema, name="schema")
    if asked != "schema":
        from prism_admin.cli.main import add_commands
        from prism_admin.cli.main import app as admin

        add_commands(given[given.index(asked) + 1:] if asked == "admin" else ["--help"])
        app.add_typer(admin, name="admin")
