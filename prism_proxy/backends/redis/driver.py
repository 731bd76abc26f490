"""Driver of Redis. A method is one command, or one script where something is compared first.

It waits for no connection and repeats nothing: the pool connects by itself, and what to try again is the slot's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

from prism_proxy.backends.redis import scan, scripts
from prism_proxy.backends.redis.batches import Batches
from prism_proxy.backends.redis.commands import Reply
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.connect import connect
from prism_proxy.backends.redis.errors import check_value, meaning
from prism_proxy.backends.redis.kept import kept_messages
from prism_proxy.backends.redis.queues import RedisQueues
from prism_proxy.backends.redis.streams import RedisStreams
from prism_proxy.backends.redis.topics import RedisTopics
from prism_proxy.backends.shared_pools import SharedPools
from prism_proxy.contracts.driver import Declaration, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue.contract import CasResult, ScanPage
from prism_proxy.models.messages import KeptMessage

_MOST_MS = 10**15  # thirty thousand years; Redis refuses what its clock cannot add
_EMPTY_PAGES = 32  # of other namespaces' keys, in one call, before the slot may look at its deadline
_PAGE_BYTES = 4 * 1024 * 1024  # of values, before a page ends early
_COUNTED_ONCE = 1_000_000  # keys remembered by Count; beyond them one that Redis reports twice counts twice


class RedisDriver:
    """`native_store` lets native handlers use the same connections; None in a cluster.

    `shared_pools` are the connections that drivers of one process share; without them a driver has its own.
    """

    Shared = SharedPools

    def __init__(self, config: RedisConfig, shared_pools: SharedPools | None = None) -> None:
        self._config = config
        self._prefix = config.key_prefix
        self._server = connect(config, shared_pools or SharedPools())
        self._commands = self._server.commands
        self._most = config.max_value_bytes
        self._batches = Batches(self._commands, self._most)
        self._salt = secrets.token_bytes(16)
        self.native_store = self._server.native_store
        names, server = config.names, self._server
        self.pubsub = RedisTopics(self._commands, names, lambda: server.subscriptions, self.native_store)
        self.queue = RedisQueues(self._commands, names, lambda: server.info, lambda: server.subscriptions,
                                 config.wait_replicas)
        self.stream = RedisStreams(self._commands, names, lambda: server.info, lambda: server.subscriptions,
                                   config.wait_replicas)

    # --- life -------------------------------------------------------------------------------------------------------

    @property
    def declaration(self) -> Declaration:
        """What is durable is known once the server has said how it persists."""
        return dataclasses.replace(self._config.declaration, durability=self._server.durability)

    async def open(self) -> None:
        """Waits a moment for the first connection; a server that is down shows in `health`."""
        self._server.open()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.connect_timeout_s):
                await self._server.opened()

    async def drain(self, deadline_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._server.drained()

    async def close(self) -> None:
        await self.queue.close()
        await self._server.close()

    def health(self) -> HealthReport:
        return self._server.health()

    def classify(self, error: Exception) -> PrismError | None:
        return meaning(error)

    # --- commands ---------------------------------------------------------------------------------------------------

    async def _run(self, command: bytes, key: bytes, *arguments: bytes) -> Reply:
        """One command about one key."""
        return await self._commands.execute(command, self._prefix + key, *arguments, key=key)

    # --- keyvalue_basic ---------------------------------------------------------------------------------------------

    async def set(self, key: bytes, value: bytes) -> None:
        check_value(value, self._most)
        await self._run(b"SET", key, value)

    async def get(self, key: bytes) -> bytes | None:
        return check_value(await self._run(b"GET", key), self._most)

    async def delete(self, key: bytes) -> bool:
        return bool(await self._run(b"DEL", key))

    async def exists(self, key: bytes) -> bool:
        return bool(await self._run(b"EXISTS", key))

    # --- keyvalue_scan ----------------------------------------------------------------------------------------------

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        """Unordered; a key may come twice. Keys that are there from beginning to end come at least once."""
        position = scan.Position.decode(cursor, count)
        for _ in range(_EMPTY_PAGES):
            page = await scan.page(self._commands, self._prefix, prefix, position)
            if page.keys or page.cursor is None:
                break
            position = scan.Position.decode(page.cursor, count)
        keys, following = page.keys, page.cursor
        if len(keys) > count:
            keys = keys[:count]
            following = page.after(keys[-1])
        if not values:
            return ScanPage([(key, None) for key in keys], following, page.after)
        found = await self._batches.first([self._prefix + key for key in keys], _PAGE_BYTES)
        if len(found) < len(keys):
            following = page.after(keys[len(found) - 1])
        items: list[tuple[bytes, bytes | None]] = [
            (key, value) for key, value in zip(keys, found, strict=False) if value is not None]
        return ScanPage(items, following, page.after)

    async def count(self, prefix: bytes) -> int:
        """Exact while nothing changes."""
        seen: set[int] = set()
        total = 0
        cursor: bytes | None = scan.Position(0, scan.MOST_COUNT, 0).encode()
        while cursor is not None:
            page = await scan.page(self._commands, self._prefix, prefix, scan.Position.decode(cursor, 0))
            for key in page.keys:
                mark = hash(key)
                if mark not in seen:
                    total += 1
                    if len(seen) < _COUNTED_ONCE:
                        seen.add(mark)
            cursor = page.cursor
        return total

    # --- keyvalue_ttl -----------------------------------------------------------------------------------------------

    async def expire(self, key: bytes, ttl: float) -> bool:
        if not ttl:
            return await self.delete(key)
        return bool(await self._run(b"PEXPIRE", key, _milliseconds(ttl)))

    async def ttl(self, key: bytes) -> float | None:
        left = await self._run(b"PTTL", key)
        if left == -2:
            return None
        return math.inf if left < 0 else left / 1000

    async def persist(self, key: bytes) -> bool:
        return bool(await self._run(b"PERSIST", key))

    # --- keyvalue_batch ---------------------------------------------------------------------------------------------

    async def batch_set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        return await self._batches.set([(self._prefix + key, value) for key, value in items])

    async def batch_get(self, keys: Sequence[bytes]) -> list[bytes | PrismError | None]:
        return await self._batches.get([self._prefix + key for key in keys])

    async def batch_delete(self, keys: Sequence[bytes]) -> list[bool]:
        return await self._batches.delete([self._prefix + key for key in keys])

    # --- keyvalue_cas -----------------------------------------------------------------------------------------------

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        check_value(value, self._most)
        wanted = (b"0", b"") if expected is None else (b"1", expected)
        return _compared(await scripts.COMPARE_AND_SWAP.run(self._commands, self._prefix, [key], *wanted, value))

    async def compare_and_delete(self, key: bytes, expected: bytes) -> CasResult:
        return _compared(await scripts.COMPARE_AND_DELETE.run(self._commands, self._prefix, [key], expected))

    # --- for commands that rewrite a store ---------------------------------------------------------------------------

    async def replace(self, key: bytes, expected: bytes, value: bytes) -> bool:
        check_value(value, self._most)
        return bool(await scripts.REPLACE.run(self._commands, self._prefix, [key], expected, value))

    def kept_messages(self) -> AsyncIterator[KeptMessage]:
        return kept_messages(self._commands, self._config.names, self.queue)

    # --- keyvalue_transactional -------------------------------------------------------------------------------------

    async def get_versioned(self, key: bytes) -> tuple[bytes | None, int]:
        value = await self.get(key)
        return value, scripts.version_of(self._salt, value)

    async def commit(self, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
        """In a cluster all keys must be in one slot."""
        if not reads and not writes:
            return True
        for value in writes.values():
            check_value(value, self._most)
        done = await scripts.COMMIT.run(
            self._commands, self._prefix, [*reads, *writes], self._salt, b"%d" % len(reads),
            *map(scripts.digest_of, reads.values()), *writes.values())
        return bool(done)


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, min(math.ceil(seconds * 1000), _MOST_MS))


def _compared(reply: Reply) -> CasResult:
    return CasResult(True) if reply == 1 else CasResult(False, reply)
