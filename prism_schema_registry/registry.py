"""What can be asked of the registry, and how a schema gets its version and its id."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prism_schema import Level, ParsedSchema, SchemaKind
from prism_schema_registry import compatibility, tags
from prism_schema_registry.catalog import Catalog
from prism_schema_registry.changes import AddSchema, Change, LastId, PutVersion, SetConfig
from prism_schema_registry.commits import Commits
from prism_schema_registry.compatibility import Verdict
from prism_schema_registry.deletion import Deletion
from prism_schema_registry.errors import (
    incompatible,
    not_permitted,
    schema_not_found,
    subject_not_found,
    version_not_found,
    version_taken,
)
from prism_schema_registry.levels import Levels
from prism_schema_registry.model import LATEST, MAX_ID, Config, Draft, Mode, Reference, Schema, Version
from prism_schema_registry.parsing import Parser, fingerprint
from prism_schema_registry.references import pinned
from prism_schema_registry.storage.contract import Store
from prism_schema_registry.subjects import Subject


@dataclass(frozen=True, slots=True)
class Rules:
    """Beyond what stock clients can ask for: the level to check with and to keep, whether a proto3 field without
    `optional` counts as required when it is added, and what is kept beside the version."""

    level: Level | None = None
    implicit_required: bool = False
    details: Mapping[str, Any] | None = None


class Registry:
    """One registry over one store. `open` it first."""

    def __init__(self, store: Store, default_level: Level = Level.BACKWARD, pii_validation: str = "off") -> None:
        self.catalog = Catalog()
        self.commits = Commits(store, self.catalog)
        self.levels = Levels(self.catalog, self.commits, default_level, pii_validation)
        self.parser = Parser(self.catalog)
        self.deletion = Deletion(self.catalog, self.commits, self.levels)

    async def open(self) -> None:
        """StorageError."""
        await self.commits.open()

    def version(self, subject: Subject, number: int, *, deleted: bool = False) -> Version:
        """RegistryError 40401 or 40402. LATEST is the last one that is not deleted."""
        versions = self.catalog.versions(subject, deleted=deleted)
        if not versions:
            raise subject_not_found(subject)
        if number == LATEST:
            return versions[-1]
        found = self.catalog.version(subject, number)
        if found is None or (found.deleted and not deleted):
            raise version_not_found(number)
        return found

    def versions(self, subject: Subject, *, deleted: bool = False, only_deleted: bool = False) -> list[Version]:
        """RegistryError 40401 when there is none."""
        found = self.catalog.versions(subject, deleted=deleted or only_deleted)
        if only_deleted:
            found = [version for version in found if version.deleted]
        if not found:
            raise subject_not_found(subject)
        return found

    def schema(self, number: int, context: str) -> Schema:
        """RegistryError 40403."""
        found = self.catalog.by_id(number, context)
        if found is None:
            raise schema_not_found(number)
        return found

    def uses(self, schema: Schema, *, deleted: bool = False) -> Iterator[Version]:
        """The versions that show a schema."""
        for subject, number in self.catalog.uses(schema):
            found = self.catalog.version(subject, number)
            if found is not None and (deleted or not found.deleted):
                yield found

    async def lookup(self, subject: Subject, draft: Draft, *, deleted: bool = False) -> Version:
        """The version that is this schema already. RegistryError 40401, 40403, 42201."""
        versions = self.versions(subject, deleted=deleted)
        parsed = await self.parser.draft(draft, subject.context)
        found = self._same(versions, parsed, draft)
        if found is None:
            raise schema_not_found()
        return found

    async def check(self, subject: Subject, draft: Draft, number: int | None, rules: Rules = Rules()) -> Verdict:
        """Whether a schema could be registered: against one version, or, for None, as the subject's level says."""
        level = rules.level or self.levels.level(subject)
        previous = [self.version(subject, number)] if number is not None else self.catalog.versions(subject)
        parsed = await self.parser.draft(draft, subject.context)
        return await compatibility.check(
            self.parser, parsed, previous, level, implicit_required=rules.implicit_required)

    async def register(self, subject: Subject, draft: Draft, rules: Rules = Rules()) -> Version:
        """The version that the schema has, or gets. RegistryError when it may not have one."""
        parsed = await self.parser.draft(draft, subject.context)
        if not draft.id and not draft.version and rules.level is None:
            found = self._same(self.catalog.versions(subject), parsed, draft)
            if found is not None and self.levels.mode(subject) is Mode.READWRITE:
                return found  # nothing to write, so nobody waits for those that do
        async with self.commits.write() as changes:
            self._check_mode(subject, draft)
            references = pinned(self.catalog, draft.references, subject.context)  # still there, now that none can go
            versions = self.catalog.versions(subject)
            found = self._same(versions, parsed, draft)
            if found is None and self.levels.mode(subject) is not Mode.IMPORT:
                tags.check(subject, parsed, self.levels.config(subject).pii_validation)
                level = rules.level or self.levels.level(subject)
                verdict = await compatibility.check(
                    self.parser, parsed, versions, level, implicit_required=rules.implicit_required)
                if not verdict.compatible:
                    raise incompatible(subject, verdict.messages())
            if found is None:
                found = self._new(subject, draft, parsed, references, rules.details or {}, changes)
            if rules.level is not None and self.catalog.configs.get(subject, Config()).level is not rules.level:
                own = self.catalog.configs.get(subject, Config())
                changes.append(SetConfig(subject, replace(own, level=rules.level)))
            return found

    def _check_mode(self, subject: Subject, draft: Draft) -> None:
        self.levels.check_writable(subject)
        mode = self.levels.mode(subject)
        if draft.id and mode is not Mode.IMPORT:
            raise not_permitted(f"Subject {subject} is not in import mode")
        if not draft.id and mode is not Mode.READWRITE:
            raise not_permitted(f"Subject {subject} is not in read-write mode")

    def _same(self, versions: list[Version], parsed: ParsedSchema, draft: Draft) -> Version | None:
        """The last of the versions that is this schema, and has the id and number that a draft asks for."""
        print_ = fingerprint(parsed, draft.extras)
        for version in reversed(versions):
            if version.schema.fingerprint == print_ and draft.id in (0, version.schema.id) \
                    and draft.version in (0, version.number):
                return version
        return None

    def _new(self, subject: Subject, draft: Draft, parsed: ParsedSchema, references: tuple[Reference, ...],
             details: Mapping[str, Any], changes: list[Change]) -> Version:
        print_ = fingerprint(parsed, draft.extras)
        schema = self.catalog.by_fingerprint(subject.context, print_) if not draft.id else \
            self._imported(subject, draft.id, print_)
        if schema is None:
            number = draft.id or self.catalog.last_id + 1
            if number > MAX_ID:
                raise not_permitted(f"all {MAX_ID} ids are given")
            schema = Schema(subject.context, number, draft.kind, self._text(subject, draft, parsed), references,
                            dict(draft.extras), print_)
            changes += [AddSchema(schema), LastId(max(number, self.catalog.last_id))]
        version = Version(subject, self._number(subject, draft), schema, time.time(), details=dict(details))
        changes.append(PutVersion(version))
        return version

    def _imported(self, subject: Subject, number: int, print_: str) -> Schema | None:
        found = self.catalog.schemas.get((subject.context, number))
        if found is not None and found.fingerprint != print_:
            raise not_permitted(f"Overwrite new schema with id {number} is not permitted.")
        return found

    def _number(self, subject: Subject, draft: Draft) -> int:
        """Numbers of deleted versions are not given again, unless an import asks for one."""
        versions = self.catalog.versions(subject, deleted=True)
        last = versions[-1].number if versions else 0
        if not draft.version:
            return last + 1
        taken = self.catalog.version(subject, draft.version)
        if taken is not None and not taken.deleted:
            raise version_taken(subject, draft.version)
        if draft.version <= last and not draft.id:
            raise not_permitted(f"Subject {subject} is past version {draft.version}: its next one is {last + 1}")
        return draft.version

    def _text(self, subject: Subject, draft: Draft, parsed: ParsedSchema) -> str:
        """As it was sent, unless it is to be normalised. A Protobuf descriptor in base64 becomes the file that it
        describes."""
        descriptor = draft.kind is SchemaKind.PROTOBUF and not {"{", ";"} & set(draft.text)
        wanted = draft.normalize or descriptor or self.levels.config(subject).normalize
        return parsed.canonical if wanted else draft.text
