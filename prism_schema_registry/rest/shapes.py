"""Schemas, versions and settings in the JSON of stock clients, which leave out what is the default."""

from __future__ import annotations

from typing import Any

from prism_schema import ParsedSchema, SchemaKind
from prism_schema_registry.model import Config, Schema, Version


def schema(found: Schema, text: str | None = None) -> dict[str, Any]:
    """As `/schemas/ids/{id}` shows it."""
    shown: dict[str, Any] = {}
    if found.kind is not SchemaKind.AVRO:
        shown["schemaType"] = found.kind.value
    if found.references:
        shown["references"] = [reference._asdict() for reference in found.references]
    shown.update(found.extras)
    shown["schema"] = found.text if text is None else text
    return shown


def version(found: Version, text: str | None = None) -> dict[str, Any]:
    """As `/subjects/{subject}/versions/{version}` shows it."""
    shown: dict[str, Any] = {"subject": str(found.subject), "version": found.number, "id": found.schema.id,
                             "guid": found.schema.guid}
    if found.deleted:
        shown["deleted"] = True
    return {**shown, **schema(found.schema, text)}


def config(found: Config, name: str = "compatibilityLevel") -> dict[str, Any]:
    """`name` is what a reading calls the level; a change calls it `compatibility`."""
    shown: dict[str, Any] = {name: found.level.value} if found.level else {}
    if found.normalize:
        shown["normalize"] = True
    if found.pii_validation not in (None, "off"):
        shown["piiValidation"] = found.pii_validation
    return shown


def formatted(found: Schema, parsed: ParsedSchema, wanted: str) -> str:
    """The text in another form: `serialized` is a Protobuf file as base64 of its descriptor."""
    return found.text
