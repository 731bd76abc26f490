"""`prismctl schema register` and `delete`."""

from __future__ import annotations

import base64
from typing import Annotated

import typer

from prism_runtime.command_output import Form, print_answer
from prismctl.schema.files import FORMATS, FileError, advice, not_optional, parse
from prismctl.schema.options import Exceptions, File, Format, Namespace, Output, Topic, Version, fail, registry_of
from prismctl.schema.registry import RegistryError, number, subject

_MADE = ("schema_id", "version", "schema_url", "validation")
_ADVICE = ("use a new topic, make the change optional, or publish in parallel for a transition",)


def register(
    context: typer.Context, file: File, topic: Topic, namespace: Namespace = "", version: Version = "",
    format_: Format = "",
    compatibility: Annotated[str, typer.Option(help="none, backward, forward or full; kept for the topic")] = "",
    owner_team: Annotated[str, typer.Option(help="the team that answers for it")] = "",
    description: Annotated[str, typer.Option(help="what it is for")] = "",
    enforce_optional: Annotated[bool, typer.Option(
        "--enforce-optional", help="refuse fields that are not optional; without it they are told")] = False,
    strict_optional: Annotated[bool, typer.Option(
        "--strict-optional", help="as --enforce-optional, whatever the exceptions")] = False,
    optional_exception: Exceptions = [],  # noqa: B006 - Typer copies it
    output: Output = Form.AUTO,
) -> None:
    """Register a schema of a topic, unless it breaks readers of the topic."""
    try:
        parsed = parse(file, format_)
    except FileError as error:
        raise fail(str(error)) from None
    fields = not_optional(parsed, [] if strict_optional else optional_exception)
    lines = [advice(field, parsed.kind) for field in fields]
    if lines and (enforce_optional or strict_optional):
        raise fail(f"{file} is not registered: {len(lines)} of its fields are not optional", *lines)
    for line in lines:
        typer.echo(f"warning: {line}", err=True)
    metadata = {"owner_team": owner_team, "description": description}
    if compatibility:
        metadata["compatibility_mode"] = compatibility
    try:
        made = registry_of(context).record("/v1/schemas", _MADE, "POST", {
            "namespace": namespace, "topic": topic, "version": version, "format": FORMATS[parsed.kind],
            "schema": base64.b64encode(parsed.text.encode()).decode(), "metadata": metadata})
    except RegistryError as error:
        hints = _ADVICE if error.code == 409 else ()
        raise fail(f"{file} is not registered: {error if not error.problems else 'the registry refused it'}",
                   *error.problems, *hints) from None
    made["schema_url"] = registry_of(context).url.rstrip("/") + made["schema_url"]
    warnings = made["validation"]["warnings"]
    print_answer(output, made, ("SCHEMA", "VERSION", "URL", "WARNINGS"), [
        (made["schema_id"], made["version"], made["schema_url"], "; ".join(warnings) or "-")])


def delete(
    context: typer.Context, topic: Topic, version: Version, namespace: Namespace = "",
    permanent: Annotated[bool, typer.Option(
        "--permanent", help="for good; it must have been deleted without this before")] = False,
) -> None:
    """Delete a version. Messages written with it can be read until it is deleted for good."""
    query = "?permanent=true" if permanent else ""
    try:
        gone = registry_of(context).call(
            "DELETE", f"/subjects/{subject(namespace, topic)}/versions/{number(version)}{query}")
    except RegistryError as error:
        raise fail(str(error)) from None
    typer.echo(f"v{gone} of {topic} is deleted{' for good' if permanent else ''}")
