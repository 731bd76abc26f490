"""`prismctl schema …`: the commands, and where the registry is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prismctl.schema import checking, configuring, deprecating, generating, publishing, reading
from prismctl.schema.options import make_registry

schema = typer.Typer(help="Schemas of topics: register, read and check them.", no_args_is_help=True)


@schema.callback()
def connect(
    context: typer.Context,
    registry: Annotated[str, typer.Option(envvar="SCHEMA_REGISTRY_URL", help="URL of the schema registry")
                        ] = "http://127.0.0.1:8081",
    token_file: Annotated[
        Path | None, typer.Option(envvar="PRISM_TOKEN_FILE", help="file with a token of the registry")] = None,
    tls_ca: Annotated[Path | None, typer.Option(envvar="PRISM_TLS_CA", help="CA of its certificate")] = None,
) -> None:
    context.obj = make_registry(registry, token_file, tls_ca)


schema.command("register")(publishing.register)
schema.command("delete")(publishing.delete)
schema.command("list")(reading.list_schemas)
schema.command("get")(reading.get)
schema.command("diff")(reading.diff)
schema.command("check")(checking.check)
schema.command("validate")(checking.validate)
schema.command("audit")(checking.audit)
schema.command("deprecation-report")(deprecating.deprecation_report)
schema.command("config")(configuring.config)
schema.command("codegen")(generating.codegen)
