"""`prismctl schema deprecation-report`: which fields are on their way out. Who still reads them is not known before
callers have an identity."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from prism_runtime.command_output import Form, print_answer
from prismctl.schema.options import Namespace, Output, fail, registry_of
from prismctl.schema.reading import fetch, listed, parsed
from prismctl.schema.registry import RegistryError


def deprecation_report(
    context: typer.Context, namespace: Namespace = "",
    topic: Annotated[str, typer.Option("--topic", help="of this topic only")] = "",
    output: Output = Form.AUTO,
) -> None:
    """Deprecated fields by topic and version, with date and reason."""
    registry = registry_of(context)
    try:
        versions = listed(registry, namespace, topic)
    except RegistryError as error:
        raise fail(str(error)) from None
    rows: list[dict[str, Any]] = []
    for item in versions:
        schema = parsed(registry, fetch(registry, namespace, item["topic"], item["version"]))
        rows += [{"topic": item["topic"], "version": item["version"], "field": field.path,
                  "since": "" if field.deprecated == "true" else field.deprecated, "reason": field.deprecated_reason}
                 for field in schema.fields if field.deprecated]
    print_answer(output, rows, ("TOPIC", "VERSION", "FIELD", "SINCE", "REASON"), [
        (row["topic"], row["version"], row["field"], row["since"] or "-", row["reason"] or "-") for row in rows])
