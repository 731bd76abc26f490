"""Monotonic clocks for suites: one that tests move, and the real one, which native handlers read."""

from __future__ import annotations

import asyncio
import time


class RealClock:
    """`wait` takes its time."""

    def seconds(self) -> float:
        return time.monotonic()

    def nanoseconds(self) -> int:
        return time.monotonic_ns()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FakeClock(RealClock):
    """Time passes in `wait` alone, and at once."""

    def __init__(self) -> None:
        self._now = 1_000_000_000_000

    def seconds(self) -> float:
        return self._now / 1e9

    def nanoseconds(self) -> int:
        return self._now

    async def wait(self, seconds: float) -> None:
        self._now += int(seconds * 1e9)
