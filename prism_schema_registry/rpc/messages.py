"""Between the registry's own types and the messages of `prism.schema.v1`."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from prism.schema.v1 import schema_registry_pb2 as pb
from prism_schema import Level, SchemaKind
from prism_schema_registry.governed import Validation
from prism_schema_registry.model import Version

KINDS = {SchemaKind.PROTOBUF: pb.SCHEMA_FORMAT_PROTOBUF, SchemaKind.JSON: pb.SCHEMA_FORMAT_JSON_SCHEMA,
         SchemaKind.AVRO: pb.SCHEMA_FORMAT_AVRO}
LEVELS = {pb.COMPATIBILITY_MODE_NONE: Level.NONE, pb.COMPATIBILITY_MODE_BACKWARD: Level.BACKWARD,
          pb.COMPATIBILITY_MODE_FORWARD: Level.FORWARD, pb.COMPATIBILITY_MODE_FULL: Level.FULL}
_MODES = {level: mode for mode, level in LEVELS.items()}


def validation_of(found: Validation) -> Any:
    return pb.Validation(is_compatible=found.compatible, breaking_changes=found.breaking_changes,
                         warnings=found.warnings, compatible_versions=found.compatible_versions)


def details_of(metadata: Any) -> dict[str, Any]:
    """What is kept of a request's metadata."""
    return {"owner_team": metadata.owner_team, "description": metadata.description,
            "created_by": metadata.created_by, "pii_fields": list(metadata.pii_fields)}


def metadata_of(version: Version, level: Level) -> Any:
    """A transitive level is shown as the one it extends: the contract has no word for it."""
    details = version.details
    return pb.SchemaMetadata(
        owner_team=details.get("owner_team", ""), description=details.get("description", ""),
        created_at=stamp(version.created_at), created_by=details.get("created_by", ""),
        pii_fields=details.get("pii_fields", ()), compatibility=_MODES[Level(level.value.removesuffix("_TRANSITIVE"))])


def stamp(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromNanoseconds(int(seconds * 1_000_000) * 1000)
    return found
