"""The memory store's ends of a move to another process. Expiries are those of the source's clock until they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from prism_proxy._native.keyvalue.record_digest import hashes_of
from prism_proxy._native.memstore.store import MemStore
from prism_proxy.contracts.movable import NEVER, Digest, Record, Span, TooManyChangesError


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

    async def digest(self, span: Span, horizon: int) -> tuple[Digest, bytes | None]:
        records, total, until = self._watched().digest(span.after, span.until, horizon, 0)
        return Digest(records, total), until

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        return await _hashes(self._watched(), span, horizon, 0)

    async def digest_of(self, keys: Sequence[bytes], horizon: int) -> Digest:
        return Digest(*self._watched().digest_of(keys, horizon, 0))

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
        self._watching = False

    async def put(self, records: Sequence[Record]) -> None:
        for key, value, expires in records:
            if value is None:
                self._store.delete(key)
            elif expires == NEVER:
                self._store.set(key, value)
            else:
                self._store.put_until(key, value, expires + self._shift)

    async def put_proven(self, records: Sequence[Record], horizon: int) -> Digest:
        await self.put(records)
        keys = [key for key, _, _ in records]
        self._store.forget(keys)
        return Digest(*self._store.digest_of(keys, horizon, self._shift))

    async def digest(self, span: Span, horizon: int) -> Digest:
        """Slice by slice, so that calls of others go on."""
        if not self._watching:
            self._store.watch(True)
            self._watching = True
        count, total, after = 0, 0, span.after
        while True:
            records, part, after = self._store.digest(after, span.until, horizon, self._shift)
            count, total = count + records, (total + part) % 2**64
            if after == span.until:
                return Digest(count, total)
            await asyncio.sleep(0)

    async def hashes(self, span: Span, horizon: int) -> Mapping[bytes, int]:
        return await _hashes(self._store, span, horizon, self._shift)

    async def unexpected_keys(self, horizon: int) -> tuple[Sequence[bytes], Digest]:
        try:
            keys = [key for key, _, _ in self._store.changes()]
        except OverflowError as error:
            raise TooManyChangesError(str(error)) from error
        return keys, Digest(*self._store.digest_of(keys, horizon, self._shift))

    async def end(self) -> None:
        if self._watching:
            self._store.watch(False)
            self._watching = False


async def _hashes(store: MemStore, span: Span, horizon: int, shift: int) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    after = span.after
    while True:
        records, after = store.records(after)
        found |= hashes_of(((key, value, expires if expires == NEVER else expires - shift)
                            for key, value, expires in records if span.until is None or key <= span.until), horizon)
        if after is None or (span.until is not None and after >= span.until):
            return found
        await asyncio.sleep(0)
