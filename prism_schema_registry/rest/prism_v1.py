"""`POST /v1/schemas`: a registration by namespace, topic and version, as `prism.schema.v1` has it, over HTTP."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from prism_schema import Level, SchemaKind
from prism_schema_registry.errors import INCOMPATIBLE, RegistryError, malformed
from prism_schema_registry.governed import Governed, id_of, problems_of, shown, subject_of
from prism_schema_registry.rest.call import Call
from prism_schema_registry.rest.http import Reply, encode

_KINDS = {"protobuf": SchemaKind.PROTOBUF, "json-schema": SchemaKind.JSON, "json": SchemaKind.JSON,
          "avro": SchemaKind.AVRO}


async def register(call: Call) -> dict[str, Any] | Reply:
    """A refusal lists its problems: `breaking_changes` of 409, else `violations`."""
    body = call.json()
    try:
        subject = subject_of(_text(body, "namespace"), _text(body, "topic"))
        metadata = body.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise malformed("metadata must be an object")
        found = await Governed(call.registry).register(
            subject, _text(body, "version"), _kind(body), _content(body), _level(metadata), _details(metadata))
    except RegistryError as error:
        name = "breaking_changes" if error.code == INCOMPATIBLE else "violations"
        return Reply(error.status, encode({
            "error_code": error.code, "message": error.message, name: list(problems_of(error))}))
    version, validation = found.version, found.validation
    known = {f"compatible_with_{name}": True for name in validation.compatible_versions}
    return {"schema_id": id_of(version), "version": shown(version),
            "schema_url": f"/subjects/{version.subject}/versions/{version.number}/schema",
            "validation": {**known, "breaking_changes": list(validation.breaking_changes),
                           "warnings": list(validation.warnings)}}


def _text(body: dict[str, Any], name: str) -> str:
    found = body.get(name, "")
    if not isinstance(found, str):
        raise malformed(f"{name} must be a string")
    return found


def _kind(body: dict[str, Any]) -> SchemaKind:
    found = _KINDS.get(_text(body, "format").lower().replace("_", "-"))
    if found is None:
        raise malformed("format must be protobuf, json-schema or avro")
    return found


def _content(body: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(_text(body, "schema"), validate=True)
    except binascii.Error as error:
        raise malformed(f"schema must be base64: {error}") from None


def _level(metadata: dict[str, Any]) -> Level | None:
    found = metadata.get("compatibility_mode")
    if found is None:
        return None
    try:
        return Level(str(found).upper())
    except ValueError:
        raise malformed("compatibility_mode must be none, backward, forward or full") from None


def _details(metadata: dict[str, Any]) -> dict[str, Any]:
    fields = metadata.get("pii_fields") or []
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise malformed("pii_fields must be a list of field names")
    return {"owner_team": _text(metadata, "owner_team"), "description": _text(metadata, "description"),
            "created_by": _text(metadata, "created_by"), "pii_fields": fields}
