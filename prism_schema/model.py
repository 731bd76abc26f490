"""What a schema is to those who use this package, in whatever format it is written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any


class SchemaKind(StrEnum):
    """The formats, as stock registry clients spell them."""

    AVRO = "AVRO"
    JSON = "JSON"
    PROTOBUF = "PROTOBUF"


class SchemaError(ValueError):
    """A schema cannot be used. `line` counts from 1, `path` leads to the place inside the schema."""

    def __init__(self, message: str, line: int | None = None, path: str | None = None) -> None:
        where = [f"line {line}"] if line else []
        where += [path] if path else []
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.message = message
        self.line = line
        self.path = path


@dataclass(frozen=True, slots=True)
class Resolved:
    """Another schema that a schema refers to by `name`: an Avro full name, the URI of a `$ref`, or the path of a
    Protobuf import."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Why data that one schema wrote cannot be read with another. `rule` is stable and meant for programs.

    `direction` and `against` are filled by `check`: which reading fails, and which earlier schema is involved, as an
    index into those that were given.
    """

    rule: str
    path: str
    message: str
    direction: str = ""
    against: int = -1


@dataclass(frozen=True, slots=True)
class Violation:
    """Where a payload differs from its schema. `path` is the field's, in dots."""

    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.path or 'payload'}: expected {self.expected}, got {self.actual}"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record, message or object, and what its tags say. `optional`: a writer may leave it out.

    `pii` is the category of personal data, `deprecated` the date or "true"; both are empty without a tag.
    """

    path: str
    name: str
    optional: bool
    pii: str = ""
    encrypt: bool = False
    deprecated: str = ""
    deprecated_reason: str = ""


@dataclass(frozen=True, eq=False)
class ParsedSchema:
    """A schema that its format accepts.

    `canonical` is equal for texts that differ in white space or order alone. `types` are the full names it defines,
    the main one first. `parsed` belongs to the modules of the format.
    """

    kind: SchemaKind
    text: str
    canonical: str
    references: tuple[Resolved, ...]
    types: tuple[str, ...]
    fields: tuple[Field, ...]
    options: dict[str, str] = field(default_factory=dict)  # tags of the schema itself, such as sensitivity
    parsed: Any = None

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the canonical text and of the references: equal for the same schema in the same format."""
        digest = hashlib.sha256(f"{self.kind}\0{self.canonical}".encode())
        for reference in sorted(self.references, key=lambda one: one.name):
            digest.update(f"\0{reference.name}\0{reference.text}".encode())
        return digest.digest()

    @property
    def tags(self) -> list[Field]:
        """The fields that are tagged as personal data or as deprecated."""
        return [one for one in self.fields if one.pii or one.deprecated]

    @property
    def contains_pii(self) -> bool:
        """Whether any field is tagged as personal data."""
        return any(one.pii not in ("", "none") for one in self.fields)
