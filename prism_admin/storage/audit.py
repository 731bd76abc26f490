"""The audit log: append only, each entry chained to the one before by a keyed hash.

`log` never waits for the disk: entries go out in batches, and `close` writes what is left. An entry that cannot be
written is counted and logged, costs no other entry, and the call it tells of still succeeds.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncEngine

from prism_admin.storage import tables
from prism_admin.storage.clock import now
from prism_admin.texts import indexable, storable
from prism_runtime import log
from prism_runtime.storage.errors import StorageError
from prism_runtime.storage.transactions import reading, writing

RETENTION = timedelta(days=90)
MAX_WAITING = 10_000
BATCH = 500
_TABLE = tables.audit_logs
_log = log.get("prism.admin.audit")


@dataclass(frozen=True, slots=True)
class Entry:
    """One call. Bodies are already masked."""

    action: str
    resource_type: str
    timestamp: datetime
    user: str = ""
    resource_id: str = ""
    namespace: str = ""
    method: str = ""
    path: str = ""
    status_code: int = 0
    request_body: Any = None
    response_body: Any = None
    error: str = ""
    duration_ms: int = 0
    client_ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    trace_id: str = ""
    actor_groups: tuple[str, ...] = ()


class Audit:
    """`key` signs the chain. One writer a database: the chain's head is kept in memory."""

    def __init__(self, engine: AsyncEngine, key: bytes) -> None:
        self._engine = engine
        self._key = key
        self.failures = 0  # entries that were not written
        self._queue: asyncio.Queue[Entry | None] = asyncio.Queue(MAX_WAITING)
        self._head: str | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Entries that are not written yet."""
        return self._queue.qsize()

    def start(self) -> None:
        self._writer = asyncio.get_running_loop().create_task(self._write_all())

    def log(self, entry: Entry) -> None:
        try:
            self._queue.put_nowait(_storable(entry))
        except asyncio.QueueFull:
            self._failed(1, "the queue is full")

    async def flush(self) -> None:
        """Until everything logged so far is written, or has failed."""
        await self._queue.join()

    async def close(self) -> None:
        if self._writer is not None:
            await self.flush()
            await self._queue.put(None)
            await self._writer

    async def query(
        self, *, namespace: str | None = None, user: str | None = None, action: str | None = None,
        start: datetime | None = None, end: datetime | None = None, before: int = 0, limit: int = 100,
    ) -> list[tuple[int, Entry]]:
        """(id, entry), newest first; `before` an id pages backwards."""
        query = select(_TABLE).order_by(_TABLE.c.id.desc()).limit(limit)
        for column, value in ((_TABLE.c.namespace, namespace), (_TABLE.c.user, user), (_TABLE.c.action, action)):
            if value is not None:
                query = query.where(column == value)
        if start is not None:
            query = query.where(_TABLE.c.timestamp >= start)
        if end is not None:
            query = query.where(_TABLE.c.timestamp < end)
        if before:
            query = query.where(_TABLE.c.id < before)
        async with reading(self._engine) as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [(int(row["id"]), _entry(row)) for row in rows]

    async def verify(self) -> int | None:
        """The id of the first entry that is not as it was written, or follows one that is gone; None when all are."""
        previous: str | None = None
        async with reading(self._engine) as connection:
            for row in (await connection.execute(select(_TABLE).order_by(_TABLE.c.id))).mappings():
                if previous is None:
                    previous = row["chain_hash"].partition(":")[0]  # retention removed what came before
                if row["chain_hash"].partition(":")[0] != previous:
                    return int(row["id"])
                if not hmac.compare_digest(row["signature"] or "", self._sign(row["chain_hash"])):
                    return int(row["id"])
                if row["chain_hash"] != _link(previous, _entry(row)):
                    return int(row["id"])
                previous = row["chain_hash"].partition(":")[2]
        return None

    async def sweep(self, keep: timedelta = RETENTION) -> int:
        """Remove what is older than `keep`; how many entries went."""
        async with writing(self._engine) as connection:
            return (await connection.execute(delete(_TABLE).where(_TABLE.c.timestamp < now() - keep))).rowcount

    async def _write_all(self) -> None:
        running = True
        while running:
            batch = [await self._queue.get()]
            while len(batch) < BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            entries = [entry for entry in batch if entry is not None]
            running = len(entries) == len(batch)
            try:
                await self._write_or_halve(entries)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _write_or_halve(self, entries: Sequence[Entry]) -> None:
        """Where the database refuses what a batch says, not the batch, halves are tried until the entry is found."""
        try:
            await self._write(entries)
        except StorageError as error:
            self._head = None
            if len(entries) > 1 and error.of_the_rows:
                middle = len(entries) // 2
                await self._write_or_halve(entries[:middle])
                await self._write_or_halve(entries[middle:])
            else:
                self._failed(len(entries), str(error))

    async def _write(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        async with writing(self._engine) as connection:
            if self._head is None:
                last = (await connection.execute(
                    select(_TABLE.c.chain_hash).order_by(_TABLE.c.id.desc()).limit(1))).scalar_one_or_none()
                self._head = (last or ":").partition(":")[2]
            head, rows = self._head, []
            for entry in entries:
                link = _link(head, entry)
                rows.append({**asdict(entry), "actor_groups": list(entry.actor_groups), "chain_hash": link,
                             "signature": self._sign(link)})
                head = link.partition(":")[2]
            await connection.execute(_TABLE.insert(), rows)
        self._head = head

    def _sign(self, link: str) -> str:
        return hmac.new(self._key, link.encode(), hashlib.sha256).hexdigest()

    def _failed(self, count: int, reason: str) -> None:
        _log.error("audit entries were not written", count=count, reason=reason)
        self.failures += count


def _link(previous: str, entry: Entry) -> str:
    """`<hash of the entry before>:<hash of this one>`; the second covers the first."""
    values = asdict(entry)
    values["timestamp"] = entry.timestamp.timestamp()
    text = json.dumps(values, sort_keys=True, default=str)
    return f"{previous}:{hashlib.sha256(f'{previous}{text}'.encode()).hexdigest()}"


def _storable(entry: Entry) -> Entry:
    """In the form that every database takes; so the chain covers what is stored."""
    values = {name: storable(getattr(entry, name)) for name in Entry.__slots__}
    return Entry(**values | {name: indexable(values[name]) for name in ("user", "resource_id", "namespace")})


def _entry(row: Any) -> Entry:
    names = Entry.__slots__
    values = {name: row[name] for name in names}
    values["actor_groups"] = tuple(values["actor_groups"] or ())
    return Entry(**values)
