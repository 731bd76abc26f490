"""When messages become ready by themselves: one timer for the earliest moment that is known."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

from prism_proxy.errors import PrismError

LATE_S = 0.5  # until the next try, when the last one failed


class Agenda:
    """`work` does what is due and returns the next moment in wall time, or 0. `now_ms` is wall time."""

    def __init__(self, work: Callable[[], Awaitable[int]], now_ms: Callable[[], int]) -> None:
        self._work = work
        self._now_ms = now_ms
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def at(self, moment_ms: int) -> None:
        """Something is due then; 0 = nothing."""
        if not moment_ms or self._closed or (self._next and self._next <= moment_ms):
            return
        self._next = moment_ms
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, moment_ms - self._now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(min(delay, 3600.0), self._begin)

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _begin(self) -> None:
        self._timer, self._next = None, 0
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
        else:
            self._running.add_done_callback(lambda _: self.at(self._now_ms()))

    async def _run(self) -> None:
        try:
            following = await self._work()
        except (PrismError, sqlite3.Error):  # the store is away, which its health and the log tell
            following = self._now_ms() + int(LATE_S * 1000)
        self.at(following)
