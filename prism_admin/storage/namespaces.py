"""Rows of namespaces: configuration with its version, partition, and the proxy that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from prism_admin.storage import tables
from prism_admin.storage.clock import now
from prism_admin.storage.errors import AlreadyExistsError, ConflictError, NotFoundError
from prism_runtime.storage.transactions import reading, writing
from prism_runtime.storage.upsert import upsert

_TABLE = tables.namespaces


@dataclass(frozen=True, slots=True)
class Namespace:
    """`config` is the JSON form of prism.NamespaceConfig and holds secrets; `metadata` is everything descriptive."""

    name: str
    partition: int
    config: dict[str, Any]
    version: int = 0
    description: str = ""
    assigned_proxy: str | None = None
    created_by: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


class Namespaces:
    """All of them are async and take one transaction each."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, namespace: Namespace) -> Namespace:
        """The stored row, with its version: one more than any its name ever had. AlreadyExistsError."""
        async with writing(self._engine) as connection:
            version = await self._next_version(connection, namespace.name)
            try:
                await connection.execute(_TABLE.insert().values(
                    name=namespace.name, description=namespace.description, partition_id=namespace.partition,
                    assigned_proxy=namespace.assigned_proxy, config=namespace.config, config_version=version,
                    created_by=namespace.created_by, metadata=namespace.metadata, created_at=now(), updated_at=now()))
            except IntegrityError:
                raise AlreadyExistsError("namespace", namespace.name) from None
            return await self._get(connection, namespace.name)

    async def get(self, name: str) -> Namespace:
        """NotFoundError."""
        async with reading(self._engine) as connection:
            return await self._get(connection, name)

    async def page(self, *, after: str = "", limit: int = 0, prefix: str = "") -> list[Namespace]:
        """By name, those that follow `after`; limit 0 is all."""
        query = select(_TABLE).where(_TABLE.c.name > after).order_by(_TABLE.c.name)
        if prefix:
            query = query.where(_TABLE.c.name.startswith(prefix, autoescape=True))
        if limit:
            query = query.limit(limit)
        async with reading(self._engine) as connection:
            return [_namespace(row) for row in (await connection.execute(query)).mappings()]

    async def count(self) -> int:
        async with reading(self._engine) as connection:
            return int((await connection.execute(select(func.count()).select_from(_TABLE))).scalar_one())

    async def in_partitions(self, partitions: Sequence[int]) -> list[Namespace]:
        """Those of some partitions, by name."""
        query = select(_TABLE).where(_TABLE.c.partition_id.in_(partitions)).order_by(_TABLE.c.name)
        async with reading(self._engine) as connection:
            return [_namespace(row) for row in (await connection.execute(query)).mappings()]

    async def change(self, name: str, *, expected_version: int = 0, **values: Any) -> Namespace:
        """Set `description`, `metadata` or `config`; a new configuration gets the next version.

        NotFoundError; ConflictError when `expected_version` is given and no longer the row's.
        """
        async with writing(self._engine) as connection:
            found = await self._get(connection, name)
            if expected_version and found.version != expected_version:
                raise ConflictError(f"namespace {name} has version {found.version}, not {expected_version}")
            if "config" in values and values["config"] != found.config:
                values["config_version"] = await self._next_version(connection, name)
            await connection.execute(
                update(_TABLE).where(_TABLE.c.name == name).values(updated_at=now(), **values))
            return await self._get(connection, name)

    async def delete(self, name: str) -> None:
        """NotFoundError."""
        async with writing(self._engine) as connection:
            if (await connection.execute(delete(_TABLE).where(_TABLE.c.name == name))).rowcount == 0:
                raise NotFoundError("namespace", name)

    async def _get(self, connection: AsyncConnection, name: str) -> Namespace:
        row = (await connection.execute(select(_TABLE).where(_TABLE.c.name == name))).mappings().one_or_none()
        if row is None:
            raise NotFoundError("namespace", name)
        return _namespace(row)

    async def _next_version(self, connection: AsyncConnection, name: str) -> int:
        versions = tables.namespace_versions
        statement = upsert(connection, versions, {"name": name, "last_version": 1}, ["name"],
                           {"last_version": versions.c.last_version + 1}).returning(versions.c.last_version)
        return int((await connection.execute(statement)).scalar_one())


def _namespace(row: RowMapping) -> Namespace:
    return Namespace(
        row["name"], row["partition_id"], row["config"], row["config_version"], row["description"] or "",
        row["assigned_proxy"], row["created_by"] or "", row["metadata"] or {}, row["created_at"], row["updated_at"])
