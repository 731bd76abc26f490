"""What is registered, in SQLite or PostgreSQL: each write one transaction, durable when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from prism_runtime.storage.transactions import reading, writing
from prism_runtime.storage.upsert import upsert
from prism_schema import Level, SchemaKind
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
from prism_schema_registry.model import Config, Mode, Reference, Schema, Version
from prism_schema_registry.storage import tables
from prism_schema_registry.storage.tables import counters, schemas, settings, versions
from prism_schema_registry.subjects import Subject


class SqlStore:
    """Over an engine with current tables; on PostgreSQL one that checks the lease."""

    def __init__(self, engine: AsyncEngine, shown: str) -> None:
        self._engine = engine
        self.shown = shown

    async def load(self) -> Sequence[Change]:
        async with reading(self._engine) as connection:
            found: dict[tuple[str, int], Schema] = {}
            for row in await connection.execute(select(schemas)):
                found[row.context, row.id] = _schema(row)
            changes: list[Change] = [AddSchema(schema) for schema in found.values()]
            for row in await connection.execute(select(versions).order_by(versions.c.version)):
                subject = Subject(row.context, row.subject)
                schema = found[row.context, row.schema_id]
                changes.append(PutVersion(Version(
                    subject, row.version, schema, row.created_at, bool(row.deleted), row.details)))
            for row in await connection.execute(select(settings)):
                changes += _settings(row)
            last = (await connection.execute(select(counters.c.value).where(counters.c.name == "id"))).scalar_one()
            return [*changes, LastId(last)]

    async def apply(self, changes: Sequence[Change]) -> None:
        async with writing(self._engine) as connection:
            for change in changes:
                await _store(connection, change)

    async def close(self) -> None:
        await self._engine.dispose()


def _schema(row: Any) -> Schema:
    references = tuple(Reference(*reference) for reference in row.refers_to)
    return Schema(row.context, row.id, SchemaKind(row.kind), row.content, references, row.extras, row.fingerprint)


def _settings(row: Any) -> list[Change]:
    scope = Subject(row.context, row.subject)
    found: list[Change] = []
    if row.level is not None or row.normalize is not None or row.pii_validation is not None:
        level = Level(row.level) if row.level is not None else None
        found.append(SetConfig(scope, Config(
            level, bool(row.normalize) if row.normalize is not None else None, row.pii_validation)))
    if row.mode is not None:
        found.append(SetMode(scope, Mode(row.mode)))
    return found


async def _store(connection: AsyncConnection, change: Change) -> None:
    match change:
        case AddSchema(schema):
            await connection.execute(schemas.insert().values(
                context=schema.context, id=schema.id, kind=schema.kind.value, content=schema.text,
                refers_to=[list(reference) for reference in schema.references], extras=dict(schema.extras),
                fingerprint=schema.fingerprint))
        case RemoveSchema(context, number):
            await connection.execute(delete(schemas).where(schemas.c.context == context, schemas.c.id == number))
        case LastId(value):
            await connection.execute(update(counters).where(counters.c.name == "id").values(
                value=_larger(connection, value)))
        case PutVersion(version):
            changed = {"schema_id": version.schema.id, "deleted": version.deleted, "created_at": version.created_at,
                       "details": dict(version.details)}
            await connection.execute(upsert(
                connection, versions, {**_place(version.subject), "version": version.number, **changed},
                ("context", "subject", "version"), changed))
        case RemoveVersion(subject, number):
            await connection.execute(delete(versions).where(
                *_at(versions, subject), versions.c.version == number))
        case SetConfig(scope, config):
            config = config or Config()
            await _put_setting(connection, scope, level=config.level.value if config.level else None,
                               normalize=config.normalize, pii_validation=config.pii_validation)
        case SetMode(scope, mode):
            await _put_setting(connection, scope, mode=mode.value if mode else None)


def _larger(connection: AsyncConnection, value: int) -> Any:
    greatest = func.greatest if connection.dialect.name == "postgresql" else func.max
    return greatest(counters.c.value, value)


async def _put_setting(connection: AsyncConnection, scope: Subject, **values: Any) -> None:
    await connection.execute(upsert(
        connection, tables.settings, {**_place(scope), **values}, ("context", "subject"), values))


def _place(subject: Subject) -> dict[str, str]:
    return {"context": subject.context, "subject": subject.name}


def _at(table: Any, subject: Subject) -> tuple[Any, Any]:
    return table.c.context == subject.context, table.c.subject == subject.name
