"""`prismctl schema config`: the compatibility level of a topic, of a namespace, or of everything, and whether personal
data need tags there."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from prism_runtime.command_output import Form, print_answer
from prismctl.schema.options import Namespace, Output, fail, registry_of
from prismctl.schema.registry import RegistryError, subject


def config(
    context: typer.Context, namespace: Namespace = "",
    topic: Annotated[str, typer.Option("--topic", help="of this topic; else of the namespace, or everything")] = "",
    compatibility: Annotated[str, typer.Option(help="set it: none, backward, forward, full, or one of them with "
                                                    "_transitive")] = "",
    pii_validation: Annotated[str, typer.Option(help="what becomes of fields that look like personal data and have no "
                                                     "tag: off, warn, enforce")] = "",
    unset: Annotated[bool, typer.Option("--unset", help="remove what is set, so that what is above holds")] = False,
    output: Output = Form.AUTO,
) -> None:
    """Show the level that holds, or change it."""
    scope = subject(namespace, topic) if topic else quote(f":.{namespace}:", safe="") if namespace else ""
    path = f"/config/{scope}" if scope else "/config"
    registry = registry_of(context)
    try:
        if unset:
            registry.call("DELETE", path)
        elif compatibility or pii_validation:
            wanted = {"compatibility": compatibility, "piiValidation": pii_validation}
            registry.call("PUT", path, {name: value for name, value in wanted.items() if value})
        found = registry.record(f"{path}?defaultToGlobal=true", ("compatibilityLevel",))
    except RegistryError as error:
        raise fail(str(error)) from None
    print_answer(output, found, ("LEVEL", "NORMALIZE", "PII"), [
        (found["compatibilityLevel"], str(found.get("normalize", False)).lower(),
         found.get("piiValidation", "off"))])
