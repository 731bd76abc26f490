"""One timer for many due times: the loop is asked for the earliest alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """`ring(now_ms)` runs when a time that `at` named has come; it returns the next one, 0 when there is none."""

    def __init__(self, ring: Callable[[int], int], now_ms: Callable[[], int]) -> None:
        self._ring = ring
        self._now_ms = now_ms
        self._due_ms = 0
        self._timer: asyncio.TimerHandle | None = None

    def at(self, due_ms: int) -> None:
        """Ring no later than this; 0 is never."""
        if not due_ms or (self._timer is not None and self._due_ms <= due_ms):
            return
        self.stop()
        self._due_ms = due_ms
        delay = max(due_ms - self._now_ms(), 0) / 1000
        self._timer = asyncio.get_running_loop().call_later(min(delay, 3600.0), self._run)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        now = self._now_ms()
        self.at(self._ring(now) if now >= self._due_ms else self._due_ms)
