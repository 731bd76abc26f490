"""The suites' subject over a bare driver. Of a transaction it keeps what the pattern would keep, and no more."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prism_proxy.contracts.driver import Declaration
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.model import KeyValueStore
from prism_proxy.testing.contracts.subject import Compared, Item, Refused

Result = TypeVar("Result")
PAGE = 7  # odd and small, so that most scans need several pages


@dataclass
class _Transaction:
    reads: dict[bytes, int] = field(default_factory=dict)
    writes: dict[bytes, bytes] = field(default_factory=dict)


class DriverSubject:
    def __init__(self, driver: KeyValueStore, wait: Callable[[float], Awaitable[None]]) -> None:
        self._driver = driver
        self._transactions: dict[str, _Transaction] = {}
        self.wait = wait

    @property
    def declaration(self) -> Declaration:
        return self._driver.declaration

    async def _call(self, command: Awaitable[Result]) -> Result:
        try:
            return await command
        except PrismError as error:
            raise Refused(error.code, error.reason, error.field_name) from error
        except Exception as error:
            found = self._driver.classify(error)
            if found is None:
                raise
            raise Refused(found.code, found.reason, found.field_name) from error

    async def set(self, key: str, value: bytes) -> None:
        await self._call(self._driver.set(key.encode(), value))

    async def get(self, key: str) -> bytes | None:
        return await self._call(self._driver.get(key.encode()))

    async def delete(self, key: str) -> None:
        existed = await self._call(self._driver.exists(key.encode()))
        deleted = await self._call(self._driver.delete(key.encode()))
        assert existed or not deleted, "delete said that a missing key existed"

    async def exists(self, key: str) -> bool:
        return await self._call(self._driver.exists(key.encode()))

    async def scan(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        return await self._scan(prefix, limit, cursor, values=True)

    async def scan_keys(self, prefix: str = "", limit: int = 0, cursor: bytes | None = None) -> list[Item]:
        return await self._scan(prefix, limit, cursor, values=False)

    async def _scan(self, prefix: str, limit: int, cursor: bytes | None, *, values: bool) -> list[Item]:
        found: list[Item] = []
        while not limit or len(found) < limit:
            count = min(PAGE, limit - len(found)) if limit else PAGE
            try:
                page = await self._call(self._driver.scan(prefix.encode(), cursor, count, values=values))
            except ValueError as error:
                raise Refused(StatusCode.INVALID_ARGUMENT, "INVALID_CURSOR", "cursor") from error
            found += [Item(key.decode(), value, page.after(key)) for key, value in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        return found

    async def count(self, prefix: str = "") -> int:
        return await self._call(self._driver.count(prefix.encode()))

    async def expire(self, key: str, ttl_seconds: int) -> bool:
        return await self._call(self._driver.expire(key.encode(), ttl_seconds))

    async def get_ttl(self, key: str) -> int:
        left = await self._call(self._driver.ttl(key.encode()))
        if left is None:
            return -2
        return -1 if math.isinf(left) else math.ceil(left)

    async def persist(self, key: str) -> bool:
        return await self._call(self._driver.persist(key.encode()))

    async def batch_set(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        results = await self._call(self._driver.batch_set([(key.encode(), value) for key, value in items]))
        return [str(error or "") for error in results]

    async def batch_get(self, keys: Sequence[str]) -> list[bytes | str | None]:
        found = await self._call(self._driver.batch_get([key.encode() for key in keys]))
        return [str(item) if isinstance(item, PrismError) else item for item in found]

    async def batch_delete(self, keys: Sequence[str]) -> list[str]:
        assert len(await self._call(self._driver.batch_delete([key.encode() for key in keys]))) == len(keys)
        return [""] * len(keys)

    async def compare_and_swap(self, key: str, expected: bytes | None, value: bytes) -> Compared:
        result = await self._call(self._driver.compare_and_swap(key.encode(), expected, value))
        return Compared(result.done, result.actual)

    async def compare_and_delete(self, key: str, expected: bytes) -> Compared:
        result = await self._call(self._driver.compare_and_delete(key.encode(), expected))
        return Compared(result.done, result.actual)

    async def begin(self, timeout_ms: int = 0, isolation: int = 0) -> str:
        handle = str(len(self._transactions))
        self._transactions[handle] = _Transaction()
        return handle

    async def set_in_transaction(self, transaction: str, key: str, value: bytes) -> None:
        self._transactions[transaction].writes[key.encode()] = value

    async def get_in_transaction(self, transaction: str, key: str) -> bytes | None:
        open_one = self._transactions[transaction]
        if key.encode() in open_one.writes:
            return open_one.writes[key.encode()]
        value, version = await self._call(self._driver.get_versioned(key.encode()))
        assert (version == 0) == (value is None), "version 0 means absence, and nothing else does"
        open_one.reads.setdefault(key.encode(), version)
        return value

    async def commit(self, transaction: str) -> int:
        ended = self._transactions[transaction]
        if not await self._call(self._driver.commit(ended.reads, ended.writes)):
            raise Refused(StatusCode.ABORTED, "TRANSACTION_CONFLICT")
        return len(ended.writes)

    async def rollback(self, transaction: str) -> int:
        self._transactions[transaction] = _Transaction()
        return 0
