"""Options that several commands have, and how a command ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prism_runtime.command_output import Form
from prism_runtime.tokens import TokenError, read_token
from prismctl.schema.registry import Registry

Topic = Annotated[str, typer.Option("--topic", help="name of the topic")]
Namespace = Annotated[str, typer.Option("--namespace", envvar="PRISM_NAMESPACE", help="namespace of the topic")]
Version = Annotated[str, typer.Option("--version", help="v1, v2 …, or latest")]
File = Annotated[Path, typer.Option("--file", "-f", help=".proto, .avsc or .json; - reads standard input")]
Format = Annotated[str, typer.Option("--format", help="protobuf, json-schema or avro, where the name does not say it")]
Output = Annotated[Form, typer.Option("-o", "--output", help="table, json or yaml")]
Exceptions = Annotated[list[str], typer.Option(
    "--optional-exception", help="glob of fields that need not be optional, such as *_id; may be repeated")]


def registry_of(context: typer.Context) -> Registry:
    """The one that the flags before the command name."""
    found = context.obj
    assert isinstance(found, Registry)
    return found


def make_registry(url: str, token_file: Path | None, ca: Path | None) -> Registry:
    try:
        return Registry(url, read_token(token_file) if token_file is not None else "", ca)
    except TokenError as error:
        raise fail(f"--token-file {error}") from None


def fail(message: str, *more: str) -> typer.Exit:
    """Say what went wrong; raise what this returns."""
    for line in (f"prismctl: {message}", *(f"  {line}" for line in more)):
        typer.echo(line, err=True)
    return typer.Exit(1)
