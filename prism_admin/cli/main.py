"""The commands of `prism-admin` and their common flags."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from prism_admin.cli.connection import Endpoint, token_of
from prism_runtime.standard_streams import open_standard_streams, run_command

app = typer.Typer(
    name="prism-admin", help="The control plane of Prism: its server, and its tools.", no_args_is_help=True,
    pretty_exceptions_enable=False, rich_markup_mode=None)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"prism-admin {version('prism-proxy')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    endpoint: Annotated[str, typer.Option("-e", "--endpoint", envvar="PRISM_ENDPOINT", help="HOST:PORT of the admin")
                        ] = "localhost:8981",
    token_file: Annotated[
        Path | None, typer.Option(envvar="PRISM_TOKEN_FILE", help="file with the shared token")] = None,
    tls_ca: Annotated[Path | None, typer.Option(envvar="PRISM_TLS_CA", help="CA of the admin's certificate")] = None,
    tls_cert: Annotated[Path | None, typer.Option(envvar="PRISM_TLS_CERT", help="our certificate")] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar="PRISM_TLS_KEY", help="key of our certificate")] = None,
    version: Annotated[bool, typer.Option(
        "--version", is_eager=True, callback=_version, help="show the version and exit")] = False,
) -> None:
    context.obj = Endpoint(endpoint, token_of(token_file), tls_ca, tls_cert, tls_key)


def main(arguments: list[str] | None = None) -> None:
    """Ends the process: 0 when done, 1 for any error, 2 for a command line that cannot be, 130 after Ctrl-C."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    run_command("prism-admin", lambda: _run(given))


def _run(given: list[str]) -> int:
    add_commands(given)
    try:
        app(given, standalone_mode=True, prog_name="prism-admin")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def add_commands(arguments: list[str]) -> None:
    """Give `app` its commands: all of them for help and completion, else the one that is asked for: it must not wait
    for others to load."""
    asked = {word for word in arguments if not word.startswith("-")}
    found = False
    for names, add in _COMMANDS.items():
        if not asked.isdisjoint(names):
            add(names)
            found = True
    if not found or "--help" in arguments:
        for names, add in _COMMANDS.items():
            if asked.isdisjoint(names):
                add(names)


def _serve(names: tuple[str, ...]) -> None:
    from prism_admin.cli.serve import serve

    for number, name in enumerate(names):
        app.command(name, hidden=number > 0)(serve)


def _namespaces(names: tuple[str, ...]) -> None:
    from prism_admin.cli.namespaces import commands

    _add_group(commands, names)


def _proxies(names: tuple[str, ...]) -> None:
    from prism_admin.cli.cluster import proxies

    _add_group(proxies, names)


def _partitions(names: tuple[str, ...]) -> None:
    from prism_admin.cli.cluster import partitions

    _add_group(partitions, names)


def _topics(names: tuple[str, ...]) -> None:
    from prism_admin.cli.topics import commands

    _add_group(commands, names)


def _queues(names: tuple[str, ...]) -> None:
    from prism_admin.cli.queues import commands

    _add_group(commands, names)


def _streams(names: tuple[str, ...]) -> None:
    from prism_admin.cli.streams import streams

    _add_group(streams, names)


def _groups(names: tuple[str, ...]) -> None:
    from prism_admin.cli.streams import groups

    _add_group(groups, names)


def _audit(names: tuple[str, ...]) -> None:
    from prism_admin.cli.cluster import audit

    app.command(names[0])(audit)


def _add_group(commands: typer.Typer, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        app.add_typer(commands, name=name, hidden=number > 0)


_COMMANDS: Mapping[tuple[str, ...], Callable[[tuple[str, ...]], None]] = {
    ("serve", "server"): _serve, ("namespaces", "namespace"): _namespaces, ("proxies", "proxy"): _proxies,
    ("partitions", "partition"): _partitions, ("audit",): _audit,
    ("topics", "topic"): _topics, ("queues", "queue"): _queues, ("streams", "stream"): _streams,
    ("groups", "group"): _groups}
