"""`prismctl schema list`, `get` and `diff`."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

import prism_schema
from prism_runtime.command_output import Form, is_table, print_answer
from prism_schema import Resolved, SchemaKind
from prismctl.schema.options import Namespace, Output, Topic, Version, fail, registry_of
from prismctl.schema.registry import Registry, RegistryError, number, subject


def list_schemas(
    context: typer.Context, topic: Annotated[str, typer.Option("--topic", help="of this topic only")] = "",
    namespace: Namespace = "", output: Output = Form.AUTO,
) -> None:
    """Versions of the topics of a namespace."""
    try:
        found = listed(registry_of(context), namespace, topic)
    except RegistryError as error:
        raise fail(str(error)) from None
    print_answer(output, found, ("TOPIC", "VERSION", "STATUS", "SCHEMA", "FORMAT", "PUBLISHED", "OWNER"), [
        (row["topic"], row["version"], row["status"], row["schema_id"], row["format"], row["published_at"],
         row.get("owner_team") or "-") for row in found])


def get(
    context: typer.Context, topic: Topic, namespace: Namespace = "", version: Version = "latest",
    to: Annotated[Path | None, typer.Option(help="write the text to this file")] = None,
    output: Annotated[Form | None, typer.Option("-o", "--output", help="json or yaml: with all about it")] = None,
) -> None:
    """The text of a schema."""
    found = fetch(registry_of(context), namespace, topic, version)
    if to is not None:
        try:
            to.write_text(found["schema"], encoding="utf-8")
        except OSError as error:
            raise fail(f"--to {to}: {error.strerror or error}") from None
    elif output is None or is_table(output):
        typer.echo(found["schema"])
    else:
        print_answer(output, found, (), ())


def diff(
    context: typer.Context, topic: Topic, old: Annotated[str, typer.Argument(help="such as v1")],
    new: Annotated[str, typer.Argument(help="such as v2")] = "latest", namespace: Namespace = "",
    output: Output = Form.TABLE,
) -> None:
    """What two versions differ in, and what that breaks. Exit code 1 when a reader with the new one cannot read data of
    the old one."""
    registry = registry_of(context)
    one, other = fetch(registry, namespace, topic, old), fetch(registry, namespace, topic, new)
    findings = [f"{finding.path}: {finding.message}" for finding in prism_schema.compare(
        parsed(registry, one), parsed(registry, other), implicit_required=True)]
    lines = list(difflib.unified_diff(
        _lines(one), _lines(other), f"v{one['version']}", f"v{other['version']}", lineterm=""))
    if is_table(output):
        for line in [*lines, *(f"breaking: {finding}" for finding in findings)]:
            typer.echo(line)
    else:
        print_answer(output, {"old": f"v{one['version']}", "new": f"v{other['version']}", "diff": lines,
                              "breaking_changes": findings}, (), ())
    if findings:
        raise typer.Exit(1)


def listed(registry: Registry, namespace: str, topic: str) -> list[dict[str, Any]]:
    """The versions of a topic, or of all. RegistryError."""
    return registry.rows(f"/v1/schemas?{urlencode({'namespace': namespace, 'topic': topic})}",
                         ("topic", "version", "status", "schema_id", "format", "published_at"))


def fetch(registry: Registry, namespace: str, topic: str, version: str) -> dict[str, Any]:
    """A version as the registry shows it. Ends the command when there is none."""
    try:
        return registry.record(
            f"/subjects/{subject(namespace, topic)}/versions/{number(version)}", ("id", "version", "schema"))
    except RegistryError as error:
        raise fail(str(error)) from None


def parsed(registry: Registry, found: dict[str, Any]) -> prism_schema.ParsedSchema:
    """With what it refers to."""
    try:
        return prism_schema.parse(
            SchemaKind(found.get("schemaType", SchemaKind.AVRO)), found["schema"], _references(registry, found))
    except (prism_schema.SchemaError, RegistryError) as error:
        raise fail(f"v{found['version']}: {error}") from None


def _references(registry: Registry, found: dict[str, Any]) -> list[Resolved]:
    from urllib.parse import quote

    texts: dict[str, str] = {}
    waiting = list(found.get("references", ()))
    while waiting:
        reference = waiting.pop()
        if reference["name"] not in texts:
            target = registry.record(
                f"/subjects/{quote(reference['subject'], safe='')}/versions/{reference['version']}?deleted=true",
                ("schema",))
            texts[reference["name"]] = target["schema"]
            waiting += target.get("references", ())
    return [Resolved(name, text) for name, text in texts.items()]


def _lines(found: dict[str, Any]) -> list[str]:
    """JSON is laid out, so that a difference has a line of its own."""
    try:
        return json.dumps(json.loads(found["schema"]), indent=2).splitlines()
    except ValueError:
        return str(found["schema"]).splitlines()
