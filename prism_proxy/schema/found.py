"""A schema as a place has it, and as it is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from prism_schema import ParsedSchema, Resolved, SchemaKind

FORMATS = {"protobuf": SchemaKind.PROTOBUF, "json-schema": SchemaKind.JSON, "avro": SchemaKind.AVRO}
NAMES = {kind: name for name, kind in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class Fetched:
    """`content` are the bytes of the schema itself; `kind` None where the place does not say. `schema_id` is the one of
    its registry, 0 elsewhere."""

    url: str
    version: str
    content: bytes
    kind: SchemaKind | None = None
    references: tuple[Resolved, ...] = ()
    schema_id: int = 0


@dataclass(frozen=True, eq=False)
class ResolvedSchema:
    """A schema that was fetched, trusted and parsed."""

    fetched: Fetched
    schema: ParsedSchema
    type_name: str  # of a payload

    @cached_property
    def sha256(self) -> str:
        """Of the bytes that were fetched, in hexadecimal digits."""
        return hashlib.sha256(self.fetched.content).hexdigest()

    @property
    def url(self) -> str:
        return self.fetched.url

    @property
    def version(self) -> str:
        return self.fetched.version

    @property
    def format(self) -> str:
        """protobuf, json-schema or avro."""
        return NAMES[self.schema.kind]
