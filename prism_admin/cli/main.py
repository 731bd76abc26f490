"""The commands of `prism-admin` and their common flags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from prism_admin.cli.connection import Endpoint, token_of
from prism_runtime.standard_streams import open_standard_streams, run_command

app = typer.Typer(
    name="prism-admin", help="The control plane of Prism: its server, and its tools.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False)


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
) -> None:
    context.obj = Endpoint(endpoint, token_of(token_file), tls_ca, tls_cert, tls_key)


def main(arguments: list[str] | None = None) -> None:
    """Ends the process: 0 when done, 1 for any error."""
    open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    run_command("prism-admin", lambda: _run(given))


def _run(given: list[str]) -> int:
    _add_commands(given)
    try:
        app(given, standalone_mode=True)
    except SystemExit as end:
        return 1 if end.code else 0
    return 0


def _add_commands(arguments: list[str]) -> None:
    """Only the server's command when that is asked for: it must not wait for the tools to load."""
    from prism_admin.cli.serve import serve

    for name, hidden in (("serve", False), ("server", True)):
        app.command(name, hidden=hidden)(serve)
    if any(word in ("serve", "server") for word in arguments):
        return
    from prism_admin.cli import cluster, namespaces

    for names, commands in ((("namespaces", "namespace"), namespaces.commands), (("proxies", "proxy"), cluster.proxies),
                            (("partitions", "partition"), cluster.partitions)):
        for number, name in enumerate(names):
            app.add_typer(commands, name=name, hidden=number > 0)
    app.command("audit")(cluster.audit)
