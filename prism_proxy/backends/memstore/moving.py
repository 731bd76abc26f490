"""The memory store's ends of a move to another process. Expiries are those of the source's clock until they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from prism_proxy._native.memstore import MemStore
from prism_proxy.contracts.movable import NEVER, Digest, Record, TooManyChangesError


class MemstoreOutgoing:
    """Implements `contracts.movable.Outgoing`. `now` is monotonic nanoseconds of the store's clock."""

    def __init__(self, store: MemStore) -> None:
        store.watch(True)
        self._store: MemStore | None = store
        self.clock = store.now_ns()

    async def page(self, after: bytes | None) -> tuple[Sequence[Record], bytes | None]:
        return self._watched().records(after)

    async def changes(self) -> Sequence[Record]:
        try:
            return self._watched().changes()
        except OverflowError as error:
            raise TooManyChangesError(str(error)) from error

    def horizon(self, seconds: float) -> int:
        return self._watched().now_ns() + int(seconds * 1e9)

    async def digest(self, horizon: int) -> Digest:
        return await digest(self._watched(), horizon, 0)

    async def seal(self) -> None:
        self._watched().sealed = True

    async def end(self) -> None:
        if self._store is not None:
            self._store.sealed = False
            self._store.watch(False)
            self._store = None

    def _watched(self) -> MemStore:
        if self._store is None:
            raise TooManyChangesError("the move has ended")
        return self._store


class MemstoreIncoming:
    """Implements `contracts.movable.Incoming`. A key lives as much longer here as its record was on its way."""

    def __init__(self, store: MemStore, clock: int) -> None:
        self._store = store
        self._shift = store.now_ns() - clock

    async def put(self, records: Sequence[Record]) -> None:
        for key, value, expires in records:
            if value is None:
                self._store.delete(key)
            elif expires == NEVER:
                self._store.set(key, value)
            else:
                self._store.put_until(key, value, expires + self._shift)

    async def digest(self, horizon: int) -> Digest:
        return await digest(self._store, horizon, self._shift)


async def digest(store: MemStore, horizon: int, shift: int) -> Digest:
    """Slice by slice, so that calls go on."""
    count, total = 0, 0
    after: bytes | None = None
    while True:
        records, part, after = store.digest(after, horizon, shift)
        count, total = count + records, (total + part) % 2**64
        if after is None:
            return Digest(count, total)
        await asyncio.sleep(0)
