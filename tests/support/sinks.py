"""A place for deliveries, as a model offers it to a driver, that a test looks into."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from prism_proxy.errors import PrismError

T = TypeVar("T")


class CollectingSink(Generic[T]):
    """It takes `size` deliveries until `take` makes room."""

    def __init__(self, size: int = 1_000_000) -> None:
        self.size = size
        self.found: list[T] = []
        self.gaps: list[str] = []
        self.ended: list[PrismError | None] = []
        self._changed = asyncio.Event()

    @property
    def credit(self) -> int:
        return self.size - len(self.found)

    def push(self, delivery: T) -> bool:
        if self.credit <= 0:
            return False
        self.found.append(delivery)
        self._changed.set()
        return True

    async def room(self) -> None:
        while self.credit <= 0:
            await asyncio.sleep(0.005)

    def missed(self, count: int | None, why: str) -> None:
        self.gaps.append(why)
        self._changed.set()

    def end(self, error: PrismError | None) -> None:
        self.ended.append(error)
        self._changed.set()

    async def until(self, count: int, seconds: float = 10) -> list[T]:
        """The deliveries, when there are so many; they stay."""
        async with asyncio.timeout(seconds):
            while len(self.found) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.found

    async def take(self, count: int, seconds: float = 10) -> list[T]:
        """The first ones, which make room."""
        await self.until(count, seconds)
        taken, self.found = self.found[:count], self.found[count:]
        return taken

    async def over(self, seconds: float = 10) -> PrismError | None:
        """What it ended with."""
        async with asyncio.timeout(seconds):
            while not self.ended:
                self._changed.clear()
                await self._changed.wait()
        return self.ended[0]
