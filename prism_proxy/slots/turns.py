"""Calls take turns at a backend: as many at once as its limit allows, the others in line.

Bulk work (scans, batches) may fill nine tenths of the limit, and has a line of its own, behind the other: it is shed
first.

On a busy machine this process may not run for a while. Then every call was slow and every wait long, by no fault of the
backend: a timer that fires late tells so, and the time is not counted.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from prism_proxy.slots.limit import AdaptiveLimit
from prism_proxy.slots.line import Line
from prism_proxy.slots.options import ConcurrencyOptions

BULK_SHARE = 0.9
TICK_S, LATE_S = 0.025, 0.01  # of the timer


class Turns:
    """`enter` or `wait`, then `leave`. `clock` is monotonic seconds; `shed` counts calls that got no turn."""

    def __init__(self, options: ConcurrencyOptions, clock: Callable[[], float]) -> None:
        self.limit = AdaptiveLimit(options, clock)
        self._max_queued = options.max_queued
        self._clock = clock
        self._line, self._bulk = Line(clock()), Line(clock())
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf  # when the timer fires
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
        self._watch()
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

    def leave(self, began: float | None = None) -> None:
        """A call ended: the next ones take their turns. `began` is when it did, if its time tells of the backend."""
        now = self._clock()
        self._catch_up(now)
        if began is not None:
            self.limit.observe(began, now, self.in_flight)
        self.in_flight -= 1
        if not self._line and not self._bulk:
            return
        self._expire(now)
        while self._free(bulk=False) and self._line.serve():
            self.in_flight += 1
        while not self._line and self._free(bulk=True) and self._bulk.serve():
            self.in_flight += 1

    def _free(self, *, bulk: bool) -> bool:
        return self.in_flight < (self.limit.current * BULK_SHARE if bulk else self.limit.current)

    def _catch_up(self, now: float) -> None:
        """Excuse what waits and runs for the time that this process did not run."""
        late = now - self._due
        if late > LATE_S:
            self._due = now
            self._line.excuse(late)
            self._bulk.excuse(late)
            self.limit.excuse(now)

    def _expire(self, now: float) -> None:
        self._catch_up(now)
        self.shed += self._line.expire(now, self.limit.slack) + self._bulk.expire(now, self.limit.slack)

    def _watch(self) -> None:
        """Calls are shed in time even when none ends: one timer, while there are any."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._looked)
            self._due = self._clock() + TICK_S

    def _looked(self) -> None:
        self._timer = None
        self._expire(self._clock())
        self._due = math.inf
        if self.queued or self.in_flight:
            self._watch()
