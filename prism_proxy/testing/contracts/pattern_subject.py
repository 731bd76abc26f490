"""The suites' subject over the key-value pattern."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from prism_proxy.contracts import keyvalue
from prism_proxy.contracts.driver import Declaration
from prism_proxy.errors import PrismError
from prism_proxy.patterns.keyvalue.pattern import KeyValuePattern
from prism_proxy.patterns.keyvalue.scan import ScannedItem
from prism_proxy.testing.contracts.subject import Compared, Item, Refused


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except PrismError as error:
        raise Refused(error.code, error.reason, error.field_name) from error


class PatternSubject:
    def __init__(
        self, pattern: KeyValuePattern, declaration: Declaration, wait: Callable[[float], Awaitable[None]]
    ) -> None:
        self._pattern = pattern
        self.declaration = declaration
        self.wait = wait

    @contextmanager
    def _using(self, interface: str) -> Iterator[KeyValuePattern]:
        """The pattern, as a servicer uses it: the interface is required first."""
        with _answers():
            self._pattern.require(interface)
            yield self._pattern

    async def set(self, key: str, value: bytes) -> None:
        with self._using(keyvalue.BASIC) as pattern:
            await pattern.set(key, value)

    async def get(self, key: str) -> bytes | None:
        with self._using(keyvalue.BASIC) as pattern:
            return await pattern.get(key)

    async def delete(self, key: str) -> None:
        with self._using(keyvalue.BASIC) as pattern:
            await pattern.delete(key)

    async def exists(self, key: str) -> bool:
        with self._using(keyvalue.BASIC) as pattern:
            return await pattern.exists(key)

    async def scan(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        with self._using(keyvalue.SCAN) as pattern:
            return await _items(pattern.scan(prefix, limit, cursor, values=True))

    async def scan_keys(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        with self._using(keyvalue.SCAN) as pattern:
            return await _items(pattern.scan(prefix, limit, cursor, values=False))

    async def count(self, prefix: str = "") -> int:
        with self._using(keyvalue.SCAN) as pattern:
            return await pattern.count(prefix)

    async def expire(self, key: str, ttl_seconds: int) -> bool:
        with self._using(keyvalue.TTL) as pattern:
            return await pattern.expire(key, ttl_seconds)

    async def get_ttl(self, key: str) -> int:
        with self._using(keyvalue.TTL) as pattern:
            return await pattern.get_ttl(key)

    async def persist(self, key: str) -> bool:
        with self._using(keyvalue.TTL) as pattern:
            return await pattern.persist(key)

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        with self._using(keyvalue.BATCH) as pattern:
            return [str(error or "") for error in await pattern.batch_set(items)]

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._using(keyvalue.BATCH) as pattern:
            return await pattern.batch_get(keys)

    async def batch_delete(self, keys: Sequence[str]) -> None:
        with self._using(keyvalue.BATCH) as pattern:
            await pattern.batch_delete(keys)

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> Compared:
        with self._using(keyvalue.CAS) as pattern:
            result = await pattern.compare_and_swap(key, expected, value)
        return Compared(result.done, result.actual)

    async def compare_and_delete(self, key: str, expected: bytes) -> Compared:
        with self._using(keyvalue.CAS) as pattern:
            result = await pattern.compare_and_delete(key, expected)
        return Compared(result.done, result.actual)

    async def begin(self, timeout_ms: int = 0, isolation: int = 0) -> str:
        with self._using(keyvalue.TRANSACTIONAL) as pattern:
            return pattern.transactions.begin(timeout_ms, isolation)[0]

    async def set_in_transaction(self, transaction: str, key: str, value: bytes) -> None:
        with self._using(keyvalue.TRANSACTIONAL) as pattern:
            pattern.set_in_transaction(transaction, key, value)

    async def get_in_transaction(self, transaction: str, key: str) -> bytes | None:
        with self._using(keyvalue.TRANSACTIONAL) as pattern:
            return await pattern.get_in_transaction(transaction, key)

    async def commit(self, transaction: str) -> int:
        with self._using(keyvalue.TRANSACTIONAL) as pattern:
            return await pattern.commit(transaction)

    async def rollback(self, transaction: str) -> int:
        with self._using(keyvalue.TRANSACTIONAL) as pattern:
            pattern.transactions.take(transaction)
        return 0


async def _items(elements: AsyncIterator[ScannedItem]) -> list[Item]:
    return [Item(element.key, element.value, element.cursor) async for element in elements]
