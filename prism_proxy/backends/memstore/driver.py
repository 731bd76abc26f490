"""Driver of the native memory store.

Every method is done when it returns; the loop does the store's upkeep (expiry, eviction) in slices of `SLICE_NS`, so
that no call waits for more than a fraction of a millisecond behind it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from prism_proxy._native.memstore.store import MemStore, MessageBytes, StoreFull, StoreSealed
from prism_proxy.backends.memstore.config import DECLARATION, MemstoreConfig
from prism_proxy.backends.memstore.memory import Clock
from prism_proxy.backends.memstore.migration import MemstoreIncoming, MemstoreOutgoing
from prism_proxy.contracts.driver import Health, HealthReport
from prism_proxy.contracts.movable import Incoming, Outgoing, sealed
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.keyvalue.contract import CasResult, ScanPage

if TYPE_CHECKING:
    from prism_proxy.backends.memstore.queues import MemstoreQueues
    from prism_proxy.backends.memstore.streams import MemstoreStreams
    from prism_proxy.backends.memstore.topics import MemstoreTopics

ModelT = TypeVar("ModelT")
UPKEEP_SECONDS = 0.05
SLICE_NS = 200_000
SLICE_ITEMS = 100  # of a batch, between two yields to the loop
SLICE_BYTES = 256 * 1024
_CURSOR_VERSION = b"\x01"


class MemstoreDriver:
    """`native_store` lets native handlers work on the same store; `clock` is monotonic nanoseconds."""

    declaration = DECLARATION

    def __init__(self, config: MemstoreConfig, clock: Callable[[], int] | None = None) -> None:
        self.native_store = MemStore(config.max_bytes, config.max_keys, config.evict, clock)
        self.memory = MessageBytes(self.native_store, config.max_bytes, config.max_keys)
        self._now_ms = Clock(clock).now_ms
        self._messaging: list[Any] = []  # those of `pubsub`, `queue`, `stream` that are used
        self._config = config
        self._upkeep: asyncio.Task[None] | None = None

    # Made when they are first used: most processes keep no messages in memory, and pay nothing for them.

    @cached_property
    def pubsub(self) -> MemstoreTopics:
        from prism_proxy.backends.memstore.topics import MemstoreTopics

        return self._used(MemstoreTopics(self.memory, self._now_ms, self._refused))

    @cached_property
    def queue(self) -> MemstoreQueues:
        from prism_proxy.backends.memstore.queues import MemstoreQueues

        return self._used(MemstoreQueues(self.memory, self._now_ms, self._refused))

    @cached_property
    def stream(self) -> MemstoreStreams:
        from prism_proxy.backends.memstore.streams import MemstoreStreams

        return self._used(MemstoreStreams(self.memory, self._now_ms))

    def _used(self, model: ModelT) -> ModelT:
        self._messaging.append(model)
        return model

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())

    async def drain(self, deadline_s: float) -> None:
        """Nothing is ever in progress here."""

    async def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
        for model in self._messaging:
            model.close()
        self.native_store.watch(False)
        await self._empty()

    async def _empty(self) -> None:
        while self.native_store.clear(SLICE_ITEMS):  # noqa: ASYNC110 - yields between slices, waits for nothing
            await asyncio.sleep(0)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            for model in self._messaging:
                model.keep_up()
            while self.native_store.keep_up(SLICE_NS):  # noqa: ASYNC110 - yields between slices, waits for nothing
                await asyncio.sleep(0)

    def _refused(self, error: Exception) -> PrismError:
        found = self.classify(error)
        if found is None:
            raise error
        return found

    def adapts(self, config: MemstoreConfig) -> bool:
        """New bounds need no new store, which would be an empty one."""
        return config.evict == self._config.evict

    def adapt(self, config: MemstoreConfig) -> None:
        self.memory.resize(config.max_bytes, config.max_keys)
        self._config = config

    def health(self) -> HealthReport:
        counters = self.native_store.counters()
        details = {name: str(value) for name, value in counters.items()} | {"max_bytes": str(self._config.max_bytes)}
        full = self.native_store.is_full()
        message = f"full: {counters['keys']} keys; raise max_bytes or max_keys" if full else f"{counters['keys']} keys"
        return HealthReport(Health.DEGRADED if full else Health.HEALTHY, message, details, evicted=counters["evicted"],
                            stored_bytes=counters["bytes"] + self.memory.held)

    def classify(self, error: Exception) -> PrismError | None:
        if isinstance(error, StoreSealed):
            return sealed()
        if isinstance(error, StoreFull):
            return PrismError(
                StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL",
                f"the memory of this namespace is full ({self._config.max_bytes} bytes): delete keys, raise max_bytes"
                + (" or max_keys" if self._config.max_keys else ""), {"outcome": "not_executed"})
        return None

    # --- keyvalue_basic ---------------------------------------------------------------------------------------------

    async def set(self, key: bytes, value: bytes) -> None:
        self.native_store.set(key, value)

    async def get(self, key: bytes) -> bytes | None:
        return self.native_store.get(key)

    async def delete(self, key: bytes) -> bool:
        return self.native_store.delete(key)

    async def exists(self, key: bytes) -> bool:
        return self.native_store.exists(key)

    # --- keyvalue_scan ----------------------------------------------------------------------------------------------

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        after = None
        if cursor is not None:
            if cursor[:1] != _CURSOR_VERSION:
                raise ValueError("the cursor was not made by this namespace")
            after = cursor[1:]
        items, last = self.native_store.scan(prefix, after, count, values)
        return ScanPage(items, None if last is None else _cursor_after(last), _cursor_after)

    async def count(self, prefix: bytes) -> int:
        total, after = 0, None
        while True:
            items, after = self.native_store.scan(prefix, after, 1024, False)
            total += len(items)
            if after is None:
                return total
            await asyncio.sleep(0)

    # --- keyvalue_ttl -----------------------------------------------------------------------------------------------

    async def expire(self, key: bytes, ttl: float) -> bool:
        return self.native_store.expire(key, _nanoseconds(ttl))

    async def ttl(self, key: bytes) -> float | None:
        left = self.native_store.ttl_ns(key)
        if left is None:
            return None
        return math.inf if left < 0 else left / 1e9

    async def persist(self, key: bytes) -> bool:
        return self.native_store.persist(key)

    # --- keyvalue_batch ---------------------------------------------------------------------------------------------

    async def batch_set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        results: list[PrismError | None] = []
        pace = _Pace()
        for key, value in items:
            try:
                self.native_store.set(key, value)
                results.append(None)
            except (StoreFull, StoreSealed) as error:
                results.append(self.classify(error))
            if pace.slice_ends(len(value)):
                await asyncio.sleep(0)
        return results

    async def batch_get(self, keys: Sequence[bytes]) -> list[bytes | PrismError | None]:
        values: list[bytes | PrismError | None] = []
        pace, size = _Pace(), 0
        for key in keys:
            value = self.native_store.get(key)
            values.append(value)
            if value is not None:
                size += len(value)
                keyvalue.check_batch_bytes(len(values), size)
            if pace.slice_ends(len(value or b"")):
                await asyncio.sleep(0)
        return values

    async def batch_delete(self, keys: Sequence[bytes]) -> list[bool]:
        existed: list[bool] = []
        pace = _Pace()
        for key in keys:
            existed.append(self.native_store.delete(key))
            if pace.slice_ends(0):
                await asyncio.sleep(0)
        return existed

    # --- keyvalue_cas -----------------------------------------------------------------------------------------------

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        return CasResult(*self.native_store.compare_and_swap(key, expected, value))

    async def compare_and_delete(self, key: bytes, expected: bytes) -> CasResult:
        return CasResult(*self.native_store.compare_and_delete(key, expected))

    # --- keyvalue_transactional -------------------------------------------------------------------------------------

    async def get_versioned(self, key: bytes) -> tuple[bytes | None, int]:
        return self.native_store.get_versioned(key)

    async def commit(self, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
        return self.native_store.commit(reads, writes)

    # --- moving to another process ----------------------------------------------------------------------------------

    async def outgoing(self) -> Outgoing:
        if self.memory.held:
            raise PrismError(StatusCode.FAILED_PRECONDITION, "MESSAGES_DO_NOT_MOVE",
                             "this namespace holds messages of pubsub, queue or stream, which cannot move to another "
                             "proxy: consume or delete them first", {"outcome": "not_executed"})
        return MemstoreOutgoing(self.native_store)

    async def incoming(self, clock: int) -> Incoming:
        await self._empty()
        return MemstoreIncoming(self.native_store, clock)


class _Pace:
    """Tells a batch when it has worked long enough without a yield to the loop."""

    def __init__(self) -> None:
        self._items = self._bytes = 0

    def slice_ends(self, size: int) -> bool:
        self._items += 1
        self._bytes += size
        if self._items < SLICE_ITEMS and self._bytes < SLICE_BYTES:
            return False
        self._items = self._bytes = 0
        return True


def _cursor_after(key: bytes) -> bytes:
    return _CURSOR_VERSION + key


def _nanoseconds(seconds: float) -> int:
    """Longer than the store's clock can count is for ever, as far as a process lives."""
    return min(int(seconds * 1e9), 2**63 - 1)
