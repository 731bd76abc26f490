"""What can change in the registry. A write is a list of these: stored in one transaction, then applied in memory."""

from __future__ import annotations

from dataclasses import dataclass

from prism_schema_registry.model import Config, Mode, Schema, Version
from prism_schema_registry.subjects import Subject


@dataclass(frozen=True, slots=True)
class AddSchema:
    """Takes its id for good: `LastId` comes with it."""

    schema: Schema


@dataclass(frozen=True, slots=True)
class RemoveSchema:
    context: str
    id: int


@dataclass(frozen=True, slots=True)
class LastId:
    """The largest id that was ever given; never goes back."""

    value: int


@dataclass(frozen=True, slots=True)
class PutVersion:
    """A new version, or another state of one."""

    version: Version


@dataclass(frozen=True, slots=True)
class RemoveVersion:
    subject: Subject
    number: int


@dataclass(frozen=True, slots=True)
class SetConfig:
    """None: nothing of its own."""

    scope: Subject
    config: Config | None


@dataclass(frozen=True, slots=True)
class SetMode:
    scope: Subject
    mode: Mode | None


Change = AddSchema | RemoveSchema | LastId | PutVersion | RemoveVersion | SetConfig | SetMode
