"""The registry as the platform sees it: schemas by namespace, topic and version, over subjects.

The topic `orders` of the namespace `shop` is the subject `orders-value` in the context `.shop`. What differs from stock
clients' registrations: a version can be named, a proto3 field without `optional` counts as required, and owner,
description and personal data are kept beside the schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prism_schema import Finding, Level, ParsedSchema, SchemaKind
from prism_schema_registry import compatibility
from prism_schema_registry.errors import RegistryError, invalid_schema, invalid_version, malformed
from prism_schema_registry.model import LATEST, MAX_ID, Draft, Version
from prism_schema_registry.registry import Registry, Rules
from prism_schema_registry.storable import storable
from prism_schema_registry.subjects import DEFAULT, Subject, parse

SUFFIX = "-value"
ID_PREFIX = "schema-"
_VERSION = re.compile(r"v?([1-9][0-9]{0,9})")


@dataclass(frozen=True, slots=True)
class Validation:
    """What a registration or a check found. `compatible_versions` are those that the schema can follow."""

    compatible: bool = True
    breaking_changes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    compatible_versions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    version: Version
    validation: Validation


def subject_of(namespace: str, topic: str) -> Subject:
    """RegistryError 42208 for names that are none."""
    if not topic:
        raise malformed("topic is empty")
    return parse(f":.{namespace}:{topic}{SUFFIX}" if namespace else f":.:{topic}{SUFFIX}")


def topic_of(subject: Subject) -> tuple[str, str]:
    """(namespace, topic); a subject that is no topic's value is shown by its whole name."""
    namespace = "" if subject.context == DEFAULT else subject.context.removeprefix(".")
    return namespace, subject.name.removesuffix(SUFFIX)


def number_of(text: str) -> int:
    """`v3`, `3`, or `latest`, which is also what nothing means. RegistryError 42202."""
    if text in ("", "latest"):
        return LATEST
    found = _VERSION.fullmatch(text)
    if found is None or int(found[1]) > MAX_ID:
        raise invalid_version(text[:40])
    return int(found[1])


def shown(version: Version) -> str:
    return f"v{version.number}"


def id_of(version: Version) -> str:
    return f"{ID_PREFIX}{version.schema.id}"


def content_of(content: bytes) -> str:
    """RegistryError 42201 for bytes that are no text."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise invalid_schema(f"the content is not UTF-8: {error.reason} at byte {error.start}") from None


class Governed:
    """Registrations by namespace, topic and version."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def register(self, subject: Subject, version: str, kind: SchemaKind, content: bytes, level: Level | None,
                       details: Mapping[str, Any]) -> Registered:
        """RegistryError 40901 when the version has other bytes, 409 for a breaking change."""
        number = number_of(version)
        if not storable(dict(details)):
            raise malformed("the metadata hold a NUL character")
        draft = Draft(kind, content_of(content), version=0 if number == LATEST else number)
        parsed = await self.registry.parser.draft(draft, subject.context)
        before = [found for found in self.registry.catalog.versions(subject) if not number > 0 or found.number < number]
        details = {**details, "pii_fields": _pii(details.get("pii_fields", ()), parsed)}
        found = await self.registry.register(subject, draft, Rules(level, True, details))
        validation = await self._validate(
            parsed, [version for version in before if version.number < found.number], Level.NONE)
        return Registered(found, validation)

    async def check(self, subject: Subject, version: str, kind: SchemaKind, content: bytes,
                    level: Level | None) -> Validation:
        """Whether a schema could be registered after a version, or after all that are there."""
        level = level or self.registry.levels.level(subject)
        previous = self.registry.versions(subject) if not version else \
            [self.registry.version(subject, number_of(version))]
        parsed = await self.registry.parser.draft(Draft(kind, content_of(content)), subject.context)
        return await self._validate(parsed, previous, level)

    async def _validate(self, parsed: ParsedSchema, previous: Sequence[Version], level: Level) -> Validation:
        verdict = await compatibility.check(self.registry.parser, parsed, previous, level, implicit_required=True)
        warnings: list[str] = []
        fitting = []
        for version in previous:
            alone = await compatibility.check(
                self.registry.parser, parsed, [version], Level.BACKWARD, implicit_required=True)
            if alone.compatible:
                fitting.append(shown(version))
        if previous:
            old = await self.registry.parser.schema(previous[-1].schema)
            warnings += _additions(old, parsed)
        return Validation(verdict.compatible, [problem(found) for found in verdict.findings], warnings, fitting)

    async def delete(self, subject: Subject, version: str, *, permanent: bool) -> int:
        return await self.registry.deletion.version(subject, number_of(version), permanent=permanent)

    def list(self, namespace: str, topic: str) -> Iterator[tuple[Version, bool]]:
        """(version, whether it is the last of its topic), in the order of topics and versions."""
        context = subject_of(namespace, topic or "-").context
        for subject in self.registry.catalog.subjects():
            if subject.context == context and (not topic or topic_of(subject)[1] == topic):
                versions = self.registry.catalog.versions(subject)
                yield from ((version, version is versions[-1]) for version in versions)


def problem(finding: Finding) -> str:
    """A breaking change in one line, with the place where it is."""
    return f"{finding.path}: {finding.message}" if finding.path else finding.message


def problems_of(error: RegistryError) -> Sequence[str]:
    return error.problems or (error.message,)


def _pii(given: Sequence[str], parsed: ParsedSchema) -> list[str]:
    """The fields that a team names, and those that the schema tags."""
    return sorted({*given, *(field.path for field in parsed.fields if field.pii)})


def _additions(old: ParsedSchema, new: ParsedSchema) -> list[str]:
    known = {field.path for field in old.fields}
    return [f"added optional {field.path}" for field in new.fields if field.optional and field.path not in known]
