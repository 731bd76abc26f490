"""Calls take turns at a backend: as many at once as its limit allows, the others in line.

Bulk work (scans, batches) may fill nine tenths of the limit, and has a line of its own, behind the other: it is shed
first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prism_proxy.slots.limit import AdaptiveLimit
from prism_proxy.slots.line import INTERVAL_S, Line
from prism_proxy.slots.options import ConcurrencyOptions

BULK_SHARE = 0.9


class Turns:
    """`enter` or `wait`, then `leave`. `clock` is monotonic seconds; `shed` counts calls that got no turn."""

    def __init__(self, options: ConcurrencyOptions, clock: Callable[[], float]) -> None:
        self.limit = AdaptiveLimit(options, clock)
        self._max_queued = options.max_queued
        self._clock = clock
        self._line, self._bulk = Line(clock()), Line(clock())
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.shed = 0

    @property
    def queued(self) -> int:
        return len(self._line) + len(self._bulk)

    def enter(self, *, bulk: bool = False) -> bool:
        """Take a turn at once; False when others are before, or none is free."""
        if self._line or (bulk and self._bulk) or not self._free(bulk=bulk):
            return False
        self.in_flight += 1
        return True

    async def wait(self, *, bulk: bool = False) -> bool:
        """Wait for a turn. False: the call is shed."""
        now = self._clock()
        self._expire(now)
        if self.queued >= self._max_queued:
            self.shed += 1
            return False
        turn = (self._bulk if bulk else self._line).join(now)
        self._watch()
        try:
            return await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self.leave()  # it was given while the caller went away
            raise

    def leave(self) -> None:
        """A call ended: the next ones take their turns."""
        self.in_flight -= 1
        if not self._line and not self._bulk:
            return
        self._expire(self._clock())
        while self._free(bulk=False) and self._line.serve():
            self.in_flight += 1
        while not self._line and self._free(bulk=True) and self._bulk.serve():
            self.in_flight += 1

    def _free(self, *, bulk: bool) -> bool:
        return self.in_flight < (self.limit.current * BULK_SHARE if bulk else self.limit.current)

    def _expire(self, now: float) -> None:
        self.shed += self._line.expire(now, self.limit.slack) + self._bulk.expire(now, self.limit.slack)

    def _watch(self) -> None:
        """Calls are shed in time even when none ends: one timer, while any waits."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._looked)

    def _looked(self) -> None:
        self._timer = None
        self._expire(self._clock())
        if self.queued:
            self._watch()
