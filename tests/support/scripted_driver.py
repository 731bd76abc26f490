"""A shared backend that does what a test says, call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.keyvalue.contract import CasResult, ScanPage

Fate = Exception | float | None


class RefusedError(ConnectionError):
    """Nothing was sent."""


class LostError(ConnectionError):
    """The connection ended before the reply."""


class FullError(Exception):
    """The store is full: nobody's fault but the caller's."""


class BusyError(Exception):
    """The driver's own queue is full."""


class AnsweredError(Exception):
    """The backend itself answered that it cannot do this now."""


class TimedOutError(Exception):
    """The backend did not answer in time."""


_ERRORS = {
    RefusedError: (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", {"outcome": "not_executed", "phase": "connect"}),
    LostError: (StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", {"outcome": "unknown", "phase": "await"}),
    TimedOutError: (StatusCode.DEADLINE_EXCEEDED, "BACKEND_TIMEOUT", {"outcome": "unknown", "phase": "await"}),
    AnsweredError: (StatusCode.UNAVAILABLE, "BACKEND_BUSY", {"outcome": "not_executed", "phase": "execute"}),
    BusyError: (StatusCode.UNAVAILABLE, "POOL_EXHAUSTED", {"outcome": "not_executed", "phase": "admit"}),
    FullError: (StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", {"outcome": "not_executed"}),
}


class ScriptedDriver:
    """`script` gives the fate of each call in turn: an exception to raise, seconds to take, or None; then `always`."""

    declaration = Declaration("scripted", keyvalue.ALL, state="shared", durability="volatile")

    def __init__(self, script: Iterable[Fate] = (), always: Fate = None) -> None:
        self.script: Iterator[Fate] = iter(script)
        self.always = always
        self.calls: list[str] = []
        self.status = Health.HEALTHY
        self.closed = False

    async def open(self) -> None: ...
    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None:
        self.closed = True

    def health(self) -> HealthReport:
        return HealthReport(self.status, "as the test says", closed=self.closed)

    def classify(self, error: Exception) -> PrismError | None:
        found = _ERRORS.get(type(error))
        return None if found is None else PrismError(found[0], found[1], type(error).__name__, found[2])

    async def _meet(self, call: str) -> None:
        self.calls.append(call)
        fate = next(self.script, self.always)
        if isinstance(fate, Exception):
            raise fate
        if fate is not None:
            await asyncio.sleep(fate)

    async def get(self, key: bytes) -> bytes | None:
        await self._meet("get")
        return b"value"

    async def set(self, key: bytes, value: bytes) -> None:
        await self._meet("set")

    async def delete(self, key: bytes) -> bool:
        await self._meet("delete")
        return True

    async def exists(self, key: bytes) -> bool:
        await self._meet("exists")
        return True

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes) -> CasResult:
        await self._meet("compare_and_swap")
        return CasResult(True)

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        """Pages of one element, without end."""
        await self._meet("scan")
        return ScanPage([(b"key", b"value")], b"cursor", lambda key: b"cursor")
