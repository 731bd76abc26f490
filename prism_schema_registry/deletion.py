"""Soft and permanent deletion.

    active --delete--> softly deleted --delete, permanent--> gone

A softly deleted version keeps its number and its id, and data written with it can be read. An id is never given again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prism_schema_registry.catalog import Catalog
from prism_schema_registry.changes import Change, PutVersion, RemoveSchema, RemoveVersion, SetConfig, SetMode
from prism_schema_registry.commits import Commits
from prism_schema_registry.errors import (
    reference_exists,
    subject_not_found,
    subject_not_soft_deleted,
    subject_soft_deleted,
    version_not_found,
    version_not_soft_deleted,
    version_soft_deleted,
)
from prism_schema_registry.levels import Levels
from prism_schema_registry.model import LATEST, Version
from prism_schema_registry.subjects import Subject


class Deletion:
    """RegistryErrors of both methods: 40401 to 40407, 42205 in read-only mode, 42206 for what is referred to."""

    def __init__(self, catalog: Catalog, commits: Commits, levels: Levels) -> None:
        self._catalog = catalog
        self._commits = commits
        self._levels = levels

    async def subject(self, subject: Subject, *, permanent: bool) -> list[int]:
        """The numbers of the versions that were deleted."""
        async with self._commits.write() as changes:
            self._levels.check_writable(subject)
            versions = self._catalog.versions(subject, deleted=True)
            active = [version for version in versions if not version.deleted]
            if not versions:
                raise subject_not_found(subject)
            if permanent and active:
                raise subject_not_soft_deleted(subject)
            if not permanent and not active:
                raise subject_soft_deleted(subject)
            chosen = versions if permanent else active
            for version in chosen:
                self._check_unreferenced(version, permanent)
            self._delete(chosen, permanent, changes)
            self._forget_settings(subject, changes)
            return [version.number for version in chosen]

    async def version(self, subject: Subject, number: int, *, permanent: bool) -> int:
        """Its number."""
        async with self._commits.write() as changes:
            self._levels.check_writable(subject)
            active = self._catalog.versions(subject)
            if number == LATEST and active:
                number = active[-1].number
            found = self._catalog.version(subject, number)
            if found is None:
                raise version_not_found(number) if self._catalog.versions(subject, deleted=True) \
                    else subject_not_found(subject)
            if permanent and not found.deleted:
                raise version_not_soft_deleted(subject, number)
            if not permanent and found.deleted:
                raise version_soft_deleted(subject, number)
            self._check_unreferenced(found, permanent)
            self._delete([found], permanent, changes)
            if active == [found]:
                self._forget_settings(subject, changes)
            return number

    def _check_unreferenced(self, version: Version, permanent: bool) -> None:
        """What is softly deleted can still be read, so that nothing goes for good that it refers to."""
        if self._catalog.referrers(version.subject, version.number, deleted=permanent):
            raise reference_exists(version.subject, version.number)

    def _delete(self, versions: Sequence[Version], permanent: bool, changes: list[Change]) -> None:
        if not permanent:
            changes += [PutVersion(replace(version, deleted=True)) for version in versions]
            return
        going = {(version.subject, version.number) for version in versions}
        changes += [RemoveVersion(version.subject, version.number) for version in versions]
        unused = {version.schema.id: version.schema for version in versions
                  if going.issuperset(self._catalog.uses(version.schema))}
        changes += [RemoveSchema(schema.context, schema.id) for schema in unused.values()]

    def _forget_settings(self, subject: Subject, changes: list[Change]) -> None:
        if subject in self._catalog.configs:
            changes.append(SetConfig(subject, None))
        if subject in self._catalog.modes:
            changes.append(SetMode(subject, None))
