"""Rows of proxies, and the partition map that says which of them owns what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from prism_admin.storage import tables
from prism_admin.storage.clock import now
from prism_admin.storage.errors import ConflictError, NotFoundError
from prism_runtime.storage.transactions import reading, writing
from prism_runtime.storage.upsert import upsert

_TABLE = tables.proxies
_MAP = tables.partition_map


@dataclass(frozen=True, slots=True)
class Proxy:
    """`status` is healthy, unhealthy, left or unknown; `address` is where admin and proxies dial it; `backends` are
    what it says of them, by name; `file_areas` where the namespaces of its file have their names."""

    proxy_id: str
    address: str
    region: str = ""
    version: str = ""
    status: str = "unknown"
    capabilities: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    last_seen: datetime | None = None
    created_at: datetime | None = None
    backends: dict[str, Any] = field(default_factory=dict)
    file_areas: list[dict[str, Any]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]


class Proxies:
    """All of them are async and take one transaction each."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def upsert(self, proxy: Proxy) -> None:
        """A registration: one row an id, seen now."""
        known: dict[str, Any] = {
            "address": proxy.address, "region": proxy.region, "version": proxy.version, "status": proxy.status,
            "capabilities": list(proxy.capabilities), "metadata": proxy.metadata, "backends": proxy.backends,
            "file_areas": proxy.file_areas, "last_seen": now(), "updated_at": now()}
        async with writing(self._engine) as connection:
            values = {"proxy_id": proxy.proxy_id, "created_at": now(), **known}
            await connection.execute(upsert(connection, _TABLE, values, ["proxy_id"], known))

    async def seen(self, when: Mapping[str, datetime]) -> None:
        """Heartbeats: nothing else of the row changes."""
        async with writing(self._engine) as connection:
            for proxy_id, last_seen in when.items():
                await connection.execute(update(_TABLE).where(_TABLE.c.proxy_id == proxy_id).values(
                    last_seen=last_seen, status="healthy"))

    async def set_status(self, proxy_ids: Iterable[str], status: str) -> None:
        async with writing(self._engine) as connection:
            await connection.execute(update(_TABLE).where(_TABLE.c.proxy_id.in_(list(proxy_ids))).values(
                status=status, updated_at=now()))

    async def get(self, proxy_id: str) -> Proxy:
        """NotFoundError."""
        async with reading(self._engine) as connection:
            query = select(_TABLE).where(_TABLE.c.proxy_id == proxy_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFoundError("proxy", proxy_id)
        return _proxy(row)

    async def list(self) -> list[Proxy]:
        """Last seen first."""
        query = select(_TABLE).order_by(_TABLE.c.last_seen.desc(), _TABLE.c.proxy_id)
        async with reading(self._engine) as connection:
            return [_proxy(row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, proxy_id: str) -> None:
        """NotFoundError."""
        async with writing(self._engine) as connection:
            if (await connection.execute(delete(_TABLE).where(_TABLE.c.proxy_id == proxy_id))).rowcount == 0:
                raise NotFoundError("proxy", proxy_id)

    # --- the partition map --------------------------------------------------------------------------------------------

    async def load_map(self) -> tuple[int, dict[int, str]]:
        """(revision, owner by partition); partitions without an owner are left out."""
        rows = tables.partitions
        async with reading(self._engine) as connection:
            revision = (await connection.execute(select(_MAP.c.revision))).scalar_one()
            owners = (await connection.execute(select(rows.c.partition_id, rows.c.proxy_id))).all()
        return int(revision), {int(partition): owner for partition, owner in owners if owner is not None}

    async def save_map(self, expected: int, changes: Mapping[int, str | None]) -> int:
        """Change owners of partitions under the next revision, which is returned.

        The namespaces of the partitions follow. ConflictError when the stored revision is not `expected`: then another
        admin wrote it, and this one must read again.
        """
        rows = tables.partitions
        async with writing(self._engine) as connection:
            done = await connection.execute(
                update(_MAP).where(_MAP.c.revision == expected).values(revision=expected + 1))
            if done.rowcount == 0:
                raise ConflictError(f"the partition map is no longer at revision {expected}")
            for partition, owner in changes.items():
                await connection.execute(upsert(
                    connection, rows, {"partition_id": partition, "proxy_id": owner}, ["partition_id"],
                    {"proxy_id": owner}))
                await connection.execute(update(tables.namespaces).where(
                    tables.namespaces.c.partition_id == partition).values(assigned_proxy=owner))
        return expected + 1


def _proxy(row: RowMapping) -> Proxy:
    return Proxy(
        row["proxy_id"], row["address"], row["region"] or "", row["version"] or "", row["status"],
        tuple(row["capabilities"] or ()), row["metadata"] or {}, row["last_seen"], row["created_at"],
        row["backends"] or {}, row["file_areas"] or [])
