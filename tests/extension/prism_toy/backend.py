"""A backend that keeps counters in the memory of the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from prism_proxy.contracts.driver import Declaration, Health, HealthReport
from prism_proxy.errors import PrismError, StatusCode
from prism_runtime.settings import check, setting
from prism_toy.declaration import BASIC
from prism_toy.native import Numbers


@dataclass(frozen=True, slots=True)
class TallyConfig:
    """Settings of a tally."""

    start: int = setting("What counters begin with.", 0, minimum=0)

    def __post_init__(self) -> None:
        check(self)


class Tally:
    config_class = TallyConfig
    declaration = Declaration("tally", frozenset({BASIC}), state="local", durability="volatile")
    native = "prism_toy.native:handlers"  # what serves calls past this class, over `native_store`

    def __init__(self, config: TallyConfig) -> None:
        self.native_store = Numbers(config.start)
        self._changed = asyncio.Condition()

    async def open(self) -> None:
        """There is nothing to open."""

    async def drain(self, deadline_s: float) -> None:
        """Nothing is ever in progress."""

    async def close(self) -> None:
        self.native_store.values.clear()

    def health(self) -> HealthReport:
        numbers = self.native_store
        return HealthReport(Health.HEALTHY, f"{len(numbers.values)} counters",
                            {"answered_natively": str(numbers.answered)})

    def classify(self, error: Exception) -> PrismError | None:
        if isinstance(error, OverflowError):
            return PrismError(StatusCode.RESOURCE_EXHAUSTED, "COUNTER_FULL", str(error), {"outcome": "not_executed"})
        return None

    async def add(self, name: str, by: int, limit: int) -> int:
        value = await self.value(name) + by
        if value > limit:
            raise OverflowError(f"counter {name!r} would be {value}: the limit is {limit}")
        self.native_store.set(name.encode(), value)
        async with self._changed:
            self._changed.notify_all()
        return value

    async def value(self, name: str) -> int:
        return self.native_store.get(name.encode())

    async def watch(self, name: str) -> AsyncIterator[int]:
        last = None
        while True:
            value = await self.value(name)
            if value != last:
                last = value
                yield value
                continue
            async with self._changed:
                await self._changed.wait()
