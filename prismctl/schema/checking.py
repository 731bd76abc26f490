"""`prismctl schema check`, `validate` and `audit`: for builds, which look at the exit code."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

import prism_schema
from prism_runtime.command_output import Form, print_answer
from prism_schema.governance import untagged_pii
from prismctl.schema.files import FORMATS, FileError, advice, not_optional, parse
from prismctl.schema.options import Exceptions, File, Format, Namespace, Output, Topic, Version, fail, registry_of
from prismctl.schema.reading import fetch, listed, parsed
from prismctl.schema.registry import RegistryError


def check(
    context: typer.Context, topic: Topic,
    consumer_schema: Annotated[Path, typer.Option("--consumer-schema", help="what the consumer reads with")],
    namespace: Namespace = "", version: Version = "latest", format_: Format = "",
    mode: Annotated[str, typer.Option(help="compatible, or strict: optional fields that the producer lacks are errors "
                                           "as well")] = "compatible",
    output: Output = Form.AUTO,
) -> None:
    """Whether a consumer can read what a topic's producer writes. Exit code 1 when it cannot."""
    if mode not in ("compatible", "strict"):
        raise fail(f"--mode {mode!r}: use compatible or strict")
    registry = registry_of(context)
    try:
        reader = parse(consumer_schema, format_)
    except FileError as error:
        raise fail(str(error)) from None
    found = fetch(registry, namespace, topic, version)
    writer = parsed(registry, found)
    errors = [f"{finding.path}: {finding.message}"
              for finding in prism_schema.compare(writer, reader, implicit_required=True)]
    written = {field.path for field in writer.fields}
    lacking = [f"{field.path}: the producer (v{found['version']}) has no such field"
               for field in reader.fields if field.optional and field.path not in written]
    _verdict(output, errors + (lacking if mode == "strict" else []), [] if mode == "strict" else lacking)


def validate(
    context: typer.Context, file: File, format_: Format = "", namespace: Namespace = "",
    topic: Annotated[str, typer.Option("--topic", help="the topic to check with")] = "",
    check_backward: Annotated[bool, typer.Option("--check-backward", help="readers of the topic's data stay")] = False,
    compatibility: Annotated[str, typer.Option(help="none, backward, forward or full; else what the topic has")] = "",
    output: Output = Form.AUTO,
) -> None:
    """Whether a file is a schema, and with --topic whether it could be registered. Exit code 1 when not."""
    try:
        schema = parse(file, format_)
    except FileError as error:
        raise fail(str(error)) from None
    if not topic:
        if check_backward or compatibility:
            raise fail("--topic is missing: name what to compare with")
        _verdict(output, [], [])
        return
    level = compatibility or ("backward" if check_backward else "")
    try:
        found = registry_of(context).record("/v1/schemas/check", ("breaking_changes", "warnings"), "POST", {
            "namespace": namespace, "topic": topic, "format": FORMATS[schema.kind],
            "schema": base64.b64encode(schema.text.encode()).decode(),
            "metadata": {"compatibility_mode": level} if level else {}})
    except RegistryError as error:
        raise fail(str(error), *error.problems) from None
    _verdict(output, found["breaking_changes"], found["warnings"])


def audit(
    context: typer.Context, namespace: Namespace = "",
    topic: Annotated[str, typer.Option("--topic", help="of this topic only")] = "",
    check_optional_fields: Annotated[bool, typer.Option(
        "--check-optional-fields", help="fields that are not optional")] = False,
    check_pii: Annotated[bool, typer.Option(
        "--check-pii", help="fields that are personal data, or look like it")] = False,
    optional_exception: Exceptions = [],  # noqa: B006 - Typer copies it
    output: Output = Form.AUTO,
) -> None:
    """Findings by topic, version and field. Exit code 1 when a field should be optional and is not, or looks like
    personal data and has no tag."""
    registry = registry_of(context)
    rows: list[dict[str, Any]] = []
    try:
        versions = listed(registry, namespace, topic)
    except RegistryError as error:
        raise fail(str(error)) from None
    for item in versions:
        schema = parsed(registry, fetch(registry, namespace, item["topic"], item["version"]))
        place = {"topic": item["topic"], "version": item["version"]}
        if check_optional_fields or not check_pii:
            rows += [{**place, "field": field.path, "finding": advice(field, schema.kind), "kind": "optional"}
                     for field in not_optional(schema, optional_exception)]
        if check_pii:
            rows += [{**place, "field": field.path, "finding": f"personal data: {field.pii}", "kind": "pii"}
                     for field in schema.fields if field.pii]
            rows += [{**place, "field": found.path, "finding": found.message, "kind": "untagged"}
                     for found in untagged_pii(schema)]
    print_answer(output, rows, ("TOPIC", "VERSION", "FIELD", "FINDING"), [
        (row["topic"], row["version"], row["field"], row["finding"]) for row in rows])
    if any(row["kind"] != "pii" for row in rows):
        raise typer.Exit(1)


def _verdict(output: Form, errors: list[str], warnings: list[str]) -> None:
    print_answer(output, {"is_compatible": not errors, "breaking_changes": errors, "warnings": warnings},
                 ("RESULT", "WHERE"), [
                     *(("breaking", line) for line in errors), *(("warning", line) for line in warnings),
                     *([("compatible", "-")] if not errors else [])])
    if errors:
        raise typer.Exit(1)
