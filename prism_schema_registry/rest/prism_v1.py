"""`/v1/schemas`: schemas by namespace, topic and version, as `prism.schema.v1` has them, over HTTP."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any

from prism_schema import Level, SchemaKind
from prism_schema_registry.errors import INCOMPATIBLE, RegistryError, malformed
from prism_schema_registry.governed import Governed, Validation, id_of, problems_of, shown, subject_of, topic_of
from prism_schema_registry.rest.call import Call
from prism_schema_registry.rest.http import Reply, encode
from prism_schema_registry.subjects import Subject

_KINDS = {"protobuf": SchemaKind.PROTOBUF, "json-schema": SchemaKind.JSON, "json": SchemaKind.JSON,
          "avro": SchemaKind.AVRO}


async def register(call: Call) -> dict[str, Any] | Reply:
    """A refusal lists its problems: `breaking_changes` of 409, else `violations`."""
    body = call.json()
    try:
        metadata = _metadata(body)
        found = await Governed(call.registry).register(
            _subject(body), _text(body, "version"), _kind(body), _content(body), _level(metadata), _details(metadata))
    except RegistryError as error:
        return _refused(error)
    version = found.version
    return {"schema_id": id_of(version), "version": shown(version),
            "schema_url": f"/subjects/{version.subject}/versions/{version.number}/schema",
            "validation": _shown(found.validation)}


async def check(call: Call) -> dict[str, Any] | Reply:
    """What a registration would find, against one version or as the topic's level says."""
    body = call.json()
    try:
        found = await Governed(call.registry).check(
            _subject(body), _text(body, "version"), _kind(body), _content(body), _level(_metadata(body)))
    except RegistryError as error:
        return _refused(error)
    return {"is_compatible": found.compatible, **_shown(found)}


async def listing(call: Call) -> list[dict[str, Any]]:
    """Versions of the topics of a namespace, or of one topic."""
    found = Governed(call.registry).list(call.text("namespace"), call.text("topic"))
    return call.page([{
        "namespace": topic_of(version.subject)[0], "topic": topic_of(version.subject)[1], "version": shown(version),
        "schema_id": id_of(version), "format": version.schema.kind.value, "status": "current" if last else "deprecated",
        "published_at": datetime.fromtimestamp(version.created_at, UTC).isoformat(timespec="seconds"),
        **version.details} for version, last in found])


def _refused(error: RegistryError) -> Reply:
    name = "breaking_changes" if error.code == INCOMPATIBLE else "violations"
    return Reply(error.status, encode({
        "error_code": error.code, "message": error.message, name: list(problems_of(error))}))


def _shown(found: Validation) -> dict[str, Any]:
    known = {f"compatible_with_{name}": True for name in found.compatible_versions}
    return {**known, "breaking_changes": list(found.breaking_changes), "warnings": list(found.warnings)}


def _subject(body: dict[str, Any]) -> Subject:
    return subject_of(_text(body, "namespace"), _text(body, "topic"))


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    found = body.get("metadata") or {}
    if not isinstance(found, dict):
        raise malformed("metadata must be an object")
    return found


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
