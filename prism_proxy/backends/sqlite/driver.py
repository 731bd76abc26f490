"""Driver of the SQLite store: reads go to the readers' threads, writes to the one writer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

from prism_proxy.backends.sqlite import operations, queries
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.backends.sqlite.database import Database
from prism_proxy.backends.sqlite.errors import meaning
from prism_proxy.backends.sqlite.messaging.kept import kept_messages
from prism_proxy.backends.sqlite.messaging.queues import SqliteQueues
from prism_proxy.backends.sqlite.messaging.streams import SqliteStreams
from prism_proxy.backends.sqlite.messaging.topic_operations import SqliteTopicOperations
from prism_proxy.backends.sqlite.messaging.traits import models_with_messages, queue_traits, stream_traits, topic_traits
from prism_proxy.backends.sqlite.messaging.upkeep import Upkeep
from prism_proxy.backends.sqlite.migration import SqliteIncoming, SqliteOutgoing
from prism_proxy.backends.sqlite.readers import Readers
from prism_proxy.backends.sqlite.writer import Writer
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.contracts.movable import Incoming, Outgoing
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.contract import CasResult, ScanPage
from prism_proxy.models.messages import KeptMessage

_CURSOR_VERSION = b"\x01"
_ITEM_BYTES = 64  # of the queue, for what a request costs beside its keys and values


class SqliteDriver:
    """`clock` is wall time in nanoseconds: expiry is absolute and passes while no process runs."""

    def __init__(self, config: SqliteConfig, clock: Callable[[], int] = time.time_ns) -> None:
        self.declaration = config.declaration
        self._config = config
        self._clock = clock
        self._database = Database(config)
        self._writer = Writer(self._database, config.max_queued, config.max_queued_bytes, clock)
        self._damage = self._writer.committer.damage
        self._readers = Readers(self._database, config.readers, config.max_queued, self._damage)
        self.stream = SqliteStreams(self._writer, self._readers, self._now_ms, stream_traits(config.durability))
        self.pubsub = SqliteTopicOperations(self._writer, self._readers, self._now_ms, topic_traits(config.durability))
        self._upkeep = Upkeep(self.stream.keep_up, self.pubsub.keep_up)
        self.queue = SqliteQueues(self._writer, self._readers, self._now_ms, queue_traits(config.durability))

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """PrismError STORE_IN_USE when another process serves the file, STORE_FORMAT when it is not ours."""
        try:
            await self._writer.open()
        except PrismError:
            await self.close()
            raise
        await self.queue.open()
        self._upkeep.start()

    async def drain(self, deadline_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._writer.drained(), deadline_s)

    async def close(self) -> None:
        await self._upkeep.close()
        await self.pubsub.close()
        await self.stream.close()
        await self.queue.close()
        await self._readers.close()
        await self._writer.close()
        self._database.release()

    def health(self) -> HealthReport:
        return dataclasses.replace(self._health(), stored_bytes=self._database.stored_bytes())

    def _health(self) -> HealthReport:
        committer, checkpointer = self._writer.committer, self._writer.checkpointer
        counters = committer.counters
        details = {
            "path": str(self._database.path),
            "durability": self._config.durability,
            "queued": str(self._writer.queued),
            "commits": str(counters.commits),
            "writes": str(counters.writes),
            "expired_deleted": str(counters.swept),
            "opened": str(counters.opened),
            "longest_commit_ms": f"{counters.longest_commit_s * 1000:.1f}",
            "checkpoints": str(checkpointer.runs),
            "longest_checkpoint_ms": f"{checkpointer.longest_s * 1000:.1f}",
        }
        down = committer.outage.reason
        if down is not None:
            return HealthReport(Health.UNHEALTHY, f"{self._database.path}: {down.message}", details)
        damage = self._damage
        if damage.rows:
            details |= {"damaged_reads": str(damage.rows), "last_damage": damage.last}
        if damage.everywhere:
            return HealthReport(Health.UNHEALTHY, f"{self._database.path}: everything that was looked at is damaged: "
                                                  "restore the file from a backup", details)
        if damage.rows:
            return HealthReport(Health.DEGRADED, f"{self._database.path} is damaged in places: prism-proxy verify "
                                                 f"{self._database.path} lists them", details)
        if committer.full or not self._database.headroom.held:
            return HealthReport(Health.DEGRADED, "full: free disk space, delete keys, or raise max_bytes", details)
        if checkpointer.error:
            return HealthReport(Health.DEGRADED, f"the log cannot be copied: {checkpointer.error}", details)
        return HealthReport(Health.HEALTHY, f"durability {self._config.durability}", details)

    def classify(self, error: Exception) -> PrismError | None:
        """Writes are classified where they fail; a read never leaves a doubt."""
        return meaning(error, "not_executed") if isinstance(error, sqlite3.Error) else None

    def _now_ms(self) -> int:
        return self._clock() // 1_000_000

    # --- keyvalue_basic ---------------------------------------------------------------------------------------------

    async def set(self, key: bytes, value: bytes) -> None:
        await self._writer.submit(partial(operations.put, key=key, value=value), _size((key, value)))

    async def get(self, key: bytes) -> bytes | None:
        return (await self.get_versioned(key))[0]

    async def delete(self, key: bytes) -> bool:
        return await self._writer.submit(partial(operations.remove, key=key), _size((key,)), frees=True)

    async def exists(self, key: bytes) -> bool:
        return await self._readers.run(partial(queries.exists, key=key, now_ms=self._now_ms()))

    # --- keyvalue_scan ----------------------------------------------------------------------------------------------

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        after = None
        if cursor is not None:
            if cursor[:1] != _CURSOR_VERSION:
                raise ValueError("the cursor was not made by this namespace")
            after = cursor[1:]
        items, finished = await self._readers.run(partial(
            queries.scan, prefix=prefix, after=after, limit=count, values=values, now_ms=self._now_ms()))
        return ScanPage(items, None if finished else _cursor_after(items[-1][0]), _cursor_after)

    async def count(self, prefix: bytes) -> int:
        return await self._readers.run(partial(queries.count, prefix=prefix, now_ms=self._now_ms()))

    # --- keyvalue_ttl -----------------------------------------------------------------------------------------------

    async def expire(self, key: bytes, ttl: float) -> bool:
        return await self._writer.submit(partial(operations.expire, key=key, ttl=ttl), _size((key,)), frees=True)

    async def ttl(self, key: bytes) -> float | None:
        return await self._readers.run(partial(queries.ttl, key=key, now_ms=self._now_ms()))

    async def persist(self, key: bytes) -> bool:
        return await self._writer.submit(partial(operations.persist, key=key), _size((key,)), frees=True)

    # --- keyvalue_batch ---------------------------------------------------------------------------------------------

    async def batch_set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        """All items in one transaction: all or, with an error of the whole call, none."""
        await self._writer.submit(partial(operations.put_all, items=items), sum(map(_size, items)))
        return [None] * len(items)

    async def batch_get(self, keys: Sequence[bytes]) -> list[bytes | PrismError | None]:
        return await self._readers.run(
            partial(queries.get_all, keys=keys, now_ms=self._now_ms(), damage=self._damage))

    async def batch_delete(self, keys: Sequence[bytes]) -> list[bool]:
        return await self._writer.submit(partial(operations.remove_all, keys=keys), _size(keys), frees=True)

    # --- keyvalue_cas -----------------------------------------------------------------------------------------------

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        return await self._writer.submit(
            partial(operations.compare_and_swap, key=key, expected=expected, value=value),
            _size((key, expected or b"", value)))

    async def compare_and_delete(self, key: bytes, expected: bytes) -> CasResult:
        return await self._writer.submit(
            partial(operations.compare_and_delete, key=key, expected=expected), _size((key, expected)),
            frees=True)

    # --- for commands that rewrite a store ---------------------------------------------------------------------------

    async def replace(self, key: bytes, expected: bytes, value: bytes) -> bool:
        return await self._writer.submit(
            partial(operations.replace, key=key, expected=expected, value=value), _size((key, expected, value)))

    def kept_messages(self) -> AsyncIterator[KeptMessage]:
        return kept_messages(self._readers)

    # --- keyvalue_transactional -------------------------------------------------------------------------------------

    async def get_versioned(self, key: bytes) -> tuple[bytes | None, int]:
        return await self._readers.run(partial(operations.find, key=key, now_ms=self._now_ms()))

    async def commit(self, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
        size = _size((*reads, *writes, *writes.values()))
        return await self._writer.submit(partial(operations.commit, reads=reads, writes=writes), size)

    # --- moving to another process ----------------------------------------------------------------------------------

    async def outgoing(self) -> Outgoing:
        held = await self._readers.run(models_with_messages)
        if held:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, "MESSAGES_DO_NOT_MOVE",
                f"this namespace holds {' and '.join(held)}, which do not move to another proxy: only key-values do",
                {"outcome": "not_executed"})
        moving = SqliteOutgoing(self._writer, self._readers, self._now_ms)
        await moving.begin()
        return moving

    async def incoming(self, clock: int) -> Incoming:
        moving = SqliteIncoming(self._writer, self._readers)
        await moving.begin()
        return moving


def _cursor_after(key: bytes) -> bytes:
    return _CURSOR_VERSION + key


def _size(parts: Sequence[bytes]) -> int:
    return _ITEM_BYTES + sum(map(len, parts))
