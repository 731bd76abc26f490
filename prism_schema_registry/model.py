"""What is registered: schemas with their ids, and the versions of subjects that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from prism_schema import Level, SchemaKind
from prism_schema_registry.subjects import Subject

LATEST = -1
MAX_ID = 2**31 - 1


class Mode(StrEnum):
    """What a subject takes. READONLY_OVERRIDE, of all subjects, wins over what single ones have."""

    READWRITE = "READWRITE"
    READONLY = "READONLY"
    READONLY_OVERRIDE = "READONLY_OVERRIDE"
    IMPORT = "IMPORT"


class Reference(NamedTuple):
    """A schema uses, by `name`, what a version of a subject is."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema that somebody sends. `extras` are `metadata` and `ruleSet`, kept as they are and part of its identity;
    `id` and `version` are given by an import only."""

    kind: SchemaKind
    text: str
    references: tuple[Reference, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    version: int = 0
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """Never changed once it has its id. `fingerprint` is equal for the same schema."""

    context: str
    id: int
    kind: SchemaKind
    text: str
    references: tuple[Reference, ...]
    extras: Mapping[str, Any]
    fingerprint: str

    @property
    def guid(self) -> str:
        """Equal for the same schema everywhere, as a UUID."""
        print_ = self.fingerprint
        return f"{print_[:8]}-{print_[8:12]}-{print_[12:16]}-{print_[16:20]}-{print_[20:32]}"


@dataclass(frozen=True, slots=True)
class Version:
    """`details` are what `prism.schema.v1` keeps beside a schema; `created_at` is in seconds."""

    subject: Subject
    number: int
    schema: Schema
    created_at: float
    deleted: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """What is set for a subject, a context, or everything; None where nothing is."""

    level: Level | None = None
    normalize: bool | None = None
    pii_validation: str | None = None  # off, warn or enforce
