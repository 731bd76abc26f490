"""The meaning of the KeyValue methods, over a slot filled by any driver.

Callers have checked that the driver declares the interface of the method (`require`).
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from prism_proxy.contracts.driver import Driver
from prism_proxy.contracts.keyvalue import CasResult, KeyValueDriver, ScanPage
from prism_proxy.errors import PrismError, interface_not_supported, invalid
from prism_proxy.patterns.keyvalue import validation
from prism_proxy.patterns.keyvalue.declaration import KeyValueOptions
from prism_proxy.patterns.keyvalue.scan import ScannedItem, elements
from prism_proxy.patterns.keyvalue.transactions import Transactions
from prism_proxy.slots.slot import Slot

NO_EXPIRY = -1
NO_KEY = -2


class KeyValueStore(KeyValueDriver, Driver, Protocol):
    """A driver with all six interfaces and a driver's life."""


class KeyValuePattern:
    """One per namespace; `transactions` holds its open transactions."""

    def __init__(self, slot: Slot[KeyValueStore], options: KeyValueOptions, transactions: Transactions,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._slot = slot
        self._driver = slot.driver
        self._options = options
        self._clock = clock
        self.transactions = transactions

    def require(self, interface: str) -> None:
        """UNIMPLEMENTED, before any I/O, when the backend lacks an interface."""
        declaration = self._driver.declaration
        if interface not in declaration.interfaces:
            raise interface_not_supported(interface, declaration.name, tuple(sorted(declaration.interfaces)))

    def key(self, text: str) -> bytes:
        return validation.key(text, narrow=self._options.narrow_keys)

    # --- basic ------------------------------------------------------------------------------------------------------

    async def set(self, key: str, value: bytes) -> None:
        await self._slot.call("Set", self._driver.set, self.key(key), value)

    async def get(self, key: str) -> bytes | None:
        return await self._slot.call("Get", self._driver.get, self.key(key))

    async def delete(self, key: str) -> bool:
        return await self._slot.call("Delete", self._driver.delete, self.key(key))

    async def exists(self, key: str) -> bool:
        return await self._slot.call("Exists", self._driver.exists, self.key(key))

    # --- scan -------------------------------------------------------------------------------------------------------

    def scan(self, prefix: str, limit: int, cursor: bytes | None, *, values: bool) -> AsyncIterator[ScannedItem]:
        """Elements with `prefix`, at most `limit` (0 = all), fetched a page ahead of the reader."""
        validation.limit(limit)
        encoded = validation.prefix(prefix)

        async def fetch(after: bytes | None, count: int) -> ScanPage:
            try:
                return await self._slot.call("Scan", self._driver.scan, encoded, after, count, values=values)
            except ValueError as error:
                raise invalid("cursor", str(error), reason="INVALID_CURSOR",
                              constraint="the cursor of an element of this namespace") from None

        return elements(fetch, self._driver.cursor_after, cursor, limit, self._clock)

    async def count(self, prefix: str) -> int:
        return await self._slot.call("Count", self._driver.count, validation.prefix(prefix))

    # --- ttl --------------------------------------------------------------------------------------------------------

    async def expire(self, key: str, ttl_seconds: int) -> bool:
        """True when the key existed. 0 expires it now."""
        return await self._slot.call("Expire", self._driver.expire, self.key(key), validation.ttl(ttl_seconds))

    async def get_ttl(self, key: str) -> int:
        """Seconds left, rounded up; -1 without expiry, -2 without key."""
        left = await self._slot.call("GetTTL", self._driver.ttl, self.key(key))
        if left is None:
            return NO_KEY
        return NO_EXPIRY if math.isinf(left) else math.ceil(left)

    async def persist(self, key: str) -> bool:
        """True when an expiry was removed."""
        return await self._slot.call("Persist", self._driver.persist, self.key(key))

    # --- batch ------------------------------------------------------------------------------------------------------

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[PrismError | None]:
        """One result an item, in order; of a repeated key the last value wins. Not atomic."""
        validation.batch(items, "requests")
        results: list[PrismError | None] = [None] * len(items)
        valid: list[tuple[bytes, bytes]] = []
        positions: list[int] = []
        for position, (key, value) in enumerate(items):
            try:
                valid.append((self.key(key), value))
                positions.append(position)
            except PrismError as error:
                results[position] = error
        stored = await self._slot.call("BatchSet", self._driver.batch_set, valid)
        for position, result in zip(positions, stored, strict=True):
            results[position] = result
        return results

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | None]:
        validation.batch(keys, "keys")
        return await self._slot.call("BatchGet", self._driver.batch_get, [self.key(key) for key in keys])

    async def batch_delete(self, keys: Sequence[str]) -> list[bool]:
        validation.batch(keys, "keys")
        return await self._slot.call("BatchDelete", self._driver.batch_delete, [self.key(key) for key in keys])

    # --- cas --------------------------------------------------------------------------------------------------------

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> CasResult:
        return await self._slot.call("CompareAndSwap", self._driver.compare_and_swap, self.key(key), expected, value)

    async def compare_and_delete(self, key: str, expected: bytes) -> CasResult:
        return await self._slot.call("CompareAndDelete", self._driver.compare_and_delete, self.key(key), expected)

    # --- transactional ----------------------------------------------------------------------------------------------

    async def get_in_transaction(self, transaction_id: str, key: str) -> bytes | None:
        """The transaction's own write, or the value that Commit will insist on."""
        encoded = self.key(key)
        transaction = self.transactions.find(transaction_id)
        if encoded in transaction.writes:
            return transaction.writes[encoded]
        value, version = await self._slot.call("GetInTransaction", self._driver.get_versioned, encoded)
        self.transactions.find(transaction_id).read(encoded, version)  # it may have ended meanwhile
        return value

    def set_in_transaction(self, transaction_id: str, key: str, value: bytes) -> None:
        self.transactions.find(transaction_id).write(self.key(key), value)

    async def commit(self, transaction_id: str) -> int:
        """The number of writes that took effect. ABORTED when something read has changed since."""
        transaction = self.transactions.take(transaction_id)
        transaction.check()
        done = await self._slot.call("Commit", self._driver.commit, transaction.reads, transaction.writes)
        if not done:
            raise transaction.conflict()
        return len(transaction.writes)
