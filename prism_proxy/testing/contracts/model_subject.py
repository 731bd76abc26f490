"""The suites' subject over the KeyValue model of a route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from prism_proxy.contracts.driver import Declaration
from prism_proxy.errors import PrismError, interface_not_supported
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.keyvalue.model import KeyValueModel
from prism_proxy.models.keyvalue.scan import ScannedItem
from prism_proxy.namespaces.snapshot import Route
from prism_proxy.testing.contracts.subject import Compared, Item, Refused


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except PrismError as error:
        raise Refused(error.code, error.reason, error.field_name) from error


class ModelSubject:
    def __init__(
        self, route: Route, declaration: Declaration, wait: Callable[[float], Awaitable[None]]
    ) -> None:
        self._route = route
        self.declaration = declaration
        self.wait = wait

    @contextmanager
    def _using(self, interface: str) -> Iterator[KeyValueModel]:
        """What implements an interface, as a servicer uses it: it is refused first where there is none."""
        with _answers():
            found = self._route.implementation(interface)
            if found is None:
                raise interface_not_supported(interface, self._route.backend, tuple(sorted(self._route.interfaces)),
                                              self._route.switch(interface))
            yield found

    async def set(self, key: str, value: bytes) -> None:
        with self._using(keyvalue.BASIC) as model:
            await model.set(key, value)

    async def get(self, key: str) -> bytes | None:
        with self._using(keyvalue.BASIC) as model:
            return await model.get(key)

    async def delete(self, key: str) -> None:
        with self._using(keyvalue.BASIC) as model:
            await model.delete(key)

    async def exists(self, key: str) -> bool:
        with self._using(keyvalue.BASIC) as model:
            return await model.exists(key)

    async def scan(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        with self._using(keyvalue.SCAN) as model:
            return await _items(model.scan(prefix, limit, cursor, values=True))

    async def scan_keys(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        with self._using(keyvalue.SCAN) as model:
            return await _items(model.scan(prefix, limit, cursor, values=False))

    async def count(self, prefix: str = "") -> int:
        with self._using(keyvalue.SCAN) as model:
            return await model.count(prefix)

    async def expire(self, key: str, ttl_seconds: int) -> bool:
        with self._using(keyvalue.TTL) as model:
            return await model.expire(key, ttl_seconds)

    async def get_ttl(self, key: str) -> int:
        with self._using(keyvalue.TTL) as model:
            return await model.get_ttl(key)

    async def persist(self, key: str) -> bool:
        with self._using(keyvalue.TTL) as model:
            return await model.persist(key)

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        with self._using(keyvalue.BATCH) as model:
            return [str(error or "") for error in await model.batch_set(items)]

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | str | None]:
        with self._using(keyvalue.BATCH) as model:
            found = await model.batch_get(keys)
            return [str(item) if isinstance(item, PrismError) else item for item in found]

    async def batch_delete(self, keys: Sequence[str]) -> list[str]:
        with self._using(keyvalue.BATCH) as model:
            return [str(item) if isinstance(item, PrismError) else "" for item in await model.batch_delete(keys)]

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> Compared:
        with self._using(keyvalue.CAS) as model:
            result = await model.compare_and_swap(key, expected, value)
        return Compared(result.done, result.actual)

    async def compare_and_delete(self, key: str, expected: bytes) -> Compared:
        with self._using(keyvalue.CAS) as model:
            result = await model.compare_and_delete(key, expected)
        return Compared(result.done, result.actual)

    async def begin(self, timeout_ms: int = 0, isolation: int = 0) -> str:
        with self._using(keyvalue.TRANSACTIONAL) as model:
            handle, _ = model.transactions.begin(timeout_ms, isolation)
            return handle

    async def set_in_transaction(self, transaction: str, key: str, value: bytes) -> None:
        with self._using(keyvalue.TRANSACTIONAL) as model:
            model.set_in_transaction(transaction, key, value)

    async def get_in_transaction(self, transaction: str, key: str) -> bytes | None:
        with self._using(keyvalue.TRANSACTIONAL) as model:
            return await model.get_in_transaction(transaction, key)

    async def commit(self, transaction: str) -> int:
        with self._using(keyvalue.TRANSACTIONAL) as model:
            return await model.commit(transaction)

    async def rollback(self, transaction: str) -> int:
        with self._using(keyvalue.TRANSACTIONAL) as model:
            model.transactions.take(transaction)
        return 0


async def _items(elements: AsyncIterator[ScannedItem]) -> list[Item]:
    return [Item(element.key, element.value, element.cursor) async for element in elements]
