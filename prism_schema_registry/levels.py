"""What holds for a subject: its compatibility level and mode, or those of its context, or those of everything."""

from __future__ import annotations

from dataclasses import replace

from prism_schema import Level
from prism_schema_registry.catalog import Catalog
from prism_schema_registry.changes import SetConfig, SetMode
from prism_schema_registry.commits import Commits
from prism_schema_registry.errors import no_own_level, no_own_mode, not_permitted, subject_not_found
from prism_schema_registry.model import Config, Mode
from prism_schema_registry.subjects import GLOBAL, Subject


class Levels:
    """`default` is the level where nothing is set, `pii_validation` what is demanded of tags there."""

    def __init__(self, catalog: Catalog, commits: Commits, default: Level, pii_validation: str = "off") -> None:
        self._catalog = catalog
        self._commits = commits
        self._default = Config(default, False, pii_validation)

    def config(self, scope: Subject) -> Config:
        """What holds for a subject, a context, or everything."""
        found = Config()
        for where in _outwards(scope):
            own = self._catalog.configs.get(where, Config())
            found = Config(found.level or own.level, found.normalize if found.normalize is not None else own.normalize,
                           found.pii_validation or own.pii_validation)
        return Config(found.level or self._default.level, bool(found.normalize),
                      found.pii_validation or self._default.pii_validation)

    def level(self, scope: Subject) -> Level:
        return self.config(scope).level or Level.BACKWARD

    def own_config(self, scope: Subject) -> Config:
        """What is set for just this one. RegistryError 40408."""
        if scope == GLOBAL:
            return self.config(GLOBAL)
        found = self._catalog.configs.get(scope)
        if found is None:
            raise no_own_level(scope)
        return found

    async def set_config(self, scope: Subject, config: Config) -> Config:
        """What is None in `config` stays as it is."""
        async with self._commits.write() as changes:
            self.check_writable(scope)
            old = self._catalog.configs.get(scope, Config())
            new = replace(old, level=config.level or old.level,
                          normalize=config.normalize if config.normalize is not None else old.normalize,
                          pii_validation=config.pii_validation or old.pii_validation)
            if new != old:
                changes.append(SetConfig(scope, new))
            return new

    async def delete_config(self, scope: Subject) -> Config:
        """What was set. RegistryError 40401 when that was nothing."""
        async with self._commits.write() as changes:
            self.check_writable(scope)
            old = self._catalog.configs.get(scope)
            if old is None and scope != GLOBAL:
                raise subject_not_found(scope)
            if old is not None:
                changes.append(SetConfig(scope, None))
            return old if old is not None and old.level else self.config(scope)

    def mode(self, scope: Subject) -> Mode:
        """READONLY_OVERRIDE of everything wins over all others."""
        over_all = self._catalog.modes.get(GLOBAL)
        if over_all is Mode.READONLY_OVERRIDE:
            return over_all
        return next((found for where in _outwards(scope) if (found := self._catalog.modes.get(where))), Mode.READWRITE)

    def own_mode(self, scope: Subject) -> Mode:
        """RegistryError 40409."""
        if scope == GLOBAL:
            return self.mode(GLOBAL)
        found = self._catalog.modes.get(scope)
        if found is None:
            raise no_own_mode(scope)
        return found

    async def set_mode(self, scope: Subject, mode: Mode, *, force: bool) -> None:
        """IMPORT is for what is empty, unless `force`."""
        async with self._commits.write() as changes:
            if mode is Mode.IMPORT and not force and self._has_versions(scope):
                raise not_permitted("Cannot import since found existing subjects")
            if self._catalog.modes.get(scope) is not mode:
                changes.append(SetMode(scope, mode))

    async def delete_mode(self, scope: Subject) -> Mode:
        """What was set. RegistryError 40401 when that was nothing."""
        async with self._commits.write() as changes:
            old = self._catalog.modes.get(scope)
            if old is None:
                raise subject_not_found(scope)
            changes.append(SetMode(scope, None))
            return old

    def check_writable(self, scope: Subject) -> None:
        """RegistryError 42205 when nothing of it may change."""
        if self.mode(scope) in (Mode.READONLY, Mode.READONLY_OVERRIDE):
            raise not_permitted(f"Subject {scope} is in read-only mode")

    def _has_versions(self, scope: Subject) -> bool:
        if scope.name:
            return bool(self._catalog.versions(scope))
        return any(self._catalog.versions(subject) for subject in self._catalog.subjects()
                   if scope == GLOBAL or subject.context == scope.context)


def _outwards(scope: Subject) -> tuple[Subject, ...]:
    return (scope, GLOBAL) if not scope.name else (scope, Subject(scope.context, ""), GLOBAL)
