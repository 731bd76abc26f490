"""The smallest drivers that keep the contract: a dict, and half of a dict.

They show that the suites hold for more than one implementation, and what a driver must do at least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.keyvalue.contract import CasResult, ScanPage, check_batch_bytes


class _Entry(NamedTuple):
    value: bytes
    version: int
    expires: float


class _Life:
    async def open(self) -> None: ...

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> HealthReport:
        return HealthReport(Health.HEALTHY)

    def classify(self, error: Exception) -> PrismError | None:
        return None


class PlainDriver(_Life):
    """All six interfaces. `clock` is monotonic seconds."""

    declaration = Declaration("plain", keyvalue.ALL, state="local", durability="volatile")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._versions = itertools.count(1)

    def _find(self, key: bytes) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.expires <= self._clock():
            del self._entries[key]
            return None
        return entry

    def _put(self, key: bytes, value: bytes, expires: float = math.inf) -> None:
        self._entries[key] = _Entry(value, next(self._versions), expires)

    async def set(self, key: bytes, value: bytes) -> None:
        self._put(key, value)

    async def get(self, key: bytes) -> bytes | None:
        entry = self._find(key)
        return entry.value if entry else None

    async def delete(self, key: bytes) -> bool:
        existed = self._find(key) is not None
        self._entries.pop(key, None)
        return existed

    async def exists(self, key: bytes) -> bool:
        return self._find(key) is not None

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        if cursor is not None and not cursor.startswith(b"after:"):
            raise ValueError("not a cursor of this driver")
        after = cursor[6:] if cursor is not None else b""
        keys = sorted(key for key in list(self._entries) if key.startswith(prefix) and key > after and self._find(key))
        page = [(key, self._entries[key].value if values else None) for key in keys[:count]]
        return ScanPage(page, _cursor_after(page[-1][0]) if len(keys) > count else None, _cursor_after)

    async def count(self, prefix: bytes) -> int:
        return sum(1 for key in list(self._entries) if key.startswith(prefix) and self._find(key))

    async def expire(self, key: bytes, ttl: float) -> bool:
        entry = self._find(key)
        if entry is not None:
            self._entries[key] = entry._replace(expires=self._clock() + ttl)
        return entry is not None

    async def ttl(self, key: bytes) -> float | None:
        entry = self._find(key)
        return entry.expires - self._clock() if entry else None

    async def persist(self, key: bytes) -> bool:
        entry = self._find(key)
        if entry is None or math.isinf(entry.expires):
            return False
        self._entries[key] = entry._replace(expires=math.inf)
        return True

    async def batch_set(self, items: Sequence[tuple[bytes, bytes]]) -> list[PrismError | None]:
        for key, value in items:
            self._put(key, value)
        return [None] * len(items)

    async def batch_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = []
        size = 0
        for key in keys:
            values.append(await self.get(key))
            size += len(values[-1] or b"")
            check_batch_bytes(len(values), size)
        return values

    async def batch_delete(self, keys: Sequence[bytes]) -> list[bool]:
        return [await self.delete(key) for key in keys]

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        actual = await self.get(key)
        if actual != expected:
            return CasResult(False, actual)
        self._put(key, value)
        return CasResult(True)

    async def compare_and_delete(self, key: bytes, expected: bytes) -> CasResult:
        actual = await self.get(key)
        if actual != expected:
            return CasResult(False, actual)
        del self._entries[key]
        return CasResult(True)

    async def get_versioned(self, key: bytes) -> tuple[bytes | None, int]:
        entry = self._find(key)
        return (entry.value, entry.version) if entry else (None, 0)

    async def commit(self, reads: Mapping[bytes, int], writes: Mapping[bytes, bytes]) -> bool:
        for key, version in reads.items():
            if (await self.get_versioned(key))[1] != version:
                return False
        for key, value in writes.items():
            self._put(key, value)
        return True


class BasicDriver(_Life):
    """Only keyvalue_basic: a call of any other interface would be an AttributeError here."""

    declaration = Declaration("basic", frozenset({keyvalue.BASIC}), state="local", durability="volatile")

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    async def set(self, key: bytes, value: bytes) -> None:
        self._values[key] = value

    async def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    async def delete(self, key: bytes) -> bool:
        return self._values.pop(key, None) is not None

    async def exists(self, key: bytes) -> bool:
        return key in self._values


def _cursor_after(key: bytes) -> bytes:
    return b"after:" + key
