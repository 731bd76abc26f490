"""The meaning of the KeyValue methods, over a slot filled by any driver.

Callers have checked that the namespace offers the interface of the method. The `caller` of a method is the
context of its gRPC call, whose deadline bounds what the slot waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from prism_proxy.contracts.driver import Driver
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.models.keyvalue import operations, validation
from prism_proxy.models.keyvalue.contract import CAS, SCAN, CasResult, KeyValueDriver, ScanPage
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.models.keyvalue.scan import ScannedItem, elements
from prism_proxy.models.keyvalue.transactions import Transactions
from prism_proxy.models.keyvalue.values import ValueChain
from prism_proxy.slots.composition import Part, Surroundings
from prism_proxy.slots.operation import Caller
from prism_proxy.slots.slot import Slot
from prism_runtime.tasks import cancel

NO_EXPIRY = -1
NO_KEY = -2
INSPECTED = 1000  # stored values that steps see when a namespace is activated
_T = TypeVar("_T")


class KeyValueStore(KeyValueDriver, Driver, Protocol):
    """A driver with all six interfaces and a driver's life."""


class KeyValueModel(Part):
    """One per namespace and configuration; `transactions` holds the open transactions of the namespace."""

    def __init__(self, slot: Slot[KeyValueStore], options: KeyValueOptions, surroundings: Surroundings = Surroundings(),
                 previous: KeyValueModel | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._slot = slot
        self._driver = slot.driver
        self._options = options
        self._clock = clock
        self._values = ValueChain(surroundings.chain) if surroundings.chain.values else None
        self._inspection: asyncio.Task[None] | None = None
        self.transactions: Transactions = (
            Transactions(surroundings.process) if previous is None else previous.transactions.shared())

    @property
    def native(self) -> bool:
        """Whether native handlers do what this model does: they know only the ordinary rules for keys, and of steps
        those that have a native part."""
        return not self._options.narrow_keys and (self._values is None or self._values.native)

    async def open(self) -> None:
        if self._values is not None and self._values.inspects and SCAN in self._driver.declaration.interfaces:
            self._inspection = asyncio.get_running_loop().create_task(self._inspect())

    async def _inspect(self) -> None:
        """Let the steps see some stored values, so that they say at once what they would refuse."""
        with contextlib.suppress(PrismError):
            page = await self._slot.call(
                operations.SCAN_FIRST, None, self._driver.scan, b"", None, INSPECTED, values=True)
            self._values.inspect([stored for _, stored in page.items if stored is not None])  # type: ignore[union-attr]

    async def close(self) -> None:
        await cancel([self._inspection])
        self.transactions.close()

    def key(self, text: str) -> bytes:
        return validation.key(text, narrow=self._options.narrow_keys)

    # --- basic ------------------------------------------------------------------------------------------------------

    async def set(self, key: str, value: bytes, caller: Caller | None = None) -> None:
        encoded = self.key(key)
        if self._values is not None:
            value = await self._values.seal(encoded, value)
        await self._slot.call(operations.SET, caller, self._driver.set, encoded, value)

    async def get(self, key: str, caller: Caller | None = None) -> bytes | None:
        encoded = self.key(key)
        found = await self._slot.call(operations.GET, caller, self._driver.get, encoded)
        return found if self._values is None or found is None else await self._values.unseal(encoded, found)

    async def delete(self, key: str, caller: Caller | None = None) -> bool:
        return await self._slot.call(operations.DELETE, caller, self._driver.delete, self.key(key))

    async def exists(self, key: str, caller: Caller | None = None) -> bool:
        return await self._slot.call(operations.EXISTS, caller, self._driver.exists, self.key(key))

    # --- scan -------------------------------------------------------------------------------------------------------

    def scan(self, prefix: str, limit: int, cursor: bytes | None, caller: Caller | None = None, *,
             values: bool) -> AsyncIterator[ScannedItem]:
        """Elements with `prefix`, at most `limit` (0 = all), fetched a page ahead of the reader."""
        validation.limit(limit)
        encoded = validation.prefix(prefix)
        operation = operations.SCAN_FIRST

        async def fetch(after: bytes | None, count: int) -> ScanPage:
            nonlocal operation
            try:
                page = await self._slot.call(
                    operation, caller, self._driver.scan, encoded, after, count, values=values)
            except ValueError as error:
                raise invalid("cursor", str(error), reason="INVALID_CURSOR",
                              constraint="the cursor of an element of this namespace") from None
            if page.items:
                operation = operations.SCAN_ON
            return page

        return elements(fetch, cursor, limit, self._clock, self._values.unseal if self._values is not None else None)

    async def count(self, prefix: str, caller: Caller | None = None) -> int:
        return await self._slot.call(operations.COUNT, caller, self._driver.count, validation.prefix(prefix))

    # --- ttl --------------------------------------------------------------------------------------------------------

    async def expire(self, key: str, ttl_seconds: int, caller: Caller | None = None) -> bool:
        """True when the key existed. 0 expires it now."""
        return await self._slot.call(
            operations.EXPIRE, caller, self._driver.expire, self.key(key), validation.ttl(ttl_seconds))

    async def get_ttl(self, key: str, caller: Caller | None = None) -> int:
        """Seconds left, rounded up; -1 without expiry, -2 without key."""
        left = await self._slot.call(operations.GET_TTL, caller, self._driver.ttl, self.key(key))
        if left is None:
            return NO_KEY
        return NO_EXPIRY if math.isinf(left) else math.ceil(left)

    async def persist(self, key: str, caller: Caller | None = None) -> bool:
        """True when an expiry was removed."""
        return await self._slot.call(operations.PERSIST, caller, self._driver.persist, self.key(key))

    # --- batch ------------------------------------------------------------------------------------------------------

    async def batch_set(
        self, items: Sequence[tuple[str, bytes]], caller: Caller | None = None
    ) -> list[PrismError | None]:
        """One result an item, in order; of a repeated key the last value wins. Not atomic."""
        validation.batch(items, "requests")
        keys, errors = self._keys([key for key, _ in items])
        valid = [(key, value) for key, (_, value) in zip(keys, items, strict=True) if key is not None]
        if self._values is not None:
            valid = [(key, await self._values.seal(key, value)) for key, value in valid]
        stored = await self._slot.call(operations.BATCH_SET, caller, self._driver.batch_set, valid)
        return _with_errors(stored, errors)

    async def batch_get(
        self, keys: Sequence[str], caller: Caller | None = None
    ) -> list[bytes | PrismError | None]:
        """One result a key, in order; None when there is no such key."""
        validation.batch(keys, "keys")
        encoded, errors = self._keys(keys)
        valid = [key for key in encoded if key is not None]
        found = await self._slot.call(
            operations.BATCH_GET, caller, self._driver.batch_get, valid)
        if self._values is not None:
            found = [await self._values.result(key, stored) for key, stored in zip(valid, found, strict=True)]
        return _with_errors(found, errors)

    async def batch_delete(self, keys: Sequence[str], caller: Caller | None = None) -> list[bool | PrismError]:
        """One result a key, in order; True when it existed."""
        validation.batch(keys, "keys")
        encoded, errors = self._keys(keys)
        valid = [key for key in encoded if key is not None]
        return _with_errors(
            await self._slot.call(operations.BATCH_DELETE, caller, self._driver.batch_delete, valid), errors)

    def _keys(self, texts: Sequence[str]) -> tuple[list[bytes | None], list[PrismError | None]]:
        """The keys of a batch; None with the error beside it for one that cannot be used, which costs its item only."""
        keys: list[bytes | None] = []
        errors: list[PrismError | None] = []
        for text in texts:
            try:
                keys.append(self.key(text))
                errors.append(None)
            except PrismError as error:
                keys.append(None)
                errors.append(error)
        return keys, errors

    # --- cas --------------------------------------------------------------------------------------------------------

    async def compare_and_swap(
        self, key: str, expected: bytes | None, value: bytes, caller: Caller | None = None
    ) -> CasResult:
        self._refuse_comparison()
        return await self._slot.call(
            operations.COMPARE_AND_SWAP, caller, self._driver.compare_and_swap, self.key(key), expected, value)

    async def compare_and_delete(self, key: str, expected: bytes, caller: Caller | None = None) -> CasResult:
        self._refuse_comparison()
        return await self._slot.call(
            operations.COMPARE_AND_DELETE, caller, self._driver.compare_and_delete, self.key(key), expected)

    def _refuse_comparison(self) -> None:
        if self._values is not None:
            raise PrismError(StatusCode.UNIMPLEMENTED, "ENCRYPTED_NAMESPACE",
                             "values of this namespace are encrypted, so its store cannot compare them: use a "
                             "transaction instead", interface=CAS)

    # --- transactional ----------------------------------------------------------------------------------------------

    async def get_in_transaction(self, transaction_id: str, key: str, caller: Caller | None = None) -> bytes | None:
        """The transaction's own write, or the value that Commit will insist on."""
        encoded = self.key(key)
        transaction = self.transactions.find(transaction_id)
        if encoded in transaction.writes:
            return transaction.writes[encoded]
        value, version = await self._slot.call(
            operations.GET_IN_TRANSACTION, caller, self._driver.get_versioned, encoded)
        self.transactions.find(transaction_id).read(encoded, version)  # it may have ended meanwhile
        return value if self._values is None or value is None else await self._values.unseal(encoded, value)

    def set_in_transaction(self, transaction_id: str, key: str, value: bytes) -> None:
        self.transactions.find(transaction_id).write(self.key(key), value)

    async def commit(self, transaction_id: str, caller: Caller | None = None) -> int:
        """The number of writes that took effect. ABORTED when something read has changed since."""
        transaction = self.transactions.take(transaction_id)
        transaction.check()
        writes = transaction.writes
        if self._values is not None:
            writes = {key: await self._values.seal(key, value) for key, value in writes.items()}
        done = await self._slot.call(operations.COMMIT, caller, self._driver.commit, transaction.reads, writes)
        if not done:
            raise transaction.conflict()
        return len(transaction.writes)


def _with_errors(results: Iterable[_T], errors: Sequence[PrismError | None]) -> list[_T | PrismError]:
    """The results of a batch in the order of its items: those of valid items, and the errors of the others."""
    valid = iter(results)
    return [next(valid) if error is None else error for error in errors]
