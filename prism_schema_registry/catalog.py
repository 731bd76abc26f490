"""All that is registered, in memory, with the indexes that questions need. It changes by `apply` alone, and decides
nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from prism_schema_registry.changes import (
    AddSchema,
    Change,
    LastId,
    PutVersion,
    RemoveSchema,
    RemoveVersion,
    SetConfig,
    SetMode,
)
from prism_schema_registry.model import Config, Mode, Schema, Version
from prism_schema_registry.subjects import DEFAULT, Subject, parse

Key = tuple[str, int]  # context and id
Place = tuple[Subject, int]  # subject and version
ValueT = TypeVar("ValueT")


class Catalog:
    """`revision` differs after every change, and then `on_change` is called."""

    def __init__(self) -> None:
        self.revision = 0
        self.on_change: list[Callable[[], None]] = []
        self._clear()

    def _clear(self) -> None:
        self.last_id = 0
        self.schemas: dict[Key, Schema] = {}
        self.configs: dict[Subject, Config] = {}
        self.modes: dict[Subject, Mode] = {}
        self._subjects: dict[Subject, dict[int, Version]] = {}
        self._by_fingerprint: dict[tuple[str, str], int] = {}
        self._by_guid: dict[str, Schema] = {}
        self._by_id: dict[int, dict[str, Schema]] = {}  # by context
        self._uses: dict[Key, set[Place]] = {}
        self._referrers: dict[Place, set[Key]] = {}

    def apply(self, changes: Iterable[Change]) -> None:
        """Make changes that are stored."""
        for change in changes:
            self._apply(change)
        self.revision += 1
        for tell in self.on_change:
            tell()

    def replace(self, changes: Iterable[Change]) -> None:
        """Forget everything, and begin with what is stored."""
        self._clear()
        self.apply(changes)

    def subjects(self) -> Iterator[Subject]:
        """All, in the order of their names, also those with nothing but deleted versions."""
        return iter(sorted(self._subjects))

    def versions(self, subject: Subject, *, deleted: bool = False) -> list[Version]:
        """In order; with `deleted` also those that are softly deleted."""
        found = self._subjects.get(subject, {})
        return [found[number] for number in sorted(found) if deleted or not found[number].deleted]

    def version(self, subject: Subject, number: int) -> Version | None:
        return self._subjects.get(subject, {}).get(number)

    def contexts(self) -> list[str]:
        return sorted({DEFAULT, *(subject.context for subject in self._subjects)})

    def by_fingerprint(self, context: str, fingerprint: str) -> Schema | None:
        number = self._by_fingerprint.get((context, fingerprint))
        return self.schemas[context, number] if number is not None else None

    def by_guid(self, guid: str) -> Schema | None:
        return self._by_guid.get(guid)

    def by_id(self, number: int, context: str) -> Schema | None:
        """In the context, else in the only one that has the id: ids are given once over all contexts, and only an
        import can give one again."""
        found = self._by_id.get(number, {})
        return found.get(context) or (next(iter(found.values())) if len(found) == 1 else None)

    def uses(self, schema: Schema) -> list[Place]:
        """The versions that show a schema, also deleted ones."""
        return sorted(self._uses.get((schema.context, schema.id), ()))

    def referrers(self, subject: Subject, number: int, *, deleted: bool = False) -> list[int]:
        """Ids of the schemas that refer to a version and are shown by one that is active, or softly `deleted`."""
        return sorted(key[1] for key in self._referrers.get((subject, number), ()) if deleted or self._active(key))

    def _active(self, key: Key) -> bool:
        return any(not self._subjects[subject][number].deleted for subject, number in self._uses.get(key, ()))

    def _apply(self, change: Change) -> None:
        match change:
            case AddSchema(schema):
                self._add(schema)
            case RemoveSchema(context, number):
                self._remove(self.schemas.pop((context, number)))
            case LastId(value):
                self.last_id = max(self.last_id, value)
            case PutVersion(version):
                self._put(version)
            case RemoveVersion(subject, number):
                version = self._subjects[subject].pop(number)
                self._uses[version.schema.context, version.schema.id].discard((subject, number))
                if not self._subjects[subject]:
                    del self._subjects[subject]
            case SetConfig(scope, config):
                _put(self.configs, scope, config)
            case SetMode(scope, mode):
                _put(self.modes, scope, mode)

    def _put(self, version: Version) -> None:
        versions = self._subjects.setdefault(version.subject, {})
        old, place = versions.get(version.number), (version.subject, version.number)
        if old is not None:  # an import may give a deleted number another schema
            self._uses[old.schema.context, old.schema.id].discard(place)
        versions[version.number] = version
        self._uses.setdefault((version.schema.context, version.schema.id), set()).add(place)

    def _add(self, schema: Schema) -> None:
        self.schemas[schema.context, schema.id] = schema
        self._by_fingerprint.setdefault((schema.context, schema.fingerprint), schema.id)
        self._by_guid.setdefault(schema.guid, schema)
        self._by_id.setdefault(schema.id, {})[schema.context] = schema
        for place in _places(schema):
            self._referrers.setdefault(place, set()).add((schema.context, schema.id))

    def _remove(self, schema: Schema) -> None:
        if self._by_fingerprint.get((schema.context, schema.fingerprint)) == schema.id:
            del self._by_fingerprint[schema.context, schema.fingerprint]
        if self._by_guid.get(schema.guid) is schema:
            del self._by_guid[schema.guid]
        del self._by_id[schema.id][schema.context]
        self._uses.pop((schema.context, schema.id), None)
        for place in _places(schema):
            self._referrers[place].discard((schema.context, schema.id))


def _places(schema: Schema) -> Iterator[Place]:
    for reference in schema.references:
        yield parse(reference.subject, within=schema.context), reference.version


def _put(where: dict[Subject, ValueT], scope: Subject, value: ValueT | None) -> None:
    if value is None:
        where.pop(scope, None)
    else:
        where[scope] = value
